"""The shell at a real pseudo-terminal: prompt, Tab, history, Ctrl-C, Ctrl-D, paste, watch, and a tunnel that is cut."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.box import FIELDGATE, Box, clean_environment, fieldgate, running_box
from support.peers import device, relay
from support.ptys import CTRL_C, CTRL_D, ENTER, PROMPT, TAB, UP, at_terminal, beside
from support.site import Pki

POINTS = """
[[point]]
name = "flow"
table = "input"
address = 3
type = "UINT16"
unit = "m3/h"
[[point]]
name = "setpoint"
table = "holding"
address = 40
type = "FLOAT32"
writable = true
low = 0
high = 100
"""
READ_0, READ_1 = bytes.fromhex("0300000001"), bytes.fromhex("0300010001")
HELD = bytes.fromhex("03020011")
WRITE_0 = bytes.fromhex("0600000005")


@pytest.fixture(scope="module")
def shared(site_pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """One server; each test has addresses of its own."""
    with running_box(site_pki, tmp_path_factory.mktemp("box")) as running:
        yield running


@pytest.fixture
def points(tmp_path: Path) -> str:
    (tmp_path / "pump.toml").write_text(POINTS)
    return str(tmp_path / "pump.toml")


def register(box: Box, address: int) -> str:
    return fieldgate("client", "read", box.url("modbus"), "-0", "-r", str(address), "--format", "plain").stdout.strip()


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_the_seeds_verbs_at_a_prompt_that_says_where_it_is(shared: Box, tmp_path: Path, term: str) -> None:
    url = shared.url("modbus")
    with at_terminal("client", "shell", url, home=tmp_path, term=term) as seen:
        assert seen.see(PROMPT).endswith(f"{url} unit 1 up>")
        seen.type("wr 2 250" + ENTER)
        seen.see("-> 250")
        seen.see("Write? [y/N]")
        seen.type("y" + ENTER)
        seen.see("written: 1")
        seen.enter("rr 2 1", "250")
        seen.enter("wc 4 0", "-> 0", "Write? [y/N]")
        seen.type("y" + ENTER)
        seen.see("written: 1")
        seen.enter("rc 3 2", "[3]:", "1", "[4]:", "0")
        seen.enter("ri 0 1", "17")
        seen.enter("unit 7", "unit 7")
        seen.enter("unit 1", "unit 1\n")
        seen.enter("quit")
        assert seen.ended() == 0
    assert register(shared, 2) == "250"


@pytest.mark.parametrize("answer", ["n" + ENTER, ENTER, CTRL_C, CTRL_D])
def test_a_write_that_is_not_confirmed_is_not_sent(shared: Box, tmp_path: Path, answer: str) -> None:
    with at_terminal("client", "shell", shared.url("modbus"), home=tmp_path) as seen:
        seen.enter("wr 8 99", "17 -> 99", "Write? [y/N]")
        seen.type(answer)
        seen.see("nothing was written")
        seen.enter("rr 8", "17")
        seen.see(PROMPT)
        seen.type(CTRL_D)
        assert seen.ended() == 0


def test_tab_completes_verbs_points_and_types(shared: Box, tmp_path: Path, points: str) -> None:
    with at_terminal("client", "shell", shared.url("modbus"), "--points", points, home=tmp_path) as seen:
        seen.enter(f"read-in{TAB} 0 1", "17")
        seen.enter(f"read fl{TAB}", "17 m3/h")
        seen.see(PROMPT)
        seen.type(f"wri{TAB}{TAB}")
        seen.see("write-coil")
        seen.see("write-register")
        seen.type(f" se{TAB}42.5{ENTER}")
        seen.see("-> 42.5")
        seen.see("Write? [y/N]")
        seen.type("y" + ENTER)
        seen.see("written: 1")
        seen.enter(f"rr 40 1 -t FLOAT3{TAB}", "42.5")
        seen.enter("write setpoint=101", "outside the limits 0 to 100")


def test_what_was_typed_comes_back_and_is_for_us_alone(shared: Box, tmp_path: Path) -> None:
    file = tmp_path / "fieldgate/shell_history"
    with at_terminal("client", "shell", shared.url("modbus"), home=tmp_path) as seen:
        seen.enter("rr 5 1", "[5]:")
        seen.enter("quit")
        assert seen.ended() == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    with at_terminal("client", "shell", shared.url("modbus"), home=tmp_path) as seen:
        seen.see(PROMPT)
        seen.type(UP + UP + ENTER)
        seen.see("[5]:")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["another user's", "a link", "a folder"])
def test_a_history_that_is_not_ours_is_left_alone(shared: Box, tmp_path: Path, kind: str) -> None:
    file, other = tmp_path / "fieldgate/shell_history", tmp_path / "other"
    file.parent.mkdir()
    other.write_text("secret\n")
    match kind:
        case "another user's":
            if os.geteuid():
                pytest.skip("only root can give a file away")
            file.write_text("secret\n")
            os.chown(file, 65534, 65534)
        case "a link":
            file.symlink_to(other)
        case _:
            file.mkdir()
    with at_terminal("client", "shell", shared.url("modbus"), home=tmp_path) as seen:
        seen.see("no history is kept")
        seen.enter("rr 5 1", "[5]:")
        seen.enter("quit")
        assert seen.ended() == 0
    assert "rr 5" not in other.read_text()
    if file.is_file():
        assert file.read_text() == "secret\n"


def test_a_tunnel_that_is_cut_is_told_and_comes_back(shared: Box, tmp_path: Path) -> None:
    with beside(relay(shared.ports["modbus"])) as (line, loop):
        url = f"modbus://127.0.0.1:{line.port}"
        with at_terminal("client", "shell", url, "-o", "0.3", home=tmp_path) as seen:
            seen.enter("rr 5", "[5]:")
            seen.see(PROMPT)
            line.shut = True
            loop.call_soon_threadsafe(line.cut)
            seen.see("the tunnel is lost: ")
            seen.type("rr 6" + ENTER)
            seen.see("error: ")
            seen.see("not sent: ")
            seen.see(" down>")
            line.shut = False
            seen.see("the tunnel is up again")
            seen.see(PROMPT)
            seen.type("status" + ENTER)
            seen.see("opened      2 times")
            seen.enter("rr 7", "[7]:")


def test_a_write_that_a_cut_overtakes_is_told_loudly_and_never_sent_again(tmp_path: Path) -> None:
    def reply(pdu: bytes) -> bytes | None:
        return b"" if pdu == WRITE_0 else HELD

    with beside(device(reply)) as (peer, _), at_terminal("client", "shell", peer.url, home=tmp_path) as seen:
        seen.enter("wr 0 5", "Write? [y/N]")
        seen.type("y" + ENTER)
        seen.see("OUTCOME UNKNOWN: ")
        seen.see("never sends a write twice")
        seen.see("the tunnel is up again")
        seen.type("rr 0" + ENTER)
        seen.see("[0]:")
        assert peer.requests.count(WRITE_0) == 1


def test_ctrl_c_stops_the_command_and_not_the_shell(tmp_path: Path) -> None:
    def reply(pdu: bytes) -> bytes | None:
        return HELD if pdu == READ_0 else None

    with (
        beside(device(reply)) as (peer, _),
        at_terminal("client", "shell", peer.url, "-o", "60", home=tmp_path) as seen,
    ):
        seen.see(PROMPT)
        seen.type("rr 9" + CTRL_C)
        seen.see(PROMPT)
        seen.type("rr 1" + ENTER)
        while READ_1 not in peer.requests:
            time.sleep(0.01)
        seen.type(CTRL_C)
        seen.see("fieldgate: stopped")
        seen.enter("wr 0 5", "Write? [y/N]")
        seen.type("y" + ENTER)
        while WRITE_0 not in peer.requests:
            time.sleep(0.01)
        seen.type(CTRL_C)
        seen.see("OUTCOME UNKNOWN: ")
        seen.see("stopped before its answer came")
        seen.enter("rr 0", "17")
        seen.see(PROMPT)
        seen.type(CTRL_D)
        assert seen.ended() == 0
        assert bytes.fromhex("0300090001") not in peer.requests
        assert peer.requests.count(WRITE_0) == 1


PASTED = "\x1b[200~rr 5\nrr 6 1\n# a comment\nrr 7\x1b[201~" + ENTER


@pytest.mark.parametrize("keys", [PASTED, "rr 5\rrr 6 1\r# a comment\rrr 7\r"], ids=["bracketed", "as keys"])
def test_a_paste_runs_line_by_line(shared: Box, tmp_path: Path, keys: str) -> None:
    with at_terminal("client", "shell", shared.url("modbus"), home=tmp_path) as seen:
        seen.see(PROMPT)
        seen.type(keys)
        for address in (5, 6, 7):
            seen.see(f"[{address}]:")
        seen.enter("quit")
        assert seen.ended() == 0


def test_a_pasted_line_is_no_answer_to_a_question(shared: Box, tmp_path: Path) -> None:
    with at_terminal("client", "shell", shared.url("modbus"), home=tmp_path) as seen:
        seen.see(PROMPT)
        seen.type("\x1b[200~wr 9 98\ny\x1b[201~" + ENTER)
        seen.see("Write? [y/N]")
        seen.type("n" + ENTER)
        seen.see("nothing was written")
        seen.see("y: is no verb")
    assert register(shared, 9) == "17"


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_watch_ends_with_ctrl_c_and_the_shell_goes_on(shared: Box, tmp_path: Path, points: str, term: str) -> None:
    url = shared.url("modbus")
    with at_terminal("client", "shell", url, "--points", points, home=tmp_path, term=term) as seen:
        address = {"xterm": "50", "dumb": "52"}[term]
        seen.enter(f"watch -l 20 rr {address} 1", "17")
        assert fieldgate("client", "write", "--yes", url, "-0", "-r", address, "4711").returncode == 0
        seen.see("4711")
        seen.type(CTRL_C)
        seen.see("fieldgate: stopped")
        seen.enter("watch flow", "17 m3/h")
        seen.type(CTRL_C)
        seen.see("fieldgate: stopped")
        seen.enter("rr 5", "[5]:")


def test_a_watch_goes_on_when_the_tunnel_is_back(shared: Box, tmp_path: Path) -> None:
    with beside(relay(shared.ports["modbus"])) as (line, loop):
        url = f"modbus://127.0.0.1:{line.port}"
        with at_terminal("client", "shell", url, "-o", "0.2", home=tmp_path, term="dumb") as seen:
            seen.enter("watch -l 20 rr 51 1", "17")
            line.shut = True
            loop.call_soon_threadsafe(line.cut)
            seen.see("the tunnel is lost: ")
            line.shut = False
            seen.see("the tunnel is up again")
            seen.see("[51]:")
            seen.type(CTRL_C)
            seen.see("fieldgate: stopped")


def test_a_session_replays_to_the_same_answers(site_pki: Pki, tmp_path: Path, points: str) -> None:
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    with (
        running_box(site_pki, tmp_path / "one") as box,
        at_terminal(
            "client", "shell", box.url("modbus"), "--points", points, "--transcript", str(first), home=tmp_path
        ) as seen,
    ):
        seen.enter("rr 0 2", "[1]:")
        seen.enter("write setpoint=42.5", "Write? [y/N]")
        seen.type("y" + ENTER)
        seen.see("written: 1")
        seen.enter("rr 200", "exception 02")
        seen.enter("read setpoint flow", "42.5")
        seen.enter("nonsense", "is no verb")
        seen.enter("quit")
        assert seen.ended() == 0
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    with running_box(site_pki, tmp_path / "two") as box, first.open() as commands:
        again = ["--points", points, "--transcript", str(second), "--yes", "--keep-going"]
        command = [*FIELDGATE, "client", "shell", box.url("modbus"), *again]
        replayed = subprocess.run(command, stdin=commands, capture_output=True, env=clean_environment(), check=False)
    assert replayed.returncode == 1
    assert kept(first) == kept(second)
    assert "read setpoint flow\n#| setpoint  42.5\n#| flow      17 m3/h\n" in kept(first)


def kept(transcript: Path) -> str:
    """Give a transcript without times and its heading."""
    text = re.sub(r"^#@ .*\n", "", transcript.read_text(), flags=re.MULTILINE)
    # what is replayed begins with the first one's own `unit`
    return re.sub(r"^#! the shell of .*\nunit 1\n(unit 1\n#\| unit 1\n)?", "", text)
