"""Peers that misbehave on purpose: a plain Modbus device that does what the test says, and a relay that counts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

HEADER = 7


class Device:
    """A plain Modbus device. `reply` is asked for each PDU: a PDU to answer, None to stay silent, b"" to close."""

    def __init__(self, reply: Callable[[bytes], bytes | None]) -> None:
        self._reply = reply
        self.requests: list[bytes] = []
        self.asked = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"modbus://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                header = await reader.readexactly(HEADER)
                pdu = await reader.readexactly(int.from_bytes(header[4:6], "big") - 1)
                self.requests.append(pdu)
                reply = self._reply(pdu)
                self.asked.set()
                if reply == b"":
                    break
                if reply is not None:
                    writer.write(header[:4] + (len(reply) + 1).to_bytes(2, "big") + header[6:] + reply)
        writer.close()


@asynccontextmanager
async def device(reply: Callable[[bytes], bytes | None]) -> AsyncIterator[Device]:
    """Run a device on a free loopback port."""
    made = Device(reply)
    async with _listening(made.serve) as made.port:
        yield made


class Relay:
    """Carries bytes between a client and a server's port, and keeps what the client sent since `mark`."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.port = 0
        self.sent = b""
        self.seen = asyncio.Event()
        self.shut = False
        """Whether new connections are closed at once."""
        self._open: set[asyncio.StreamWriter] = set()

    def mark(self) -> None:
        """Forget what was sent so far: what comes now is counted."""
        self.sent = b""
        self.seen.clear()

    def cut(self) -> None:
        """Break the connections that stand."""
        for writer in self._open:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.shut:
            writer.close()
            return
        self._open.add(writer)
        there, onward = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            await asyncio.gather(self._carry(reader, onward, count=True), self._carry(there, writer, count=False))
        finally:
            self._open.discard(writer)
            await _cut(onward)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                if count:
                    self.sent += data
                    self.seen.set()
        writer.close()


@asynccontextmanager
async def relay(target: int) -> AsyncIterator[Relay]:
    """Run a relay to a loopback port."""
    made = Relay(target)
    async with _listening(made.serve) as made.port:
        yield made


@asynccontextmanager
async def _listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]],
) -> AsyncIterator[int]:
    """Listen on a free loopback port; connections that are still served at the end are cut."""
    serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving[asyncio.ensure_future(serve(reader, writer))] = writer

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task, writer in serving.items():
            task.cancel()
            await asyncio.wait([task])
            await _cut(writer)


async def _cut(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
