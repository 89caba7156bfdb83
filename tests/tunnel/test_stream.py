"""The TLS stream as server and as client: bytes, records and the handshake, against peers that share no code."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fieldgate_core.errors import DeadlineError
from fieldgate_tunnel import stream as stream_module
from fieldgate_tunnel.limits import Limits
from fieldgate_tunnel.listeners import TlsListener, tls_identity
from fieldgate_tunnel.stream import RECEIVE_BUFFER, RECORD, TlsStream
from support.site import Pki, make_pki
from support.streams import (
    Echo,
    both_sides,
    both_versions,
    ended,
    facing,
    facing_blocking,
    facing_records,
    joined,
    our_end,
    peer_context,
    read_all,
    reported,
    reset,
)
from support.tools import running

TOOLS = ("openssl",)
"""Stock tools that these tests need (conftest.py)."""

REPLY = 260
"""Bytes of the longest Modbus/TCP frame."""


@both_versions
@both_sides
async def test_bytes_arrive_whole_and_in_order_both_ways(site_pki: Pki, side: str, version: str) -> None:
    end = our_end(site_pki, side, Echo)
    async with facing_blocking(end, peer_context(site_pki, side, version), side) as peer:
        assert peer.version() == f"TLSv{version}"
        for size in (1, REPLY, RECORD, RECORD + 1, 1 << 20):
            sent = secrets.token_bytes(size)
            await asyncio.to_thread(peer.sendall, sent)
            assert await asyncio.to_thread(read_all, peer, size) == sent


@both_sides
async def test_one_write_of_any_size_arrives_whole(site_pki: Pki, side: str) -> None:
    end = our_end(site_pki, side)
    sent = secrets.token_bytes(3 << 20)
    async with facing_blocking(end, peer_context(site_pki, side), side) as peer:
        above = await end.up()
        above.stream.write(memoryview(sent))
        assert await asyncio.to_thread(read_all, peer, len(sent)) == sent


@both_versions
@both_sides
async def test_data_in_the_segment_that_ends_the_handshake_is_handed_up(site_pki: Pki, side: str, version: str) -> None:
    end = our_end(site_pki, side)
    async with facing_records(end, peer_context(site_pki, side, version), side) as peer:
        await peer.handshake(b"one ", b"two ", b"three")
        assert await (await end.up()).holds(13) == b"one two three"


@both_versions
@both_sides
async def test_replies_written_together_are_never_split_over_two_records(
    site_pki: Pki, side: str, version: str
) -> None:
    """A stock pymodbus client takes one read for one frame, and one read gives at most one record."""
    end = our_end(site_pki, side)
    replies = [n.to_bytes(4, "big") * (REPLY // 4) for n in range(1000)]
    async with facing_records(end, peer_context(site_pki, side, version), side) as peer:
        await peer.handshake()
        above = await end.up()
        above.stream.writelines(replies)
        fitting = RECORD // REPLY
        for first in range(0, len(replies), fitting):
            assert await peer.record() == b"".join(replies[first : first + fitting])
        above.stream.writelines([])
        above.stream.writelines([b"", b"x" * (RECORD + 1), replies[0], replies[1]])
        records = [await peer.record() for _ in range(3)]
        assert records == [b"x" * RECORD, b"x", replies[0] + replies[1]]


@both_sides
async def test_a_mute_peer_is_cut_off_at_the_deadline(site_pki: Pki, side: str) -> None:
    end = our_end(site_pki, side, deadline=0.05)
    async with facing(end) as (reader, _):
        reason = await end.failed()
        assert isinstance(reason, DeadlineError)
        assert (reason.what, reason.seconds) == ("TLS handshake", 0.05)
        with pytest.raises((ConnectionResetError, EOFError)):
            await reader.readexactly(1000)


async def test_a_peer_that_trickles_is_cut_off_at_the_deadline(site_pki: Pki) -> None:
    """The deadline is for the whole handshake: bytes on the way don't extend it."""
    end = our_end(site_pki, "server", deadline=0.1)
    async with facing(end) as (_, writer):
        writer.write(b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc")
        while not end.settled.is_set():
            writer.write(b"\x03")
            await asyncio.sleep(0.001)
        assert isinstance(await end.failed(), DeadlineError)


@both_sides
async def test_a_deadline_that_was_met_does_not_end_the_stream(site_pki: Pki, side: str) -> None:
    end = our_end(site_pki, side, Echo, deadline=1.0)
    fired = asyncio.Event()
    async with facing_blocking(end, peer_context(site_pki, side), side) as peer:
        await end.up()
        asyncio.get_running_loop().call_later(1.1, fired.set)
        await fired.wait()
        await asyncio.to_thread(peer.sendall, b"still here")
        assert await asyncio.to_thread(read_all, peer, 10) == b"still here"


@both_versions
async def test_a_client_without_certificate_is_told_by_an_alert(site_pki: Pki, version: str) -> None:
    """Even one that goes on sending meanwhile: no reset may overtake the alert."""
    end = our_end(site_pki, "server")
    async with facing_records(end, peer_context(site_pki, "server", version, certificate=False), "server") as peer:
        await peer.meets_alert(*[b"x" * RECORD] * 200)
        assert await peer.reader.read() == b""
        peer.writer.close()
        reason = await end.failed()
        assert isinstance(reason, ssl.SSLError)
        assert reason.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
        # what it sent meanwhile was thrown away
        assert end.stream._incoming.pending <= RECEIVE_BUFFER


@contextlib.asynccontextmanager
async def s_client(
    pki: Pki, version: str, *options: str, certificate: bool
) -> AsyncIterator[tuple[asyncio.StreamWriter, asyncio.StreamReader, asyncio.StreamReader]]:
    """Give the pipes of an `openssl s_client` at a door that echoes."""
    listener = TlsListener(tls_identity(pki.server), lambda _: Echo(), lambda _door, _peer, _what: None, Limits())
    await listener.start("127.0.0.1", 0)
    identity = pki.client("operator")
    command = ["-connect", f"127.0.0.1:{listener.port}", "-CAfile", str(identity / "tls-server-ca.pem")]
    command += ["-partial_chain", "-verify_return_error", "-verify_hostname", "localhost", *options]
    command += ["-tls1_2" if version == "1.2" else "-tls1_3"]
    if certificate:
        chain = str(identity / "tls-chain.pem")
        command += ["-cert", chain, "-cert_chain", chain, "-key", str(identity / "tls-key.pem")]
    async with running("openssl", "s_client", *command) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        yield process.stdin, process.stdout, process.stderr
        process.stdin.close()
    await listener.close()


@both_versions
async def test_openssl_s_client_is_served(site_pki: Pki, version: str) -> None:
    async with s_client(site_pki, version, "-quiet", "-no_ign_eof", certificate=True) as (stdin, stdout, _):
        stdin.write(b"hello\n")
        assert await stdout.readline() == b"hello\n"
        stdin.write_eof()
        assert await stdout.read() == b""


@both_versions
async def test_openssl_s_client_without_certificate_is_told(site_pki: Pki, version: str) -> None:
    async with s_client(site_pki, version, "-quiet", certificate=False) as (_, _, stderr):
        assert b"alert" in await stderr.read()


async def test_a_client_may_not_renegotiate_and_is_told_so(site_pki: Pki) -> None:
    async with s_client(site_pki, "1.2", certificate=True) as (stdin, _, stderr):
        stdin.write(b"R\n")
        assert b"no renegotiation" in await stderr.read()


async def test_a_client_may_ask_for_new_keys(site_pki: Pki) -> None:
    async with s_client(site_pki, "1.3", certificate=True) as (stdin, stdout, stderr):
        stdin.write(b"K\n")
        while await stderr.readline() != b"KEYUPDATE\n":
            pass
        for text in (b"hello\n", b"again\n"):
            stdin.write(text)
            # it may stand behind half a line of what s_client tells of the session
            await stdout.readuntil(text)


@both_versions
@pytest.mark.parametrize("fault", ["name", "issuer"])
async def test_a_server_that_the_client_does_not_trust_is_told_by_an_alert(
    site_pki: Pki, tmp_path: Path, version: str, fault: str
) -> None:
    theirs = make_pki(tmp_path / "pki", "other") if fault == "issuer" else site_pki
    end = our_end(site_pki, "client", name="other.example" if fault == "name" else "localhost")
    async with facing_records(end, peer_context(theirs, "client", version), "client") as peer:
        await peer.meets_alert()
        assert isinstance(await end.failed(), ssl.SSLCertVerificationError)


async def test_a_client_does_not_wait_for_a_bad_server_to_close(site_pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the server could turn the verdict on it into a time-out."""
    monkeypatch.setattr(stream_module, "CLOSE_DEADLINE", 1e6)
    end = our_end(site_pki, "client", name="other.example")
    async with facing_records(end, peer_context(site_pki, "client"), "client") as peer:
        await peer.meets_alert()
        # the peer's side of the connection is still open
        assert isinstance(await end.failed(), ssl.SSLCertVerificationError)


async def test_a_refused_peer_that_stays_is_cut_off(site_pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "CLOSE_DEADLINE", 0.05)
    end = our_end(site_pki, "server")
    async with facing(end) as (reader, writer):
        writer.write(b"\0\1\0\0\0\6\1\3\0\0\0\1")
        # not even a peer that goes on sending gets more time
        while not end.settled.is_set():
            writer.write(b"x" * 1000)
            await asyncio.sleep(0.001)
        assert isinstance(await end.failed(), ssl.SSLError)
        with pytest.raises((ConnectionResetError, EOFError)):
            await reader.readexactly(1000)


@pytest.mark.parametrize("garbage", [b"\0\1\0\0\0\6\1\3\0\0\0\1", b"SSH-2.0-x\r\n", b"\x16\3\1\0\4\xff\xff\xff\xff"])
@both_sides
async def test_garbage_instead_of_a_handshake_fails_it(site_pki: Pki, side: str, garbage: bytes) -> None:
    end = our_end(site_pki, side)
    async with facing(end) as (reader, writer):
        writer.write(garbage)
        got = await reader.read()
        # OpenSSL sends no alert to who does not speak TLS at all
        alert = b"\x15\3\3\0\2\2" if side == "server" else b"\x15\3\1\0\2\2"
        assert (alert in got) is garbage.startswith(b"\x16")
        writer.close()
        assert isinstance(await end.failed(), ssl.SSLError)


@both_sides
async def test_a_peer_that_closes_in_the_handshake_fails_it(site_pki: Pki, side: str) -> None:
    end = our_end(site_pki, side)
    async with facing(end) as (_, writer):
        writer.write(b"\x16\x03\x03")
        writer.write_eof()
        reason = await end.failed()
        assert isinstance(reason, ConnectionResetError)
        assert str(reason) == "the peer closed during the handshake"


@both_sides
async def test_garbage_that_is_followed_by_a_reset_is_nobody_elses_matter(site_pki: Pki, side: str) -> None:
    end = our_end(site_pki, side)
    with reported() as reports:
        theirs = await joined(end)
        theirs.send(b"SSH-2.0-x\r\n")
        reset(theirs)
        assert isinstance(await end.failed(), (ssl.SSLError, ConnectionResetError))
        await ended(end)
    assert reports == []


@both_sides
async def test_a_peer_that_resets_in_the_handshake_fails_it(site_pki: Pki, side: str) -> None:
    end = our_end(site_pki, side)
    theirs = await joined(end)
    theirs.send(b"\x16\x03\x03")
    reset(theirs)
    assert isinstance(await end.failed(), ConnectionResetError)
    await ended(end)


@both_sides
async def test_an_abort_in_the_handshake_settles_it(site_pki: Pki, side: str) -> None:
    for act in (TlsStream.abort, TlsStream.close):
        end = our_end(site_pki, side)
        async with facing(end):
            act(end.stream)
            assert isinstance(await end.failed(), ConnectionResetError)
