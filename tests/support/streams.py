"""Both ends of a TLS stream: ours below a protocol that remembers, and peers that share no code with it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from fieldgate_tunnel import tls
from fieldgate_tunnel.stream import RECEIVE_BUFFER, TlsStream
from support.site import Pki

SIDES = ("server", "client")
"""Which side our end is; the peer is the other."""
both_sides = pytest.mark.parametrize("side", SIDES)
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
both_versions = pytest.mark.parametrize("version", VERSIONS)
DEADLINE = 20.0
"""Seconds after which a blocking peer gives up: only a test that fails waits for it."""


class Above(asyncio.Protocol):
    """The protocol above: remembers what it is told, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self._data = bytearray()
        self.lost: Exception | None = None
        self.keep_open = False
        self._changed = asyncio.Event()

    @property
    def data(self) -> bytes:
        """All that it was given."""
        return bytes(self._data)

    def _note(self, event: str) -> None:
        self.events.append(event)
        self._changed.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.stream = cast("TlsStream", transport)
        self._note("made")

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._note("data")

    def eof_received(self) -> bool:
        self._note("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc
        self._note("lost")

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until what it has been told makes this true."""
        while not reached():
            self._changed.clear()
            await self._changed.wait()

    async def told(self, event: str) -> None:
        """Wait until it has been told this."""
        await self.until(lambda: event in self.events)

    async def holds(self, size: int) -> bytes:
        """Wait until it has so many bytes, and give all that it has."""
        await self.until(lambda: len(self._data) >= size)
        return self.data


class Echo(Above):
    """Sends back what it gets, as long as the peer asks and listens."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.stream.write(data)


class Held(Above):
    """Stops reading at the first data, until the test says otherwise."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.events.count("data") == 1:
            self.stream.pause_reading()


@dataclass
class End:
    """Our end of one connection: its stream, what `settled` was told, and the protocol above once there is one."""

    stream: TlsStream = field(init=False)
    outcomes: list[Exception | None] = field(default_factory=list)
    above: Above | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def up(self) -> Above:
        """Wait for the handshake, and give the protocol above."""
        await self.settled.wait()
        assert self.outcomes == [None]
        assert self.above is not None
        return self.above

    async def failed(self) -> Exception | None:
        """Wait for a handshake that fails, and give the reason."""
        await self.settled.wait()
        assert self.above is None
        return self.outcomes[0]


def our_end(
    pki: Pki, side: str, above: Callable[[], Above] = Above, *, deadline: float = DEADLINE, name: str = "localhost"
) -> End:
    """Make a stream that is the "server" or the "client"; `name` is what the client verifies."""
    end = End()

    def connected(stream: TlsStream) -> Above:
        assert stream is end.stream
        end.above = above()
        return end.above

    def settled(outcome: Exception | None) -> None:
        end.outcomes.append(outcome)
        end.settled.set()

    context = tls.server_context(pki.server) if side == "server" else tls.client_context(pki.client("operator"))
    end.stream = TlsStream(
        context,
        connected,
        settled,
        buffer=bytearray(RECEIVE_BUFFER),
        deadline=deadline,
        server_hostname=None if side == "server" else name,
    )
    return end


async def joined(end: End) -> socket.socket:
    """Put our end on one end of a TCP connection, and give the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    await asyncio.get_running_loop().connect_accepted_socket(lambda: end.stream, ours)
    return theirs


@contextlib.asynccontextmanager
async def facing(end: End) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Give a peer that sends and receives raw bytes. After the block our end must have ended, and been told so once."""
    reader, writer = await asyncio.open_connection(sock=await joined(end))
    try:
        yield reader, writer
    finally:
        if not writer.transport.is_closing():
            writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    await ended(end)


@contextlib.asynccontextmanager
async def facing_records(end: End, context: ssl.SSLContext, side: str) -> AsyncIterator[RecordPeer]:
    """Give a peer that has not shaken hands yet; as `facing`."""
    async with facing(end) as (reader, writer):
        yield RecordPeer(context, reader, writer, side)


@contextlib.asynccontextmanager
async def facing_blocking(end: End, context: ssl.SSLContext, side: str) -> AsyncIterator[ssl.SSLSocket]:
    """Give Python's own blocking TLS, its handshake done, for threads. An end without close_notify is its error."""
    theirs = await joined(end)
    theirs.settimeout(DEADLINE)
    peer = await asyncio.to_thread(
        context.wrap_socket,
        theirs,
        server_side=side == "client",
        server_hostname="localhost" if side == "server" else None,
        suppress_ragged_eofs=False,
    )
    with peer:
        yield peer
    await ended(end)


async def ended(end: End) -> None:
    """Wait for the end of our end, and check that everybody was told of it exactly once."""
    await end.settled.wait()
    if end.above is not None and "made" in end.above.events:
        await end.above.told("lost")
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(end.outcomes) == 1
    if end.above is not None:
        assert end.above.events.count("lost") <= 1
        assert end.above.events.count("eof") <= 1


@contextlib.contextmanager
def reported() -> Iterator[list[dict[str, Any]]]:
    """Collect what the loop's exception handler is told."""
    loop = asyncio.get_running_loop()
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reports.append(context))
    try:
        yield reports
    finally:
        loop.set_exception_handler(None)


