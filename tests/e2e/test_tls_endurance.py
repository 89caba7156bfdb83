"""The TLS door endures its peers: who does not read holds little memory, and an end is an end on both sides."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from typing import cast

import pytest

from fieldgate_server.session import Session
from fieldgate_tunnel.stream import TlsStream
from support.asking import READ, READ_REPLY, check_serves, line_with, tls_stream
from support.counts import rounds
from support.site import Site
from support.streams import RecordPeer, peer_context

VERSIONS = ("1.2", "1.3")
REGISTERS = 100
ASKS = struct.pack(">HHHBBHH", 7, 0, 6, 1, 3, 0, REGISTERS)
REPLY_SIZE = 9 + 2 * REGISTERS
MOST_HELD = 192 * 1024
"""Bytes of a connection: one read (64 kB) and one record of requests, replies up to the high-water mark and a turn."""


def transport_of(writer: object) -> asyncio.Transport:
    return cast("asyncio.Transport", cast("asyncio.StreamWriter", writer).transport)


def held(session: Session) -> int:
    """Count the bytes that the server holds of one connection: requests, replies, and TLS records of both."""
    stream = session._transport
    assert isinstance(stream, TlsStream)
    below = stream.get_write_buffer_size()
    return below + stream._incoming.pending + stream._outgoing.pending + len(session._framer._buffer)


@pytest.mark.long
async def test_who_does_not_read_holds_little_memory_and_loses_nothing(site: Site) -> None:
    async with contextlib.AsyncExitStack() as stack:
        viewer = site.pki.client("viewer")
        streams = [await stack.enter_async_context(tls_stream(site, viewer)) for _ in range(rounds(4, 10))]
        assert site.app._shell is not None
        async with asyncio.timeout(10):
            while len(site.app._shell.active_connections) < len(streams):
                await asyncio.sleep(0.01)
        sessions = cast("list[Session]", list(site.app._shell.active_connections.values()))
        sent = [0] * len(streams)
        for _, writer in streams:
            transport_of(writer).pause_reading()
        while not all(session._blocked for session in sessions):
            for at, (_, writer) in enumerate(streams):
                assert sent[at] < 400_000, "it is answered without end"
                writer.write(ASKS * 500)
                sent[at] += 500
            await asyncio.sleep(0.01)
        for at, (_, writer) in enumerate(streams):
            # what a flooding peer has ready beyond that stays with it
            writer.write(ASKS * 5000)
            sent[at] += 5000
        for _ in range(20):
            await asyncio.sleep(0.01)
            assert max(map(held, sessions)) < MOST_HELD
        await check_serves(site)
        for (reader, writer), asked in zip(streams, sent, strict=True):
            transport_of(writer).resume_reading()
            for _ in range(asked):
                reply = await reader.readexactly(REPLY_SIZE)
                assert reply[:9] == struct.pack(">HHHBBB", 7, 0, 3 + 2 * REGISTERS, 1, 3, 2 * REGISTERS)
        assert max(map(held, sessions)) < MOST_HELD


@contextlib.asynccontextmanager
async def record_peer(site: Site, version: str) -> AsyncIterator[RecordPeer]:
    """Give a peer of the door that takes one record at a time, its handshake done."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.app.ports["tls"])
    try:
        peer = RecordPeer(peer_context(site.pki, "server", version), reader, writer, "server")
        await peer.handshake()
        yield peer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("how", ["close_notify", "both", "TCP alone"])
async def test_who_has_nothing_more_to_ask_still_gets_its_replies(site: Site, version: str, how: str) -> None:
    async with asyncio.timeout(20), record_peer(site, version) as peer:
        peer.send(READ * 3, close=how != "TCP alone")
        if how != "close_notify":
            peer.writer.write_eof()
        assert await peer.exactly(3 * len(READ_REPLY)) == READ_REPLY * 3
        assert await peer.record() == b"", "and close_notify behind them"
        assert await peer.reader.read() == b""
    await line_with(site, "event=session", "state=closed", "door=tls", "reads=3")


@pytest.mark.parametrize("version", VERSIONS)
async def test_whom_the_server_closes_is_told_by_close_notify(site: Site, version: str) -> None:
    async with asyncio.timeout(20), record_peer(site, version) as peer:
        peer.send(READ)
        assert await peer.exactly(len(READ_REPLY)) == READ_REPLY
        [account] = list(site.app.accounts)
        assert site.app.kick(str(account.number), "test") == 1
        assert await peer.record() == b""
    await check_serves(site)
