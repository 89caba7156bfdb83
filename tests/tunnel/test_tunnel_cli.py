"""`fieldgate tunnel`: its table of commands, and what it says to what is not in it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fieldgate_tunnel import cli


def test_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    assert all(f"  {name}  " in capsys.readouterr().out for name in ("ssh-config",))
    assert cli.main([]) == 2


def test_an_unknown_command_is_told_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ssh"]) == 2
    assert "there is no command 'ssh'" in capsys.readouterr().err


def test_printing_a_configuration_loads_no_ssh_library() -> None:
    code = (
        "import sys; from fieldgate_core.cli import main; main(['tunnel', 'ssh-config', '--server']);"
        "sys.exit(any(name in sys.modules for name in ('asyncio', 'asyncssh', 'cryptography')))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "MaxSessions 0" in done.stdout