def peer_context(pki: Pki, side: str, version: str = "1.3", *, certificate: bool = True) -> ssl.SSLContext:
    """Build the context of a peer that faces our "server" or "client"."""
    peer_is_client = side == "server"
    identity = pki.client("operator") if peer_is_client else pki.server
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if peer_is_client else ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = VERSIONS[version]
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(identity / ("tls-server-ca.pem" if peer_is_client else "tls-client-ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    if certificate:
        context.load_cert_chain(identity / "tls-chain.pem", identity / "tls-key.pem")
    return context


class RecordPeer:
    """A TLS peer that takes one record at a time, and may do what a well-behaved one does not.

    It speaks over an asyncio stream pair, or an asyncssh one.
    """

    def __init__(self, context: ssl.SSLContext, reader: Any, writer: Any, side: str) -> None:
        self.reader = reader
        self.writer = writer
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._in,
            self._out,
            server_side=side == "client",
            server_hostname="localhost" if side == "server" else None,
        )

    async def handshake(self, *then: bytes) -> None:
        """Shake hands; these records travel in one segment with the end of it."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                if not await self._take():
                    raise EOFError("closed during the handshake") from None
        self.send(*then)

    def send(self, *records: bytes, close: bool = False) -> None:
        """Send these records in one segment, and close_notify behind them if asked to."""
        for record in records:
            self._tls.write(record)
        if close:
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.unwrap()
        self._flush()

    async def record(self) -> bytes:
        """Give the next record of data; b"" for close_notify. Raises EOFError without one, SSLError for an alert."""
        while await self._take():
            with contextlib.suppress(ssl.SSLWantReadError):
                try:
                    return self._tls.read(1 << 16)
                except ssl.SSLZeroReturnError:
                    return b""
        raise EOFError

    async def exactly(self, size: int) -> bytes:
        """Give the next so many bytes of data."""
        data = bytearray()
        while len(data) < size:
            record = await self.record()
            assert record, f"the stream ended after {len(data)} of {size} bytes"
            data += record
        return bytes(data)

    async def meets_alert(self, *records: bytes) -> None:
        """Shake hands, send these records, and read until an alert is met: in 1.3 after a client's handshake."""
        with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
            await self._to_the_end(*records)

    async def meets_end(self, *records: bytes) -> None:
        """Shake hands, send these records, and read until the connection ends without a word."""
        with pytest.raises((EOFError, ConnectionResetError)):
            await self._to_the_end(*records)

    async def _to_the_end(self, *records: bytes) -> None:
        await self.handshake(*records)
        while await self.record():
            pass

    def _flush(self) -> None:
        if self._out.pending:
            self.writer.write(self._out.read())

    async def _take(self) -> bool:
        try:
            head = await self.reader.readexactly(5)
            self._in.write(head + await self.reader.readexactly(int.from_bytes(head[3:], "big")))
        except asyncio.IncompleteReadError:
            return False
        return True


def reset(connection: socket.socket, close: Callable[[], None] | None = None) -> None:
    """Reset a connection at once, or when `close` closes it."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    (close or connection.close)()


def read_all(peer: ssl.SSLSocket, size: int) -> bytes:
    """Read so many bytes from a blocking peer."""
    data = bytearray()
    while len(data) < size:
        data += peer.recv(1 << 16)
    return bytes(data)


async def stalled(measure: Callable[[], int]) -> None:
    """Wait until something stands still because the network is full."""
    before = -1
    while before != (before := measure()):
        for _ in range(50):
            await asyncio.sleep(0.001)
