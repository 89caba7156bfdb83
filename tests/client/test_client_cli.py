"""`fieldgate client read` and `write` against a real server: mbpoll's lines, its functions, and every exit code."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldgate_core.cli import main
from support.box import Box, clean_environment, fieldgate, running_box
from support.site import DOORS, Pki
from support.tools import tool

UNITS = """[[unit]]
id = 1
default = true
coils = { initial = [1, 0, 1, 1, 0, 0, 0, 0, 1] }
discrete = { initial = [0, 1, 1] }
holding = { initial = [0, 1, 32767, 32768, 65535] }
input = { initial = [65535, 230] }
[[unit]]
id = 7
holding = { initial = 77 }
"""


@pytest.fixture
def varied(site_pki: Pki, tmp_path: Path) -> Iterator[Box]:
    """A box whose four tables differ, and with a second unit."""
    with running_box(site_pki, tmp_path, units=UNITS) as running:
        yield running


def mbpoll(box: Box, *args: str) -> str:
    """Run the real mbpoll on the plain port, to its end; what comes after `--` are values."""
    letters, values = (args[: args.index("--")], args[args.index("--") + 1 :]) if "--" in args else (args, ())
    command = [tool("mbpoll"), "-1", "-p", str(box.ports["modbus"]), *letters, "127.0.0.1", *values]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def value_lines(text: str) -> list[str]:
    return re.findall(r"^\[.*", text, re.MULTILINE)


@pytest.mark.parametrize(
    "letters",
    [
        "-t 0 -c 9",
        "-t 1 -c 3",
        "-t 3 -c 2",
        "-t 4 -c 5",
        "-c 100",
        "-r 100",
        "-0 -c 2",
        "-0 -r 0 -c 2",
        "-a 7 -r 3",
        "-a 0",
        "-a 255 -t 0 -r 3",
    ],
)
def test_read_prints_what_mbpoll_prints(varied: Box, letters: str) -> None:
    theirs = value_lines(mbpoll(varied, *letters.split()))
    ours = fieldgate("client", "read", varied.url("modbus"), *letters.split())
    assert theirs
    assert (ours.stdout.splitlines(), ours.stderr, ours.returncode) == (theirs, "", 0)


@pytest.mark.parametrize("letters", ["-t 0 -r 5 -- 1", "-t 0 -r 5 -- 1 0 1", "-r 5 -- 9", "-a 7 -0 -r 5 -- 9 8 65535"])
def test_write_uses_the_functions_of_mbpoll(varied: Box, letters: str) -> None:
    def written() -> list[str]:
        lines = [line for line in varied.audit_lines() if "outcome=intent" in line]
        return [" ".join(re.findall(r"(?:new|unit|function|range)=(?:\"[^\"]*\"|\S+)", line)) for line in lines]

    mbpoll(varied, *letters.split())
    theirs = written()
    ours = fieldgate("client", "write", "--yes", varied.url("modbus"), *letters.split())
    assert len(theirs) == 1
    assert written() == theirs * 2
    assert (ours.stdout, ours.returncode) == ("", 0)


@pytest.mark.parametrize("door", DOORS)
def test_what_is_written_is_read_through_every_door(box: Box, door: str) -> None:
    assert fieldgate("client", "write", "--yes", *box.where(door), "-r", "11", "0x10", "65535").returncode == 0
    assert fieldgate("client", "write", "--yes", *box.where(door), "-t", "0", "-r", "12", "0").returncode == 0
    registers = fieldgate("client", "read", *box.where(door), "-r", "10", "-c", "4")
    assert registers.stdout == "[10]: \t17\n[11]: \t16\n[12]: \t65535 (-1)\n[13]: \t17\n"
    coils = fieldgate("client", "read", *box.where(door), "-t", "0", "-r", "11", "-c", "3")
    assert coils.stdout == "[11]: \t1\n[12]: \t0\n[13]: \t1\n"


@pytest.mark.parametrize("door", ["tls", "ssh"])
def test_a_refused_write_ends_with_1_and_a_hint(box: Box, door: str) -> None:
    assert fieldgate("client", "read", *box.where(door, "viewer")).stdout == "[1]: \t17\n"
    refused = fieldgate("client", "write", "--yes", *box.where(door, "viewer"), "5")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "[1]: \t17 -> 5\n"
        "fieldgate: error: function 6 answered with exception 01 (illegal function)\n"
        "fieldgate: hint: not served there, not allowed to your role, or the server is locked\n"
    )
    assert fieldgate("client", "read", *box.where(door)).stdout == "[1]: \t17\n"


@pytest.mark.parametrize(
    ("letters", "code", "hint"),
    [("-r 101", "02", "references count from 1"), ("-a 9", "0A", "no such unit")],
)
def test_an_exception_tells_what_it_usually_means(box: Box, letters: str, code: str, hint: str) -> None:
    ended = fieldgate("client", "read", box.url("modbus"), *letters.split())
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"exception {code}" in ended.stderr
    assert hint in ended.stderr


@pytest.mark.parametrize(
    ("verb", "rest", "says"),
    [
        ("read", "-c 0", "a count is 1 to 65536"),
        ("read", "-c 65537", "a count is 1 to 65536"),
        ("read", "-r 65535 -t 4:INT64", "go past 65536"),
        ("read", "-r 0", "a reference is 1 to 65536"),
        ("read", "-r 65537", "a reference is 1 to 65536"),
        ("read", "-0 -r 65536", "a reference is 0 to 65535"),
        ("read", "-r 65536 -c 2", "go past 65536"),
        ("read", "-a 256", "a unit identifier is 0 to 255"),
        ("read", "-a x", "'x' is neither a unit nor a range"),
        ("read", "-a 3:2", "3:2 is no range of units"),
        ("read", "-a 1,", "'' is neither a unit nor a range"),
        ("read", "-t 2", "0 is coil, 1 discrete input"),
        ("read", "-t 0:hex", "a single bit has no type"),
        ("read", "-t 4:INT33", "'INT33' is no type"),
        ("read", "-t 4:INT32 --order ABDC", "'ABDC' is no byte order of INT32"),
        ("read", "-t 4:int -B --order CDAB", "both name a byte order"),
        ("read", "-l 9", "is not 10 to 86400000 milliseconds"),
        ("read", "-1 --watch", "not allowed with argument"),
        ("read", "-l 1000 --json", "polls have no end"),
        ("read", "-o 0", "is not 0.01 to 3600 seconds"),
        ("read", "-o nan", "is not 0.01 to 3600 seconds"),
        ("read", "-o soon", "is not 0.01 to 3600 seconds"),
        ("read", "7", "has no file of points"),
        ("write", "", "the following arguments are required: VALUE"),
        ("write", "1.5", "1.5 lies between two steps"),
        ("write", "x", "'x' is no number"),
        ("write", "65536", "65536 does not fit into UINT16 (0 to 65535)"),
        ("write", "-- -32769", "-32769 does not fit into UINT16"),
        ("write", "-t 4:UINT16 -1", "-1 does not fit into UINT16"),
        ("write", "-t 4:int nan", "is no value to write"),
        ("write", "-t 4:BIT:3 1", "fills a part of a register"),
        ("write", "-a 1,2 1", "invalid int value"),
        ("write", "-t 0 2", "'2' is none of"),
        ("write", "-t 3 1", "input registers are read only"),
        ("write", "-t 1 1", "discrete inputs are read only"),
        ("write", "-r 65536 1 2", "go past 65536"),
        ("write", "1", "there is no terminal to ask on"),
        ("write", " ".join(["1"] * 124), "124 holding registers: one request writes 1 to 123"),
        ("write", "-t 0 " + " ".join(["1"] * 1969), "1969 coils: one request writes 1 to 1968"),
        ("write", "-t 4:FLOAT64 " + " ".join(["1"] * 31), "124 holding registers: one request writes 1 to 123"),
        ("demo", "-r 65535", "go past 65536"),
    ],
)
def test_bad_usage_ends_with_2_and_sends_nothing(
    verb: str, rest: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"modbus://127.0.0.1:{listener.getsockname()[1]}"
        try:
            code: object = main(["client", verb, url, *rest.split()])
        except SystemExit as ended:
            code = ended.code
        with pytest.raises(BlockingIOError):
            listener.accept()
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert says in err


@pytest.mark.parametrize("url", ["box-1", "modbus://192.0.2.1", "modbus+tls://ana@box-1", "http://box-1"])
def test_a_bad_url_ends_with_2(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["client", "read", url]) == 2
    assert "fieldgate: hint: " in capsys.readouterr().err


def mixed(folder: Path, who: Path, trusts: Path) -> Path:
    """Make an identity folder that is one client's, but trusts what another one does."""
    shutil.copytree(who, folder)
    for name in ("known_hosts", "tls-server-ca.pem"):
        shutil.copy(trusts / name, folder / name)
    return folder


