"""`--trace`: what went over the wire, on stderr and only when asked for, whatever the tunnel and however it is cut."""

from __future__ import annotations

import asyncio
import os
import subprocess
from asyncio import Future, StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fieldgate_client import connect
from fieldgate_client.line import Line
from fieldgate_core.errors import TunnelLostError
from fieldgate_core.trace import text
from support.box import FIELDGATE, Box, clean_environment, fieldgate
from support.site import DOORS

Streams = tuple[StreamReader, StreamWriter]
REPLY = bytes.fromhex("000100000005010302022b")

READ = """\
request: 00 01 00 00 00 06 01 03 00 04 00 02
  Transaction Identifier: 1 (00 01)
  Protocol Identifier: 0 (00 00)
  Length: 6 (00 06)
  Unit Identifier: 1 (01)
  Function Code: Read Holding Registers (3) (03)
  Reference Number: 4 (00 04)
  Word Count: 2 (00 02)
reply: 00 01 00 00 00 07 01 03 04 00 11 00 11
  Transaction Identifier: 1 (00 01)
  Protocol Identifier: 0 (00 00)
  Length: 7 (00 07)
  Unit Identifier: 1 (01)
  Function Code: Read Holding Registers (3) (03)
  Byte Count: 4 (04)
  Register 4: 17 (00 11)
  Register 5: 17 (00 11)
"""


@pytest.mark.parametrize("door", DOORS)
def test_a_read_shows_its_request_and_its_reply_on_stderr(box: Box, door: str) -> None:
    plain = fieldgate("client", "read", *box.where(door), "-r", "5", "-c", "2")
    traced = fieldgate("client", "read", *box.where(door), "-r", "5", "-c", "2", "--trace")
    assert (plain.returncode, plain.stdout, plain.stderr) == (0, "[5]: \t17\n[6]: \t17\n", "")
    assert (traced.returncode, traced.stdout, traced.stderr) == (0, plain.stdout, READ)


def traced_read(transaction: int, coil: int) -> str:
    """Give the trace of a read of coil 1."""
    read = transaction.to_bytes(2) + bytes.fromhex("0000 0006 01 01 0001 0001")
    reply = transaction.to_bytes(2) + bytes.fromhex("0000 0004 01 01 01") + bytes((coil,))
    return f"{text(read, reply=False)}\n{text(reply, reply=True, request=read)}\n"


def test_a_write_shows_its_frames_before_it_says_that_it_is_done(box: Box) -> None:
    written = fieldgate("client", "write", "--yes", box.url("modbus"), "-t", "0", "-r", "2", "0", "--trace")
    write = bytes.fromhex("0002 0000 0006 01 05 0001 0000")
    before, after = (traced_read(at, bit) for at, bit in ((1, 1), (3, 0)))
    done = f"{text(write, reply=False)}\n{text(write, reply=True)}\n"
    shown = f"{before}[2]: \t1 -> 0\n{done}{after}Written 1 references.\n"
    assert (written.returncode, written.stdout, written.stderr) == (0, "", shown)


def test_an_exception_is_shown_before_the_error(box: Box) -> None:
    refused = fieldgate("client", "read", box.url("modbus"), "-r", "101", "--trace")
    assert refused.returncode == 1
    assert "\n  Exception Code: illegal data address (2) (02)\nfieldgate: error: " in refused.stderr


def test_the_demo_shows_every_frame_of_its_three_tunnels(box: Box) -> None:
    plain = fieldgate("client", "demo", box.url("modbus"))
    traced = fieldgate("client", "demo", box.url("modbus"), "--trace")
    titles = [line.split(":")[0] for line in traced.stderr.splitlines() if line[0] != " "]
    assert (plain.returncode, plain.stderr, traced.returncode) == (0, "", 0)
    assert titles == ["request", "reply"] * (2 + 7 + 3 + 3)
    assert len(traced.stdout.splitlines()) == len(plain.stdout.splitlines())


def test_a_reader_of_the_trace_that_goes_away_does_not_stop_a_write(box: Box) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [*FIELDGATE, "client", "write", "--yes", box.url("modbus"), "-r", "3", "99", "--trace"]
        subprocess.run(command, env=clean_environment(), stderr=writing, check=False)
    finally:
        os.close(writing)
    assert fieldgate("client", "read", box.url("modbus"), "-r", "3").stdout == "[3]: \t99\n"


@asynccontextmanager
async def by_hand() -> AsyncIterator[tuple[str, Future[Streams]]]:
    """Give the URL of a device without a mind of its own, and in time the streams of its first connection."""
    connected: Future[Streams] = asyncio.get_running_loop().create_future()
    async with await asyncio.start_server(lambda *streams: connected.set_result(streams), "127.0.0.1", 0) as server:
        yield f"modbus://127.0.0.1:{server.sockets[0].getsockname()[1]}", connected
        (await connected)[1].close()


async def test_a_reply_in_two_pieces_is_shown_once_and_with_its_addresses() -> None:
    shown: list[str] = []
    async with by_hand() as (url, connected), connect(url, trace=shown.append) as client:
        asking = asyncio.ensure_future(client.read_holding(4))
        reader, writer = await connected
        request = await reader.readexactly(12)
        assert shown == [text(request, reply=False)]
        writer.write(REPLY[:8])
        assert isinstance(client._line, Line)
        while not client._line._pipeline._buffer:
            await asyncio.sleep(0.001)
        writer.write(REPLY[8:])
        assert await asking == [555]
    assert shown[1:] == [text(REPLY, reply=True, request=request)]
    assert shown[1].endswith("\n  Register 4: 555 (02 2b)")


async def test_the_start_of_a_reply_that_was_cut_off_is_shown() -> None:
    shown: list[str] = []
    async with by_hand() as (url, connected), connect(url, trace=shown.append) as client:
        asking = asyncio.ensure_future(client.read_holding(4))
        reader, writer = await connected
        await reader.readexactly(12)
        writer.write(REPLY[:-1])
        writer.close()
        with pytest.raises(TunnelLostError):
            await asking
    assert shown[1:] == [text(REPLY[:-1], reply=True)]
