"""Sessions over real sockets: order of replies, the turn's budget, back-pressure, ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fieldgate_core.adu import Framer
from fieldgate_server import session as session_module
from fieldgate_server.audit import Audit
from fieldgate_server.functions import Function, Request
from fieldgate_server.guard import Guard
from fieldgate_server.identity import Identity
from fieldgate_server.memory import MemoryUnit
from fieldgate_server.policy import OWNER_ROLE, OwnerPolicy
from fieldgate_server.session import SLOTS, TURN, Session
from fieldgate_server.unit_settings import UnitSettings
from fieldgate_server.units import Asker, Units


class LateUnit(MemoryUnit):
    """A unit whose reads of holding registers are answered when the test says so."""

    waiting: dict[int, tuple[asyncio.Future[bytes], bytes]]

    def perform(  # type: ignore[override]
        self, function: Function, request: Request, pdu: bytes, asker: Asker
    ) -> bytes | asyncio.Future[bytes]:
        if function.code != 3:
            return super().perform(function, request, pdu, asker)
        later: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.waiting[request.read_start] = later, function.run(self, request, pdu)
        return later

    def release(self, address: int) -> None:
        later, reply = self.waiting.pop(address)
        later.set_result(reply)


class Served:
    """A listener whose sessions are recorded, with a memory unit 1 and a late unit 2."""

    def __init__(self, folder: Path, expires: float | None = None) -> None:
        memory = UnitSettings().build()
        self.late = LateUnit(2, memory.coils, memory.discrete, memory.holding, memory.input)
        self.late.waiting = {}
        self.sessions: list[Session] = []
        self.audit = Audit(folder / "audit.log")
        self.file = folder / "audit.log"
        rights = OwnerPolicy(1).rights(OWNER_ROLE)
        identity = Identity("unix:test", "owner", rights, "loopback", "p", None, expires)
        units = Units({1: memory, 2: self.late}, default=1)
        self._admit: Callable[[asyncio.BaseTransport], Guard] = lambda _: Guard(identity, units, self.audit)

    def session(self) -> Session:
        self.sessions.append(Session(self._admit))
        return self.sessions[-1]

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        server = await asyncio.get_running_loop().create_server(self.session, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for session in self.sessions:
                session.close()
            await server.wait_closed()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[Served, int]]:
    it = Served(tmp_path)
    async with it.listening() as port:
        yield it, port


def read(number: int, address: int, unit: int = 1, code: int = 3) -> bytes:
    return number.to_bytes(2, "big") + b"\0\0\0\6" + bytes([unit, code]) + address.to_bytes(2, "big") + b"\0\1"


async def numbers(reader: asyncio.StreamReader, count: int) -> list[int]:
    """Read replies to one-register reads, and give their transaction numbers."""
    got = []
    for _ in range(count):
        head = await reader.readexactly(6)
        await reader.readexactly(int.from_bytes(head[4:], "big"))
        got.append(int.from_bytes(head[:2], "big"))
    return got


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something that the loop itself does has happened."""
    while not condition():
        await asyncio.sleep(0)


async def test_replies_keep_the_order_of_requests_when_some_come_later(served: tuple[Served, int]) -> None:
    it, port = served
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(read(1, 0, 2) + read(2, 1, 1) + read(3, 2, 2) + read(4, 3, 1))
    await until(lambda: len(it.late.waiting) == 2)
    it.late.release(2)
    writer.write(read(5, 4, 1))
    await asyncio.sleep(0)
    it.late.release(0)
    assert await numbers(reader, 5) == [1, 2, 3, 4, 5]
    writer.close()


async def test_a_later_reply_that_fails_is_answered_04(served: tuple[Served, int]) -> None:
    it, port = served
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(read(1, 0, 2))
    await until(lambda: bool(it.late.waiting))
    it.late.waiting[0][0].set_exception(TimeoutError())
    assert await reader.readexactly(9) == bytes.fromhex("000100000003028304")
    writer.close()


async def test_a_full_queue_of_later_replies_stops_reading_and_goes_on_after(served: tuple[Served, int]) -> None:
    it, port = served
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(read(n, n % 100, 2) for n in range(SLOTS)) + read(900, 7, 1) * 3)
    await until(lambda: len(it.late.waiting) == SLOTS)
    for _ in range(5):
        await asyncio.sleep(0)
    assert it.sessions[0]._transport is not None
    assert not it.sessions[0]._transport.is_reading()
    for address in sorted(it.late.waiting):
        it.late.release(address)
    assert await numbers(reader, SLOTS + 3) == [*range(SLOTS), 900, 900, 900]
    writer.close()


