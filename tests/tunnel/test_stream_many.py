"""Many TLS streams at the door: they share one buffer, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
from collections.abc import AsyncIterator

import pytest

from fieldgate_tunnel import stream as stream_module
from fieldgate_tunnel.limits import Limits
from fieldgate_tunnel.listeners import TlsListener, tls_identity
from fieldgate_tunnel.stream import TlsStream
from support.site import Pki
from support.streams import (
    Echo,
    RecordPeer,
    peer_context,
    reset,
)

LIMITS = Limits(handshake_deadline=1e4)
"""The gate's usual places; and no deadline that would clear away what was left behind."""


class Door:
    """A TLS door that echoes, and remembers whom it refused."""

    def __init__(self, pki: Pki) -> None:
        self.refusals: list[str] = []
        self.listener = TlsListener(tls_identity(pki.server), lambda _: Echo(), self._refused, LIMITS)

    def _refused(self, _door: str, _peer: str, what: str) -> None:
        self.refusals.append(what)


@pytest.fixture
async def door(site_pki: Pki) -> AsyncIterator[Door]:
    it = Door(site_pki)
    await it.listener.start("127.0.0.1", 0)
    yield it
    await it.listener.close()


async def test_sixty_four_connections_at_once_get_each_their_own_bytes(site_pki: Pki, door: Door) -> None:
    """They share one receive buffer."""
    context = peer_context(site_pki, "server")
    handshakes = asyncio.Semaphore(8)

    async def exchange(number: int) -> None:
        dice = random.Random(number)
        async with handshakes:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", door.listener.port, ssl=context, server_hostname="localhost"
            )
        await everybody.wait()
        for _ in range(20):
            sent = dice.randbytes(dice.randint(1, 8000))
            writer.write(sent)
            assert await reader.readexactly(len(sent)) == sent
        writer.close()
        await writer.wait_closed()

    everybody = asyncio.Barrier(64)
    async with asyncio.TaskGroup() as group:
        for number in range(64):
            group.create_task(exchange(number))
    assert door.refusals == []


def alive() -> int:
    gc.collect()
    return sum(isinstance(thing, TlsStream) for thing in gc.get_objects())


async def test_two_hundred_connections_leave_nothing_behind(
    site_pki: Pki, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever became of them: no stream, hence no timer that would hold it, no task, no place at the gate."""
    monkeypatch.setattr(stream_module, "CLOSE_DEADLINE", 1e4)
    good, bare = peer_context(site_pki, "server"), peer_context(site_pki, "server", certificate=False)
    tasks, before = asyncio.all_tasks(), alive()
    for number in range(200):
        reader, writer = await asyncio.open_connection("127.0.0.1", door.listener.port)
        peer = RecordPeer(bare if number % 5 == 1 else good, reader, writer, "server")
        match number % 5:
            case 0:
                await peer.handshake(b"hello")
                assert await peer.record() == b"hello"
                peer.send(close=True)
                assert await peer.record() == b""
            case 1:
                await peer.meets_alert()
            case 2:
                writer.write(b"\x16\3\1\0\4\xff\xff\xff\xff")
                assert await reader.read()
            case 3:
                await peer.handshake()
                reset(writer.get_extra_info("socket"), writer.transport.abort)
            case _:
                pass
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    while len(door.refusals) < 120 or door.listener.gate.under_way or alive() > before:
        await asyncio.sleep(0.01)
    # the gate has 16 places for an address
    assert not [refusal for refusal in door.refusals if "too many" in refusal]
    assert asyncio.all_tasks() == tasks
