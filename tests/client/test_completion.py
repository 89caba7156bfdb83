"""Tab: commands, options, names of sites and points, as a real bash and argcomplete ask for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.box import FIELDGATE, clean_environment, fieldgate
from support.tools import tool

SITES = """
[site.pump-7]
url = "modbus+ssh://operator@box-7.example.com"
points = "pump.toml"
[site.pump-8]
url = "modbus+tls://192.0.2.8"
[site.tank]
url = "modbus+tls://192.0.2.9"
"""
POINTS = """
[[point]]
name = "flow"
table = "input"
address = 1
type = "INT16"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fieldgate").mkdir()
    (tmp_path / "fieldgate/sites.toml").write_text(SITES)
    (tmp_path / "fieldgate/pump.toml").write_text(POINTS)
    return tmp_path


def complete(line: str, folder: Path, *command: str) -> tuple[list[str], str]:
    """Ask for what fits at the end of a line; also what was said on stderr."""
    answer = folder / "answer"
    answer.write_text("")
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "XDG_CONFIG_HOME": str(folder),
    }
    done = subprocess.run(
        command or FIELDGATE, env=clean_environment(**asked), capture_output=True, text=True, check=False, cwd=folder
    )
    return [word.strip() for word in answer.read_text().splitlines()], done.stderr


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("fieldgate ", {"server", "client", "tunnel", "certs", "demo", "completion"}),
        ("fieldgate cl", {"client"}),
        ("fieldgate client ", {"read", "write", "check", "shell", "demo", "points", "doctor"}),
        ("fieldgate client read pu", {"pump-7", "pump-8"}),
        ("fieldgate client read pump-7 f", {"flow"}),
        ("fieldgate client doctor t", {"tank"}),
        ("fieldgate client read --tim", {"--timeout"}),
        ("fieldgate client points im", {"import"}),
        ("fieldgate client points import --format mod", {"modpoll", "modbus-exporter"}),
        ("fieldgate client points list pum", {"pump-7", "pump-8"}),
        ("fieldgate client points list fieldgate/p", {"fieldgate/pump.toml"}),
        ("fieldgate server ru", {"run"}),
        ("fieldgate certs issue cl", {"client"}),
        ("fieldgate completion z", {"zsh"}),
        ("fieldgate nonsense x", set()),
    ],
)
def test_what_fits(folder: Path, line: str, some: set[str]) -> None:
    words, said = complete(line, folder)
    prefix = "" if line.endswith(" ") else line.split(" ")[-1]
    assert {word for word in words if prefix or not word.startswith("-")} == some
    assert said == ""


def test_the_points_of_a_site(folder: Path) -> None:
    """A command whose parser has a site and points, as `url` and `names`."""
    program = """
import argparse, os
from fieldgate_client import completion
parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("names", nargs="*")
completion._answer(parser)
"""
    assert complete("prog pump-7 f", folder, sys.executable, "-c", program) == (["flow"], "")
    assert complete("prog tank f", folder, sys.executable, "-c", program) == ([], "")


def test_a_broken_site_list_is_told_and_not_completed(folder: Path) -> None:
    (folder / "fieldgate/sites.toml").write_text("[site")
    words, said = complete("fieldgate client read pu", folder)
    assert words == []
    assert "is not valid TOML" in said
    assert "Traceback" not in said


def test_in_a_real_bash(folder: Path) -> None:
    script = """
eval "$(fieldgate completion bash)"
COMP_LINE="fieldgate client read pump" COMP_POINT=26 COMP_TYPE=9 COMP_CWORD=3
COMP_WORDS=(fieldgate client read pump)
_python_argcomplete fieldgate pump read
printf '%s\\n' "${COMPREPLY[@]}"
"""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = clean_environment(XDG_CONFIG_HOME=str(folder), PATH=path)
    done = subprocess.run([tool("bash"), "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["pump-7", "pump-8"], "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(shell: str) -> None:
    done = fieldgate("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert "fieldgate" in done.stdout


def test_another_shell_is_not_known() -> None:
    assert fieldgate("completion", "dos").returncode == 2
