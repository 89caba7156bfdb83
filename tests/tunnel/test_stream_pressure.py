"""Back-pressure through a TLS stream: what does not read holds back whoever sends, and misses nothing."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable
from functools import partial

import pytest

from fieldgate_tunnel.stream import RECEIVE_BUFFER, RECORD, TlsStream
from support.site import Pki
from support.streams import (
    Above,
    Held,
    both_sides,
    both_versions,
    facing_blocking,
    facing_records,
    our_end,
    peer_context,
    read_all,
    stalled,
)


@both_sides
async def test_a_peer_that_does_not_read_holds_the_protocol_above_back(site_pki: Pki, side: str) -> None:
    end = our_end(site_pki, side)
    piece, count = secrets.token_bytes(4096), 4096
    sizes: list[int] = []
    async with facing_blocking(end, peer_context(site_pki, side), side) as peer:
        above = await end.up()
        above.stream.set_write_buffer_limits(high=65536, low=1000)

        async def write() -> None:
            for _ in range(count):
                await above.until(lambda: above.events[-1] != "pause")
                above.stream.write(piece)
                sizes.append(above.stream.get_write_buffer_size())

        writing = asyncio.ensure_future(write())
        await stalled(lambda: len(sizes))
        assert len(sizes) < count, "16 MiB went through: nothing was held back"
        assert above.events[-1] == "pause"
        assert end.stream._outgoing.pending == 0
        assert await asyncio.to_thread(read_all, peer, count * len(piece)) == piece * count
        await writing
        assert max(sizes) < 65536 + 2 * len(piece)
        assert above.events[-1] == "resume"


@both_sides
async def test_a_protocol_that_pauses_holds_the_peer_back_and_misses_nothing(site_pki: Pki, side: str) -> None:
    end = our_end(site_pki, side, Held)
    sent = secrets.token_bytes(16 << 20)
    async with facing_records(end, peer_context(site_pki, side), side) as peer:
        await peer.handshake()
        above = await end.up()
        for at in range(0, len(sent), RECORD):
            peer.send(sent[at : at + RECORD])
        await above.told("data")
        assert not above.stream.is_reading()
        waiting = peer.writer.transport.get_write_buffer_size
        await stalled(waiting)
        assert waiting() > 0, "16 MiB went through: nothing was held back"
        assert above.events == ["made", "data"]
        assert end.stream._incoming.pending <= RECEIVE_BUFFER
        above.stream.resume_reading()
        assert above.stream.is_reading()
        assert await above.holds(len(sent)) == sent


@both_sides
async def test_a_protocol_that_pauses_at_every_piece_gets_all_in_order(site_pki: Pki, side: str) -> None:
    dice = random.Random(side)

    class Hesitant(Above):
        def data_received(self, data: bytes) -> None:
            assert self.events[-1] != "paused", "data while paused"
            super().data_received(data)
            self.stream.pause_reading()
            self.stream.pause_reading()
            how = dice.randint(0, 2)
            if how == 0:
                self.stream.resume_reading()
                return
            self._note("paused")
            loop = asyncio.get_running_loop()
            (loop.call_soon if how == 1 else partial(loop.call_later, 0.001))(self.go_on)

        def go_on(self) -> None:
            self._note("going on")
            self.stream.resume_reading()
            self.stream.resume_reading()

    end = our_end(site_pki, side, Hesitant)
    async with facing_records(end, peer_context(site_pki, side), side) as peer:
        await peer.handshake()
        above = await end.up()
        pieces = [secrets.token_bytes(dice.randint(1, 2000)) for _ in range(500)]
        sent = b"".join(pieces)
        while pieces:
            count = dice.randint(1, 20)
            peer.send(*pieces[:count])
            del pieces[:count]
            await asyncio.sleep(0)
        peer.send(close=True)
        await above.told("lost")
        assert above.data == sent
        assert above.events[-2:] == ["eof", "lost"]


@both_versions
@both_sides
@pytest.mark.parametrize("how", ["close_notify", "tcp", "both"])
async def test_an_end_that_comes_while_paused_is_told_after_the_data(
    site_pki: Pki, side: str, version: str, how: str
) -> None:
    end = our_end(site_pki, side, Held)
    async with facing_records(end, peer_context(site_pki, side, version), side) as peer:
        await peer.handshake()
        above = await end.up()
        peer.send(b"one ", b"two ", b"three", close=how != "tcp")
        if how != "close_notify":
            peer.writer.write_eof()
        await above.told("data")
        for _ in range(10):
            await asyncio.sleep(0)
        assert (above.data, above.events) == (b"one ", ["made", "data"])
        above.stream.resume_reading()
        await above.told("lost")
        assert (above.data, above.lost) == (b"one two three", None)
        assert above.events == ["made", "data", "data", "data", "eof", "lost"]
        assert await peer.record() == b""


@both_sides
async def test_close_notify_that_is_met_in_a_pause_of_the_peers_own_making(site_pki: Pki, side: str) -> None:
    """The protocol above ends its side while it is paused with data and the peer's end in wait."""
    end = our_end(site_pki, side, Held)
    async with facing_records(end, peer_context(site_pki, side), side) as peer:
        await peer.handshake()
        above = await end.up()
        peer.send(b"one ", b"two", close=True)
        await above.told("data")
        above.stream.write_eof()
        assert await peer.record() == b""
        above.stream.resume_reading()
        await above.told("lost")
        assert (above.data, above.lost) == (b"one two", None)


@both_sides
@pytest.mark.parametrize("how", [TlsStream.close, TlsStream.abort])
async def test_a_protocol_that_closes_at_the_first_data_gets_no_more(
    site_pki: Pki, side: str, how: Callable[[TlsStream], None]
) -> None:
    class Closes(Above):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            how(self.stream)

    end = our_end(site_pki, side, Closes)
    async with facing_records(end, peer_context(site_pki, side), side) as peer:
        await peer.handshake()
        above = await end.up()
        peer.send(b"one ", b"two", close=True)
        await above.told("lost")
        assert above.events == ["made", "data", "lost"]


@both_sides
@pytest.mark.parametrize("how", [TlsStream.close, TlsStream.abort])
async def test_nothing_is_told_after_close_but_the_end(
    site_pki: Pki, side: str, how: Callable[[TlsStream], None]
) -> None:
    end = our_end(site_pki, side, Held)
    async with facing_records(end, peer_context(site_pki, side), side) as peer:
        await peer.handshake()
        above = await end.up()
        peer.send(b"one ", b"two", close=True)
        await above.told("data")
        how(above.stream)
        above.stream.resume_reading()
        above.stream.pause_reading()
        above.stream.resume_reading()
        await above.told("lost")
        for _ in range(5):
            await asyncio.sleep(0)
        assert above.events == ["made", "data", "lost"]
