"""How a TLS stream ends, by us, by the peer, or because something goes wrong above or below it."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Callable

import pytest

from fieldgate_tunnel import stream as stream_module
from fieldgate_tunnel.stream import RECORD, TlsStream
from support.site import Pki
from support.streams import (
    Above,
    Echo,
    both_sides,
    both_versions,
    facing_blocking,
    facing_records,
    our_end,
    peer_context,
    read_all,
    reported,
    reset,
)


@both_versions
@both_sides
async def test_close_sends_what_is_left_and_close_notify(site_pki: Pki, side: str, version: str) -> None:
    end = our_end(site_pki, side)
    sent = secrets.token_bytes(1 << 20)
    async with facing_blocking(end, peer_context(site_pki, side, version), side) as peer:
        above = await end.up()
        # the tickets of a 1.3 server come before this: bytes that are not read yet would reset the connection
        await asyncio.to_thread(peer.sendall, b"x")
        await above.told("data")
        above.stream.write(sent)
        above.stream.close()
        above.stream.write(b"too late")
        above.stream.writelines([b"too late"])
        above.stream.write_eof()
        above.stream.close()
        assert above.stream.is_closing()
        assert await asyncio.to_thread(read_all, peer, len(sent)) == sent
        # an end without close_notify would raise
        assert await asyncio.to_thread(peer.recv, 1) == b""
        await above.told("lost")
        assert above.lost is None
        assert [event for event in above.events if event not in {"pause", "resume"}] == ["made", "data", "lost"]


@both_versions
@both_sides
async def test_after_write_eof_the_peer_is_still_heard(site_pki: Pki, side: str, version: str) -> None:
    end = our_end(site_pki, side)
    async with facing_blocking(end, peer_context(site_pki, side, version), side) as peer:
        above = await end.up()
        assert above.stream.can_write_eof()
        above.stream.write(b"last words")
        above.stream.write_eof()
        above.stream.write_eof()
        above.stream.write(b"too late")
        above.stream.writelines([b"too late"])
        assert await asyncio.to_thread(read_all, peer, 10) == b"last words"
        assert await asyncio.to_thread(peer.recv, 1) == b""
        await asyncio.to_thread(peer.sendall, b"I still speak")
        assert await above.holds(13) == b"I still speak"
        assert "eof" not in above.events
        await asyncio.to_thread(peer.unwrap)
        await above.told("lost")
        assert above.events[-2:] == ["eof", "lost"]
        assert above.lost is None


@both_versions
@both_sides
async def test_write_eof_loses_nothing_that_has_arrived_already(site_pki: Pki, side: str, version: str) -> None:
    """OpenSSL looks for the peer's close_notify there, and breaks the stream when it finds data."""

    class Ends(Above):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.stream.write_eof()

    end = our_end(site_pki, side, Ends)
    async with facing_records(end, peer_context(site_pki, side, version), side) as peer:
        await peer.handshake()
        above = await end.up()
        peer.send(b"one ", b"two ", b"three")
        assert await above.holds(13) == b"one two three"
        assert await peer.record() == b""
        with pytest.raises(EOFError):
            await peer.record()
        peer.send(b" four", close=True)
        await above.told("lost")
        assert (above.data, above.lost) == (b"one two three four", None)


@both_versions
@both_sides
async def test_a_peer_that_has_said_close_notify_is_still_answered(site_pki: Pki, side: str, version: str) -> None:
    end = our_end(site_pki, side)
    async with facing_records(end, peer_context(site_pki, side, version), side) as peer:
        await peer.handshake()
        above = await end.up()
        above.keep_open = True
        peer.send(b"question", close=True)
        await above.told("eof")
        assert above.data == b"question"
        above.stream.write(b"answer")
        assert await peer.record() == b"answer"
        # what comes behind close_notify is no data, and takes no memory
        peer.writer.write(b"\x17\x03\x03\x40\x00" + b"x" * RECORD)
        peer.writer.write_eof()
        above.stream.write(b"more")
        assert await peer.record() == b"more"
        above.stream.close()
        assert await peer.record() == b""
        await above.told("lost")
        assert (above.data, above.lost) == (b"question", None)
        assert end.stream._incoming.pending == 0


@both_versions
@both_sides
async def test_a_peer_that_only_ends_its_tcp_side_is_still_answered(site_pki: Pki, side: str, version: str) -> None:
    end = our_end(site_pki, side)
    async with facing_records(end, peer_context(site_pki, side, version), side) as peer:
        await peer.handshake()
        above = await end.up()
        above.keep_open = True
        peer.send(b"question")
        peer.writer.write(b"\x17\x03\x03\x01\x00cut off")
        peer.writer.write_eof()
        await above.told("eof")
        assert above.data == b"question"
        above.stream.write(b"answer")
        assert await peer.record() == b"answer"
        # on asyncio this reads the end of input once more
        above.stream.pause_reading()
        above.stream.resume_reading()
        above.stream.write(b"more")
        assert await peer.record() == b"more"
        above.stream.close()
        assert await peer.record() == b""
        await above.told("lost")
        assert above.lost is None


@both_sides
@pytest.mark.parametrize("how", ["close_notify", "tcp"])
async def test_an_end_that_the_protocol_above_does_not_keep_open_closes(site_pki: Pki, side: str, how: str) -> None:
    end = our_end(site_pki, side, Echo)
    async with facing_records(end, peer_context(site_pki, side), side) as peer:
        await peer.handshake()
        above = await end.up()
        peer.send(b"question", close=how == "close_notify")
        if how == "tcp":
            peer.writer.write_eof()
        assert await peer.record() == b"question"
        assert await peer.record() == b""
        with pytest.raises(EOFError):
            await peer.record()
        await above.told("lost")
        assert above.events == ["made", "data", "eof", "lost"]
        assert above.lost is None