@pytest.mark.parametrize(
    ("door", "says"),
    [("tls", "the server does not accept our certificate"), ("ssh", "the server does not accept our key")],
)
def test_a_certificate_of_another_ca_ends_with_3(
    box: Box, other_pki: Pki, tmp_path: Path, door: str, says: str
) -> None:
    stranger = mixed(tmp_path / "stranger", other_pki.client("operator"), box.identity("operator"))
    ended = fieldgate("client", "read", box.url(door), "--identity", str(stranger))
    assert (ended.returncode, ended.stdout) == (3, "")
    assert says in ended.stderr
    assert not [line for line in box.audit_lines() if "event=session" in line]


@pytest.mark.parametrize(
    ("door", "says"),
    [("tls", "the server's certificate is not accepted"), ("ssh", "the server's host key is not accepted")],
)
def test_a_server_of_another_ca_ends_with_3(box: Box, other_pki: Pki, tmp_path: Path, door: str, says: str) -> None:
    misled = mixed(tmp_path / "misled", box.identity("operator"), other_pki.client("operator"))
    ended = fieldgate("client", "read", box.url(door), "--identity", str(misled))
    assert (ended.returncode, ended.stdout) == (3, "")
    assert says in ended.stderr
    assert not [line for line in box.audit_lines() if "event=session" in line]


