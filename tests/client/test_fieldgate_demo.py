"""`fieldgate demo`: ends 0 when all came out as told, 1 when not, and leaves neither server nor folder behind."""

from __future__ import annotations

import asyncio
import functools
import os
import pwd
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fieldgate_client import demo_site, demo_steps, stopping
from fieldgate_client.steps import Steps, WrongError
from support.box import FIELDGATE, clean_environment, fieldgate


@contextmanager
def demo(folder: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    """Start the demo with its temporary files in a folder."""
    with subprocess.Popen(
        [*FIELDGATE, "demo", *args],
        env=clean_environment(TMPDIR=str(folder), PYTHONUNBUFFERED="1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    """Read lines until one matches; gives what was read."""
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if re.search(pattern, line):
            return read
    raise AssertionError(f"no line has {pattern!r}:\n{read}")


def listening(port: int) -> bool:
    """Tell whether anything listens on a loopback port (proc(5), net/tcp; state 0A)."""
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return any(f"0100007F:{port:04X}" == line.split()[1] and line.split()[3] == "0A" for line in lines[1:])


def server_ports(text: str) -> list[int]:
    return [int(port) for port in re.findall(r"(?:modbus|tls|ssh) on port\s+(\d+)", text)]


def test_every_step_comes_out_as_told(tmp_path: Path) -> None:
    ended = fieldgate("demo", TMPDIR=str(tmp_path))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "every step came out as it should" in ended.stdout
    assert "FAILED" not in ended.stdout
    assert max(map(len, ended.stdout.splitlines()[1:-1])) <= 80
    assert not any(map(listening, server_ports(" ".join(ended.stdout.split()))))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize(("user", "doors"), [("daemon", 3), ("nobody", 2)])
def test_it_needs_no_root(tmp_path: Path, user: str, doors: int) -> None:
    who = pwd.getpwnam(user)
    folder = tmp_path / "tmp"
    folder.mkdir(mode=0o700)
    os.chown(folder, who.pw_uid, who.pw_gid)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    as_user = functools.partial(
        subprocess.run,
        env=clean_environment(TMPDIR=str(folder), HOME="/nonexistent"),
        cwd="/",
        user=who.pw_uid,
        group=who.pw_gid,
        extra_groups=(),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        as_user([FIELDGATE[0], "-c", "import fieldgate_core"]).check_returncode()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"user {user} cannot read this installation")
    ended = as_user([*FIELDGATE, "demo"])
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(re.findall(r"ok .* writes a coil", ended.stdout)) == doors
    assert ("loopback is left out" in ended.stdout) is (doors == 2)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "when"),
    [
        (signal.SIGINT, "make a PKI"),
        (signal.SIGTERM, "issue to the server"),
        (signal.SIGHUP, "start it"),
        (signal.SIGTERM, "SSH: ana writes a coil"),
    ],
)
def test_a_signal_stops_the_server_and_removes_the_folder(tmp_path: Path, number: signal.Signals, when: str) -> None:
    with demo(tmp_path) as process:
        read = read_until(process, when)
        assert list(tmp_path.iterdir()) != []
        assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o700]
        process.send_signal(number)
        rest, _ = process.communicate()
    assert process.returncode == 130
    assert "fieldgate: stopped" in rest
    assert not any(map(listening, server_ports(" ".join((read + rest).split()))))
    assert list(tmp_path.iterdir()) == []


def test_keep_leaves_it_running_and_prints_commands_that_work(tmp_path: Path) -> None:
    with demo(tmp_path, "--keep") as process:
        read = read_until(process, "tail -f audit.log")
        ports = server_ports(" ".join(read.split()))
        assert len(ports) == 3
        assert all(map(listening, ports))
        commands = read[read.index("  cd ") :].replace("\\\n", "").split("\n")
        cd, asked = commands[0], [line.strip() for line in commands if " client " in line]
        codes = [subprocess.run(["sh", "-c", f"{cd} && {line}"], check=False).returncode for line in asked]
        assert codes == [0, 0, 0, 1, 0]
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 0
    assert not any(map(listening, ports))
    assert list(tmp_path.iterdir()) == []


async def test_a_kept_server_that_ends_by_itself_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / demo_site.LOG).write_text("its last words\n")
    ended = await asyncio.create_subprocess_exec("true")
    steps = Steps()
    await demo_steps._keep(tmp_path, steps, demo_site.Server(ended, {"modbus": 1, "tls": 2, "ssh": 3}), None)
    assert steps.failed == 1
    assert re.search("the server ended by itself.*its last words", capsys.readouterr().out, re.DOTALL)


Sabotage = Callable[[Path], None]


def run_with(sabotage: Sabotage, monkeypatch: pytest.MonkeyPatch, folder: Path, *, keep: bool) -> int:
    """Run the demo in this process; `sabotage` changes the files of its site before the server starts."""

    def write_settings(folder: Path, issuers: list[str], user: str | None) -> None:
        demo_site.write_settings(folder, issuers, user)
        sabotage(folder)

    monkeypatch.setattr(demo_steps, "write_settings", write_settings)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return stopping.run(demo_steps.run(keep=keep))


def test_steps_that_come_out_wrong_are_told_with_command_and_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def other_rights_and_inputs(folder: Path) -> None:
        policy, settings = folder / "policy.toml", folder / "server.toml"
        operator, viewer = policy.read_text().split("[role.viewer]")
        operator = operator.replace('write = "all"', 'write = "coils 0-9"')
        viewer = viewer.replace('read = "all"', 'read = "all", write = "all"')
        policy.write_text(f"{operator}[role.viewer]{viewer}")
        settings.write_text(settings.read_text().replace("initial = [230", "initial = [229"))

    monkeypatch.setattr(demo_steps, "AUDIT_DEADLINE", 0.1)
    assert run_with(other_rights_and_inputs, monkeypatch, tmp_path, keep=False) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert re.search(r"ok \d+ ms TLS: ana writes a coil", out)
    assert re.search(r"FAILED \d+ ms SSH: ana writes three registers and reads back \$ fieldgate client write", out)
    assert "function 16 answered with exception 01" in out
    assert re.search(
        r"FAILED \d+ ms TLS: ana reads three input registers expected \[230, 231, 50\], and read \[229, 231, 50\]", out
    )
    assert re.search(r"FAILED \d+ ms TLS: vic as viewer may not write expected exit code 1 .* exit code 0", out)
    assert re.search(r"FAILED \d+ ms it holds the writes .* missing: event=refused \.\*role=viewer door=tls", out)
    assert re.search(r"the server's log .* \d+ FAILED", out)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_start_is_told_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def bad_policy(folder: Path) -> None:
        (folder / "policy.toml").write_text("[role.operator]\ngrant = 1\n")

    assert run_with(bad_policy, monkeypatch, tmp_path, keep=True) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert re.search(r"FAILED \d+ ms start it the server ended before it was ready", out)
    assert "role.operator.grant: unknown key" in out
    assert list(tmp_path.iterdir()) == []


def test_the_issuers_come_from_what_certs_init_prints(tmp_path: Path) -> None:
    printed = fieldgate("certs", "init", str(tmp_path / "pki"), "--name", "plant").stdout
    found = demo_site.issuers(printed)
    assert found[0] == "x509:CN=plant-issuing-1"
    assert found[1].startswith("ssh-ca:SHA256:")
    with pytest.raises(WrongError):
        demo_site.issuers("made a PKI")