@both_sides
async def test_a_reset_is_told_to_the_protocol_above(site_pki: Pki, side: str) -> None:
    end = our_end(site_pki, side)
    async with facing_records(end, peer_context(site_pki, side), side) as peer:
        await peer.handshake()
        above = await end.up()
        reset(peer.writer.get_extra_info("socket"), peer.writer.transport.abort)
        await above.told("lost")
        assert above.events == ["made", "lost"]
        assert isinstance(above.lost, ConnectionResetError)
        above.stream.write(b"too late")
        above.stream.write_eof()
        above.stream.resume_reading()
        above.stream.close()
        above.stream.abort()


@both_sides
@pytest.mark.parametrize("act", [TlsStream.write_eof, TlsStream.close, TlsStream.abort])
async def test_a_reset_that_is_not_read_yet_disturbs_nobody(
    site_pki: Pki, side: str, act: Callable[[TlsStream], None]
) -> None:
    end = our_end(site_pki, side)
    async with facing_blocking(end, peer_context(site_pki, side), side) as peer:
        above = await end.up()
        reset(peer)
        # the reset is in our socket, and the loop has had no turn to read it
        act(above.stream)
        await above.told("lost")


@both_versions
@both_sides
async def test_garbage_after_the_handshake_ends_the_stream_with_an_alert(
    site_pki: Pki, side: str, version: str
) -> None:
    end = our_end(site_pki, side)
    async with facing_records(end, peer_context(site_pki, side, version), side) as peer:
        await peer.handshake()
        above = await end.up()
        peer.send(b"before")
        peer.writer.write(b"\x17\x03\x03\x00\x20" + b"x" * 32 + b"y" * 4_000_000)
        with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
            await peer.record()
        if side == "server":
            assert await peer.reader.read() == b""
        peer.writer.close()
        await above.told("lost")
        assert above.data == b"before"
        assert above.events == ["made", "data", "lost"]
        assert isinstance(above.lost, ssl.SSLError)


@both_sides
async def test_garbage_after_our_own_end_is_closed_ends_the_stream(site_pki: Pki, side: str) -> None:
    end = our_end(site_pki, side)
    async with facing_records(end, peer_context(site_pki, side), side) as peer:
        await peer.handshake()
        above = await end.up()
        above.stream.write_eof()
        assert await peer.record() == b""
        peer.writer.write(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        peer.writer.write_eof()
        await above.told("lost")
        assert isinstance(above.lost, ssl.SSLError)


@both_sides
async def test_abort_ends_at_once(site_pki: Pki, side: str) -> None:
    end = our_end(site_pki, side)
    async with facing_records(end, peer_context(site_pki, side), side) as peer:
        await peer.handshake()
        above = await end.up()
        above.stream.write(b"x" * (8 << 20))
        above.stream.abort()
        assert above.stream.is_closing()
        await above.told("lost")
        assert above.lost is None
        with pytest.raises((ConnectionResetError, EOFError)):
            await peer.exactly(8 << 20)


@both_sides
async def test_a_peer_that_does_not_take_the_last_bytes_is_cut_off(
    site_pki: Pki, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "CLOSE_DEADLINE", 0.05)
    end = our_end(site_pki, side)
    async with facing_records(end, peer_context(site_pki, side), side) as peer:
        await peer.handshake()
        above = await end.up()
        peer.writer.transport.pause_reading()
        above.stream.write(b"x" * (16 << 20))
        above.stream.close()
        await above.told("lost")


@both_sides
@pytest.mark.parametrize("where", ["connection_made", "data_received", "eof_received"])
async def test_a_protocol_that_fails_ends_only_its_own_stream(site_pki: Pki, side: str, where: str) -> None:
    def fail(*_: object) -> None:
        raise LookupError(where)

    class Failing(Above):
        pass

    setattr(Failing, where, fail)
    other = our_end(site_pki, side, Echo)
    async with facing_blocking(other, peer_context(site_pki, side), side) as healthy:
        end = our_end(site_pki, side, Failing)
        with reported() as reports:
            async with facing_records(end, peer_context(site_pki, side), side) as peer:
                await peer.handshake(b"x")
                above = await end.up()
                peer.send(close=True)
                await above.told("lost")
                assert isinstance(above.lost, LookupError)
                assert above.events[-1] == "lost"
        [report] = reports
        assert (report["exception"], report["transport"]) == (above.lost, end.stream)
        await asyncio.to_thread(healthy.sendall, b"alive")
        assert await asyncio.to_thread(read_all, healthy, 5) == b"alive"


@both_sides
async def test_whoever_gives_the_protocol_above_may_refuse(site_pki: Pki, side: str) -> None:
    def refuse() -> Above:
        raise LookupError

    end = our_end(site_pki, side, refuse)
    with reported() as reports:
        async with facing_records(end, peer_context(site_pki, side), side) as peer:
            await peer.meets_end(b"x")
            assert isinstance(await end.failed(), LookupError)
    [report] = reports
    assert isinstance(report["exception"], LookupError)


@both_sides
async def test_a_protocol_that_hangs_up_when_it_is_made_gets_no_data(site_pki: Pki, side: str) -> None:
    class Refusing(Above):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.stream.abort()

    end = our_end(site_pki, side, Refusing)
    async with facing_records(end, peer_context(site_pki, side), side) as peer:
        await peer.meets_end(b"x")
        above = await end.up()
        await above.told("lost")
        assert above.events == ["made", "lost"]