def test_a_tls_door_without_an_identity_ends_with_2_and_says_which_option(box: Box) -> None:
    ended = fieldgate("client", "read", box.url("tls"))
    assert ended.returncode == 2
    assert "--identity DIR" in ended.stderr


def test_a_refused_connection_ends_with_3() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        ended = fieldgate("client", "read", f"modbus://127.0.0.1:{bound.getsockname()[1]}")
    assert ended.returncode == 3
    assert "connection refused" in ended.stderr


def test_a_point_is_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "points.toml").write_text('[[point]]\nname = "pump"\ntable = "coil"\naddress = 0\nwritable = true\n')
    places = ["--yes", "--points", str(tmp_path / "points.toml"), "pump=on", "pump=off"]
    assert main(["client", "write", "modbus://127.0.0.1:1", *places]) == 2
    assert "pump: is to be written twice" in capsys.readouterr().err


def shell(command: str, url: str) -> subprocess.CompletedProcess[str]:
    """Run `fieldgate client COMMAND`, $URL in it, by a shell, which redirects; the exit code is fieldgate's own."""
    line = f"{sys.executable} -m fieldgate_core.cli client {command}; exit ${{PIPESTATUS[0]}}"
    return subprocess.run(
        ["bash", "-c", line], env=clean_environment(URL=url), capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("command", ["read $URL", "read $URL -c 100 --json", "check $URL", "write $URL 5 --yes --json"])
def test_what_cannot_be_printed_is_said_in_one_line(box: Box, command: str) -> None:
    done = shell(f"{command} >/dev/full", box.url("modbus"))
    assert done.returncode == 74
    assert done.stderr.splitlines()[-1] == "fieldgate: error: the output cannot be written: No space left on device"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("reader", ["true", "head -1"])
def test_a_reader_that_goes_away_is_no_error(varied: Box, reader: str) -> None:
    done = shell(f"read $URL -r 1 -c 5 | {reader}", varied.url("modbus"))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("read $URL >&-", 0),
        ("read $URL 2>&-", 0),
        ("read $URL <&- >&- 2>&-", 0),
        ("read $URL -r 60000 2>/dev/full", 1),
        ("write $URL 5 <&-", 2),
        ("write $URL 5 --yes --json >&-", 0),
        ("read modbus://127.0.0.1:1 2>/dev/full", 3),
    ],
)
def test_streams_that_are_closed_change_no_exit_code(varied: Box, command: str, code: int) -> None:
    done = shell(command, varied.url("modbus"))
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr


def test_the_identity_comes_from_the_environment_or_the_users_folder(box: Box, tmp_path: Path) -> None:
    operator, viewer = (str(box.identity(role)) for role in ("operator", "viewer"))
    (tmp_path / "config/fieldgate").mkdir(parents=True)
    (tmp_path / "config/fieldgate/identity").symlink_to(operator)
    home = str(tmp_path / "config")

    def write(*args: str, **environment: str) -> int:
        return fieldgate("client", "write", "--yes", box.url("tls"), "5", *args, **environment).returncode

    assert write(XDG_CONFIG_HOME=home) == 0
    assert write(XDG_CONFIG_HOME=home, FIELDGATE_IDENTITY=viewer) == 1
    assert write("--identity", operator, FIELDGATE_IDENTITY=viewer) == 0


def test_importing_the_command_line_loads_neither_event_loop_nor_libraries() -> None:
    probe = (
        "import sys, fieldgate_client.cli, fieldgate_client.demo\n"
        "print(sorted({'asyncio', 'asyncssh', 'cryptography', 'pymodbus', 'ssl'} & sys.modules.keys()))"
    )
    ended = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


@pytest.mark.parametrize("words", ["client", "client read", "client write", "client demo", "demo"])
def test_help_fits_the_page_and_has_an_example(
    words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    try:
        code: object = main([*words.split(), "--help"])
    except SystemExit as ended:
        code = ended.code
    out = capsys.readouterr().out
    assert code == 0
    assert max(map(len, out.splitlines())) <= 82
    assert re.search(r"^examples?:\n  fieldgate " + words, out, re.MULTILINE)
