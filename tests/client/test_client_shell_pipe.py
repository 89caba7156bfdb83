"""The shell without a terminal: exit codes, where it stops, what it refuses, and its line on both event loops."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from pathlib import Path

import pytest

from fieldgate_client.shell.tunnel import LinkLine
from fieldgate_core.errors import DeadlineError, OutcomeUnknownError, TunnelLostError
from fieldgate_core.url import parse
from support.box import FIELDGATE, Box, clean_environment
from support.peers import device
from support.ptys import beside
from support.site import DOORS
from support.watch import watched

READ_0, READ_1 = bytes.fromhex("0300000001"), bytes.fromhex("0300010001")
WRITE_0 = bytes.fromhex("0600000005")
HELD = bytes.fromhex("03020011")


def shell(lines: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [*FIELDGATE, "client", "shell", *args]
    return subprocess.run(command, input=lines, capture_output=True, text=True, env=clean_environment(), check=False)


@pytest.mark.parametrize("door", DOORS)
def test_lines_are_carried_out_through_every_door(box: Box, door: str) -> None:
    done = shell("# a comment\n\nwr 10 -5\nrr 9 2\nwr 20 42.5 -t float\nrr 20 -t float\n", "--yes", *box.where(door))
    assert (done.stdout, done.stderr, done.returncode) == (
        "[10]: \t17 -> 65531 (-5)\nwritten: 1\n[9]: \t17\n[10]: \t65531 (-5)\n"
        "[20]: \t1.561227e-39 -> 42.5\nwritten: 1\n[20]: \t42.5\n",
        "",
        0,
    )


def test_it_ends_at_the_first_failure_unless_told_to_keep_going(box: Box) -> None:
    lines = "rr 200\nnonsense\nrr 5\n"
    stopped = shell(lines, box.url("modbus"))
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert "exception 02" in stopped.stderr
    assert stopped.stderr.endswith("fieldgate: ended at line 1: rr 200\n")
    went_on = shell(lines, box.url("modbus"), "--keep-going")
    assert (went_on.returncode, went_on.stdout) == (1, "[5]: \t17\n")
    assert "nonsense: is no verb" in went_on.stderr


@pytest.mark.parametrize("line", ["wr 0 5", "wc 0 1", "write -r 1 5", "demo"])
def test_nothing_is_written_where_nobody_can_be_asked(box: Box, line: str) -> None:
    refused = shell(f"{line}\n", box.url("modbus"))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "there is no terminal to ask on" in refused.stderr
    assert not [one for one in box.audit_lines() if "outcome=intent" in one]


def test_the_demo_and_a_watch_end_by_themselves(box: Box) -> None:
    done = shell("demo 3\nwatch rr 3 1\nquit\nnonsense\n", "--yes", box.url("modbus"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "put back holding registers 3-5: 17 17 17" in done.stdout
    assert done.stdout.endswith("[3]: \t17\n")


def test_a_site_that_is_not_there_ends_with_3() -> None:
    done = shell("rr 0\n", "modbus://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (3, "")


def test_a_devices_text_cannot_move_the_cursor(tmp_path: Path) -> None:
    text = b"\x1b[2J"
    with beside(device(lambda pdu: HELD if pdu == READ_0 else b"\x03\x04" + text)) as (peer, _):
        done = shell("rr 1 1 -t STRING:2\n", peer.url, "--transcript", str(tmp_path / "t"))
    assert done.stdout == "[1]: \t\\x1b[2J\n"
    assert "\x1b" not in (tmp_path / "t").read_text()


@pytest.mark.parametrize(("line", "code"), [("rr 1", 4), ("wr 0 5", 5)])
def test_an_answer_that_does_not_come_has_its_exit_code(line: str, code: int) -> None:
    with beside(device(lambda pdu: HELD if pdu == READ_0 else None)) as (peer, _):
        done = shell(f"{line}\n", "--yes", peer.url, "-o", "0.2")
        assert (done.returncode, "OUTCOME UNKNOWN" in done.stderr) == (code, code == 5)
        assert peer.requests.count(WRITE_0) == (code == 5)


def test_ctrl_c_while_a_write_waits_ends_with_5_and_nothing_follows() -> None:
    with beside(device(lambda pdu: HELD if pdu == READ_0 else None)) as (peer, _):
        command = [*FIELDGATE, "client", "shell", "--yes", "--keep-going", peer.url, "-o", "60"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment()
        ) as process:
            assert process.stdin is not None
            process.stdin.write("wr 0 5\nrr 1\n")
            process.stdin.flush()
            while WRITE_0 not in peer.requests:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 5
        assert READ_1 not in peer.requests


async def test_a_line_tells_a_write_that_was_sent_from_one_that_was_not() -> None:
    async with device(lambda pdu: HELD if pdu == READ_0 else None) as peer:
        async with watched(peer.url, probe=None) as watch:
            line = LinkLine(parse(peer.url), watch.link)
            writing = asyncio.ensure_future(line.ask(1, WRITE_0, 60))
            while WRITE_0 not in peer.requests:
                await asyncio.sleep(0.001)
            writing.cancel()
            with pytest.raises(OutcomeUnknownError):
                await writing
            with pytest.raises(DeadlineError):
                await line.ask(1, READ_1, 0.05)
        # the link has ended: nothing goes any more
        late = asyncio.ensure_future(line.ask(1, WRITE_0, 60))
        await asyncio.sleep(0)
        late.cancel()
        with pytest.raises(TunnelLostError, match="not sent"):
            await late
    assert peer.requests.count(WRITE_0) == 1
