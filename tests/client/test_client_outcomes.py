"""What a caller is told when the answer does not come: typed errors and exit codes, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fieldgate_client import SiteClient, connect
from fieldgate_core.errors import DeadlineError, OutcomeUnknownError, TunnelError, TunnelLostError
from fieldgate_core.modbus import Table
from support.box import FIELDGATE, Box, clean_environment
from support.peers import Relay, device, relay
from support.site import DOORS

READ_ONE = bytes.fromhex("030000 0001")
WRITE_ONE = bytes.fromhex("060000 0005")
HELD = bytes.fromhex("03020011")


async def start(*args: str) -> Process:
    return await asyncio.create_subprocess_exec(*FIELDGATE, *args, env=clean_environment(), stdout=PIPE, stderr=PIPE)


async def ended(process: Process) -> tuple[int | None, str, str]:
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def answers_reads(to_writes: bytes | None) -> Callable[[bytes], bytes | None]:
    """Give the mind of a device that answers reads of one register, and writes with this."""
    return lambda pdu: HELD if pdu == READ_ONE else to_writes


async def test_a_read_that_is_never_answered_ends_with_4() -> None:
    async with device(lambda _: None) as silent:
        code, out, err = await ended(await start("client", "read", silent.url, "-o", "0.2"))
    assert (code, out, silent.requests) == (4, "", [READ_ONE])
    assert err == f"fieldgate: error: {silent.url}: function 3: no answer within 0.2 s\n"


async def test_a_write_that_is_never_answered_ends_with_5() -> None:
    async with device(answers_reads(None)) as silent:
        code, out, err = await ended(await start("client", "write", "--yes", silent.url, "5", "-o", "0.2"))
    assert (code, out, silent.requests) == (5, "", [READ_ONE, WRITE_ONE])
    assert "outcome of a write (function 6) is unknown" in err
    assert "fieldgate: hint: read the value back" in err


async def test_a_write_whose_peer_closes_ends_with_5_and_was_sent_once() -> None:
    async with device(answers_reads(b"")) as closing:
        code, _, err = await ended(await start("client", "write", "--yes", closing.url, "5"))
    assert (code, closing.requests) == (5, [READ_ONE, WRITE_ONE])
    assert "outcome of a write (function 6) is unknown" in err


async def test_a_read_whose_peer_closes_ends_with_3_and_was_sent_once() -> None:
    async with device(lambda _: b"") as closing:
        code, _, err = await ended(await start("client", "read", closing.url))
    assert (code, closing.requests) == (3, [READ_ONE])
    assert err == f"fieldgate: error: {closing.url}: the peer closed the tunnel\n"


async def test_ctrl_c_while_a_write_waits_says_that_its_outcome_is_unknown() -> None:
    async with device(answers_reads(None)) as silent:
        process = await start("client", "write", "--yes", silent.url, "5", "-o", "60")
        while WRITE_ONE not in silent.requests:
            await silent.asked.wait()
            silent.asked.clear()
        process.send_signal(signal.SIGINT)
        code, _, err = await ended(process)
    assert (code, silent.requests) == (5, [READ_ONE, WRITE_ONE])
    assert "stopped before its answer came" in err


async def test_ctrl_c_while_it_reads_back_says_that_it_is_written() -> None:
    reads = iter([HELD])
    async with device(lambda pdu: WRITE_ONE if pdu == WRITE_ONE else next(reads, None)) as mute:
        process = await start("client", "write", "--yes", mute.url, "5")
        while len(mute.requests) < 3:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        code, _, err = await ended(process)
    assert (code, mute.requests) == (0, [READ_ONE, WRITE_ONE, READ_ONE])
    assert "Written 1 references." in err
    assert "not read back: " in err


async def test_ctrl_c_at_the_second_of_two_writes_names_the_first(tmp_path: Path) -> None:
    points = "".join(
        f'[[point]]\nname = "{name}"\ntable = "holding"\naddress = {at}\ntype = "UINT16"\nwritable = true\n'
        for at, name in enumerate(("flow", "speed"))
    )
    (tmp_path / "points.toml").write_text(points)
    answers = {b"\x03\0\0\0\2": bytes.fromhex("030400110011"), WRITE_ONE: WRITE_ONE}
    async with device(answers.get) as mute:
        file = str(tmp_path / "points.toml")
        process = await start("client", "write", "--yes", mute.url, "--points", file, "flow=5", "speed=6")
        while len(mute.requests) < 3:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        code, _, err = await ended(process)
    assert code == 5
    assert "written before it: flow" in err


async def test_ctrl_c_while_a_read_waits_just_stops() -> None:
    async with device(lambda _: None) as silent:
        process = await start("client", "read", silent.url, "-o", "60")
        await silent.asked.wait()
        process.send_signal(signal.SIGINT)
        assert await ended(process) == (130, "", "fieldgate: stopped\n")


@pytest.mark.parametrize(
    ("table", "values", "reply"),
    [
        (Table.HOLDING, [5], "0600000006"),
        (Table.HOLDING, [5], "0600010005"),
        (Table.HOLDING, [5, 6], "1000000003"),
        (Table.COILS, [1], "0500000000"),
        (Table.COILS, [1, 0], "0F00010002"),
    ],
)
async def test_a_reply_that_does_not_echo_the_write_leaves_its_outcome_unknown(
    table: Table, values: list[int], reply: str
) -> None:
    async with device(lambda _: bytes.fromhex(reply)) as confused, connect(confused.url) as client:
        with pytest.raises(OutcomeUnknownError, match="not this write's"):
            await client.write_cells(table, 0, values)


@pytest.mark.parametrize(
    ("table", "count", "reply"),
    [(Table.HOLDING, 2, "03020011"), (Table.INPUT, 1, "040400110012"), (Table.COILS, 9, "0101FF")],
)
async def test_a_reply_of_another_length_is_an_error(table: Table, count: int, reply: str) -> None:
    async with device(lambda _: bytes.fromhex(reply)) as confused, connect(confused.url) as client:
        with pytest.raises(TunnelError, match=f"and {count} were asked for"):
            await client.read_cells(table, 0, count)


def frames(sent: bytes, door: str) -> int:
    """Count the requests, or the TLS records that carry them, in what a client sent."""
    count = 0
    while sent:
        header, at = (6, 4) if door == "modbus" else (5, 3)
        count, sent = count + 1, sent[header + int.from_bytes(sent[at : at + 2], "big") :]
    return count


@asynccontextmanager
async def stalled(box: Box, door: str, *, deadline: float) -> AsyncIterator[tuple[SiteClient, Relay]]:
    """Give a client whose server has answered once, and then stands still (SIGSTOP), behind a counting relay."""
    identity = None if door == "modbus" else box.identity("operator")
    async with relay(box.ports[door]) as line:
        url = box.url(door).replace(str(box.ports[door]), str(line.port))
        async with connect(url, identity=identity, reply_deadline=deadline) as client:
            assert await client.read_holding(0) == [17]
            box.process.send_signal(signal.SIGSTOP)
            line.mark()
            try:
                yield client, line
            finally:
                # the tunnel's goodbye would wait for a server that stands still
                box.process.kill()


@pytest.mark.parametrize("door", DOORS)
async def test_a_server_that_dies_while_a_read_waits_is_a_lost_tunnel(box: Box, door: str) -> None:
    async with stalled(box, door, deadline=60) as (client, line):
        waiting = asyncio.ensure_future(client.read_holding(0))
        await line.seen.wait()
        box.process.kill()
        with pytest.raises(TunnelLostError):
            await waiting
    if door != "ssh":
        assert frames(line.sent, door) == 1


@pytest.mark.parametrize("door", DOORS)
async def test_a_server_that_dies_while_a_write_waits_leaves_its_outcome_unknown(box: Box, door: str) -> None:
    async with stalled(box, door, deadline=60) as (client, line):
        waiting = asyncio.ensure_future(client.write_holding(0, [5]))
        await line.seen.wait()
        box.process.kill()
        with pytest.raises(OutcomeUnknownError):
            await waiting
        with pytest.raises(TunnelLostError):
            await client.write_holding(0, [5])
    if door != "ssh":
        assert frames(line.sent, door) == 1


@pytest.mark.parametrize("door", DOORS)
async def test_a_server_that_stands_still_is_a_deadline_for_a_read_and_unknown_for_a_write(box: Box, door: str) -> None:
    async with stalled(box, door, deadline=0.2) as (client, line):
        with pytest.raises(DeadlineError):
            await client.read_holding(0)
        with pytest.raises(OutcomeUnknownError):
            await client.write_holding(0, [5])
    if door != "ssh":
        assert frames(line.sent, door) == 2
