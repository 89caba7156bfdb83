"""A TLS stream inside an SSH channel, where asyncio cannot start TLS."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import AsyncIterator

import asyncssh

from fieldgate_tunnel.ssh import ChannelAdapter
from fieldgate_tunnel.stream import RECORD
from support.site import Pki
from support.streams import (
    End,
    Held,
    RecordPeer,
    both_versions,
    ended,
    our_end,
    peer_context,
)


class InSsh(asyncssh.SSHServer):
    """An SSH server that lets everybody in, and puts a TLS stream on every channel."""

    def __init__(self, end: End) -> None:
        self._end = end

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        return False

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> tuple[asyncssh.SSHTCPChannel[bytes], asyncssh.SSHTCPSession[bytes]]:
        return self._connection.create_tcp_channel(encoding=None), ChannelAdapter(self._end.stream, lambda _: None)


@contextlib.asynccontextmanager
async def in_ssh(end: End, context: ssl.SSLContext) -> AsyncIterator[RecordPeer]:
    """Give a peer whose TLS goes through an SSH channel to our end; as `facing_records`."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    acceptor = await asyncssh.listen("127.0.0.1", 0, server_factory=lambda: InSsh(end), server_host_keys=[key])
    async with (
        acceptor,
        asyncssh.connect(
            "127.0.0.1", acceptor.get_port(), known_hosts=([key.convert_to_public()], [], []), config=None
        ) as connection,
    ):
        reader, writer = await connection.open_connection("localhost", 502, encoding=None)
        yield RecordPeer(context, reader, writer, "server")
        writer.channel.abort()
        await ended(end)


@both_versions
async def test_tls_runs_inside_an_ssh_channel(site_pki: Pki, version: str) -> None:
    end = our_end(site_pki, "server", Held)
    sent = secrets.token_bytes(1 << 20)
    async with in_ssh(end, peer_context(site_pki, "server", version)) as peer:
        await peer.handshake()
        above = await end.up()
        peer.send(sent, close=True)
        peer.writer.write_eof()
        await above.told("data")
        await asyncio.sleep(0)
        assert len(above.data) <= RECORD
        above.keep_open = True
        above.stream.resume_reading()
        await above.told("eof")
        assert above.data == sent
        above.stream.write(sent)
        above.stream.close()
        assert await peer.exactly(len(sent)) == sent
        assert await peer.record() == b""
        await above.told("lost")
        assert above.lost is None


async def test_what_came_through_a_channel_before_its_end_is_handed_up(site_pki: Pki) -> None:
    """A channel that the peer has closed counts as closing while its last data still waits for the reader."""

    class Answers(Held):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.stream.write(b"answer")

    end = our_end(site_pki, "server", Answers)
    async with in_ssh(end, peer_context(site_pki, "server")) as peer:
        await peer.handshake()
        above = await end.up()
        sent = secrets.token_bytes(1000)
        peer.send(sent[:10])
        await above.told("data")
        peer.send(sent[10:])
        peer.writer.close()
        below = end.stream._below
        assert below is not None
        while not below.is_closing():
            await asyncio.sleep(0)
        above.stream.resume_reading()
        await above.told("lost")
        assert above.data == sent
        # there is nobody left to answer, and that is no error
        assert above.lost is None


async def test_a_channel_that_gives_no_certificate_is_refused(site_pki: Pki) -> None:
    end = our_end(site_pki, "server")
    async with in_ssh(end, peer_context(site_pki, "server", certificate=False)) as peer:
        await peer.meets_alert()
        peer.writer.close()
        assert isinstance(await end.failed(), ssl.SSLError)
