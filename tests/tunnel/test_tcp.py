"""Addresses of a host: one that says nothing does not keep us from the next, as with IPv6 that leads nowhere."""

from __future__ import annotations

import asyncio
import socket

import pytest

from fieldgate_tunnel import tcp
from fieldgate_tunnel.tcp import Address


def address(listener: socket.socket) -> Address:
    return Address(socket.AF_INET, listener.getsockname())


def test_a_mute_address_makes_room_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "NEXT_AFTER", 0.2)

    async def reach(addresses: list[Address]) -> object:
        async with asyncio.timeout(10):
            with await tcp.connect(addresses) as connected:
                return connected.getpeername()

    with socket.socket() as mute, socket.socket() as filler, socket.create_server(("127.0.0.1", 0)) as good:
        # its queue is full, so that the kernel drops who comes
        mute.bind(("127.0.0.1", 0))
        mute.listen(0)
        filler.connect(mute.getsockname())
        assert asyncio.run(reach([address(mute), address(good)])) == good.getsockname()
        assert asyncio.run(reach([address(good), address(mute)])) == good.getsockname()