async def test_a_turn_answers_at_most_its_budget(served: tuple[Served, int], monkeypatch: pytest.MonkeyPatch) -> None:
    _, port = served
    turns: list[int] = []
    take = Framer.take

    def counted(framer: Framer, limit: int) -> list[tuple[bytes, int, bytes]]:
        frames = take(framer, limit)
        turns.append(len(frames))
        return frames

    monkeypatch.setattr(Framer, "take", counted)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(read(n, 0) for n in range(1000)))
    assert await numbers(reader, 1000) == list(range(1000))
    assert max(turns) == TURN
    writer.close()


async def test_a_peer_that_does_not_read_holds_no_memory_and_is_served_when_it_does(served: tuple[Served, int]) -> None:
    it, port = served
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.setblocking(False)
        block = b"".join(read(n, 0) for n in range(1000))
        sent = 0
        blocked = 0
        while blocked < 50:
            try:
                sent += slow.send(block[sent % len(block) :])
                blocked = 0
            except BlockingIOError:
                blocked += 1
            await asyncio.sleep(0.001)
        [session] = it.sessions
        assert session._transport is not None
        # what the server holds: at most one read of input and the transport's own write buffer
        assert len(session._framer._buffer) <= 2 * 262144
        assert session._transport.get_write_buffer_size() < 2 * 65536
        assert not session._transport.is_reading()
        wanted = sent // 12 * 11
        got = 0
        loop = asyncio.get_running_loop()
        while got < wanted:
            got += len(await loop.sock_recv(slow, 1 << 20))
        assert got == wanted


async def test_what_was_asked_before_a_half_close_is_answered(served: tuple[Served, int]) -> None:
    it, port = served
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(read(n, 0) for n in range(200)) + read(200, 5, 2) + read(201, 0)[:5])
    writer.write_eof()
    await until(lambda: bool(it.late.waiting))
    it.late.release(5)
    assert await numbers(reader, 201) == list(range(201))
    assert await reader.read() == b""
    writer.close()


async def test_a_violation_is_closed_after_later_replies_and_without_a_reset(served: tuple[Served, int]) -> None:
    it, port = served
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(read(1, 3, 2) + b"\0\2\0\1\0\6" + b"x" * 5000)
    await until(lambda: bool(it.late.waiting))
    it.late.release(3)
    writer.write(b"y" * 5000)
    assert await numbers(reader, 1) == [1]
    assert await reader.read() == b""
    writer.close()
    await until(lambda: "state=closed" in it.file.read_text())
    assert "state=violation" in it.file.read_text()


async def test_a_peer_that_goes_on_after_a_violation_is_cut_off(
    served: tuple[Served, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    it, port = served
    monkeypatch.setattr(session_module, "LINGER", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\0\2\0\1\0\6")
    assert await reader.read() == b""
    await until(lambda: it.sessions[0]._transport is None)
    writer.close()


async def test_a_session_ends_when_its_credential_does(tmp_path: Path) -> None:
    it = Served(tmp_path, expires=time.time() + 0.2)
    async with it.listening() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(read(1, 0))
        assert await numbers(reader, 1) == [1]
        assert await reader.read() == b""
        writer.close()
    assert "state=expired" in it.file.read_text()


async def test_a_flooding_writer_leaves_an_honest_poller_served(served: tuple[Served, int]) -> None:
    """However many writes lie in the server's hands, a poller waits for a few turns of 64 and not for all of them."""
    it, port = served
    flood = b"".join(n.to_bytes(2, "big") + b"\0\0\0\6\1\6\0\0\0\1" for n in range(5000))

    def pour(client: socket.socket) -> None:
        """Keep the server's input full, bounded, and never wait for a reply before asking the next."""
        with contextlib.suppress(OSError):
            for _ in range(200):
                client.sendall(flood)

    def swallow(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while client.recv(1 << 16):
                pass

    def writes() -> int:
        guard = it.sessions[1]._guard if len(it.sessions) > 1 else None
        return guard.writes if guard is not None else 0

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    loop = asyncio.get_running_loop()
    with socket.create_connection(("127.0.0.1", port)) as client:
        threads = [loop.run_in_executor(None, pour, client), loop.run_in_executor(None, swallow, client)]
        await until(lambda: writes() > 1000)
        between = []
        for number in range(15):
            before = writes()
            writer.write(read(number, 0))
            assert await numbers(reader, 1) == [number]
            between.append(writes() - before)
        assert it.sessions[1]._guard is not None, "the flood ended before the polls did"
        # a reset, so that nobody has to swallow the rest of the flood
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.shutdown(socket.SHUT_RD)
    await asyncio.gather(*threads)
    assert 0 < max(between) <= 10 * TURN, between
    writer.close()
