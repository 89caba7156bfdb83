"""Peers that found a way once: each attack that a review made work, beside an honest peer that is served."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from pathlib import Path
from typing import Any, cast

import asyncssh
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from fieldgate_core.errors import ConfigError
from fieldgate_server.session import Session
from fieldgate_tunnel import tls
from fieldgate_tunnel.limits import Limits
from support.asking import READ, READ_REPLY, ask, check_serves, line_with, ssh_connection
from support.mint import Ca, Tls, issuing_ca
from support.site import Pki, Site, running_site

WRITE = bytes.fromhex("0001000000060106000000aa")


def client_context(identity: Path, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(identity / "tls-server-ca.pem"))
    context.load_cert_chain(identity / "tls-chain.pem", identity / "tls-key.pem")
    context.maximum_version = version
    return context


def exchange(
    port: int, context: ssl.SSLContext, session: ssl.SSLSession | None, send: bytes
) -> tuple[bytes, Any, bool]:
    """Connect (resuming `session`), send with the handshake's last flight, and give the reply and the new session."""
    import socket

    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.settimeout(10)
        with context.wrap_socket(raw, server_hostname="localhost", session=session) as stream:
            reused = bool(stream.session_reused)
            reply = b""
            with contextlib.suppress(OSError):
                stream.sendall(send)
                reply = stream.recv(64)
            return reply, stream.session, reused


@pytest.mark.requirement("R-42")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_resumed_session_does_not_outlive_its_certificate(
    site: Site, site_pki: Pki, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """OpenSSL does not look at the dates again on resumption; the session that would stand on it is refused."""
    identity = Tls(ca=issuing_ca(site_pki), ends=3, name="short").identity(site_pki, tmp_path / "short")
    context = client_context(identity, version)
    port = site.app.ports["tls"]
    loop = asyncio.get_running_loop()
    reply, session, _ = await loop.run_in_executor(None, exchange, port, context, None, READ)
    assert reply == READ_REPLY
    reply, session, reused = await loop.run_in_executor(None, exchange, port, context, session, READ)
    assert (reply, reused) == (READ_REPLY, True), "resumption must work, or this test shows nothing"
    certificate = x509.load_pem_x509_certificates((identity / "tls-chain.pem").read_bytes())[0]
    import datetime

    while datetime.datetime.now(datetime.UTC) <= certificate.not_valid_after_utc:
        await asyncio.sleep(0.05)
    reply, _, _ = await loop.run_in_executor(None, exchange, port, context, session, WRITE)
    assert reply == b""
    await line_with(site, "event=refused", "a credential that has run out")
    assert not any("event=write" in line for line in site.trail())
    await check_serves(site)


async def test_a_ca_below_an_anchor_cannot_take_another_anchors_name(site_pki: Pki, tmp_path: Path) -> None:
    """An issuer is who has signed, not what it calls itself: the visitors' CA has named one of its own like ours."""
    visitors = make_ca("visitors", None)
    impostor = make_ca("test-issuing-1", visitors)
    own = issuing_ca(site_pki)
    server = tmp_path / "server"
    import shutil

    shutil.copytree(site_pki.server.resolve(), server)
    anchors = b"".join(ca.certificate.public_bytes(Encoding.PEM) for ca in (own, visitors))
    (server / "tls-client-ca.pem").write_bytes(anchors)
    pki = site_pki
    async with running_site(pki, tmp_path, user="root") as site:
        text = (tmp_path / "server.toml").read_text()
        assert str(pki.server) in text
    (tmp_path / "server.toml").write_text(text.replace(str(pki.server), str(server), 1))
    from fieldgate_core import settings
    from fieldgate_server.app import App
    from fieldgate_server.settings import Settings

    async with App(settings.load(tmp_path / "server.toml", Settings)).running() as app:
        site = Site(app, pki, tmp_path)
        forged = Tls(ca=impostor).identity(pki, tmp_path / "forged")
        loop = asyncio.get_running_loop()
        context = client_context(forged, ssl.TLSVersion.TLSv1_3)
        reply, _, _ = await loop.run_in_executor(None, exchange, app.ports["tls"], context, None, WRITE)
        assert reply == b""
        await line_with(site, "event=refused", "none of the named issuing CAs has itself signed")
        honest = client_context(pki.client("operator"), ssl.TLSVersion.TLSv1_3)
        reply, _, _ = await loop.run_in_executor(None, exchange, app.ports["tls"], honest, None, READ)
        assert reply == READ_REPLY


def test_two_anchors_of_one_name_are_refused_at_the_start(site_pki: Pki, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(site_pki.server.resolve(), tmp_path / "id")
    assert len(tls.client_anchors(tmp_path / "id")) == 1
    twin = make_ca("test-issuing-1", None)
    with (tmp_path / "id/tls-client-ca.pem").open("ab") as file:
        file.write(twin.certificate.public_bytes(Encoding.PEM))
    with pytest.raises(ConfigError, match="two of its CAs have the same name"):
        tls.client_anchors(tmp_path / "id")


def make_ca(name: str, parent: Ca | None) -> Ca:
    """Make a CA that may have CAs below it."""
    import datetime

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = parent.key if parent else key
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(parent.certificate.subject if parent else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return Ca(certificate, key, (parent.certificate, *parent.above) if parent else ())


async def test_who_has_no_rights_cannot_use_up_the_sessions(site_pki: Pki, tmp_path: Path) -> None:
    """The test's own user has no role here: it gets few sessions, and the doors go on serving."""
    async with contextlib.AsyncExitStack() as stack:
        few = "max_sessions = 12\nmax_sessions_without_rights = 3\nmax_sessions_per_identity = 4"
        site = await stack.enter_async_context(running_site(site_pki, tmp_path, user="nobody", extra=few))
        silent = [await asyncio.open_connection("127.0.0.1", site.app.ports["modbus"]) for _ in range(30)]
        await line_with(site, "event=refused", "more than 3 sessions of unix:")
        # an operator through a door is served beside them, up to the number that one identity may have
        streams = [await stack.enter_async_context(site.stream("tls")) for _ in range(4)]
        for stream in streams:
            await ask(stream, READ, READ_REPLY)
        async with site.stream("tls") as (reader, writer):
            writer.write(READ)
            assert await reader.read() == b""
        await line_with(site, "event=refused", "more than 4 sessions of tls:")
        # who leaves makes room
        streams[0][1].close()
        async with asyncio.timeout(10):
            while sum("state=closed" in line and 'identity="tls:' in line for line in site.trail()) < 1:
                await asyncio.sleep(0.01)
        async with site.stream("tls") as stream:
            await ask(stream, READ, READ_REPLY)
        for _, writer in silent:
            writer.close()


async def test_ssh_connections_without_channels_are_counted_too(site_pki: Pki, tmp_path: Path) -> None:
    limits = Limits(ssh_connections=5, ssh_connections_per_key=2)
    async with contextlib.AsyncExitStack() as stack:
        site = await stack.enter_async_context(running_site(site_pki, tmp_path, limits=limits))
        viewer = site_pki.client("viewer")
        held = [await stack.enter_async_context(ssh_connection(site, viewer, "viewer")) for _ in range(2)]
        async with contextlib.AsyncExitStack() as third:
            with contextlib.suppress(asyncssh.Error, OSError):
                connection = await third.enter_async_context(ssh_connection(site, viewer, "viewer"))
                await connection.wait_closed()
        await line_with(site, "event=refused", "more than 2 connections with one key")
        async with ssh_connection(site, site_pki.client("operator")) as other:
            await ask(await other.open_connection("localhost", 502), READ, READ_REPLY)
        await ask(await held[0].open_connection("localhost", 502), READ, READ_REPLY)


async def test_an_ssh_peer_that_does_not_read_is_not_answered_without_end(site_pki: Pki, tmp_path: Path) -> None:
    """A huge window takes the channel's own back-pressure away; what TCP does not take must hold the session back."""
    read = struct.pack(">HHHBBHH", 7, 0, 6, 1, 3, 0, 100)
    async with running_site(site_pki, tmp_path) as site:
        identity = site_pki.client("viewer")
        async with ssh_connection(site, identity, "viewer") as connection:
            channel, session = await connection.create_connection(
                asyncssh.SSHTCPSession, "localhost", 502, window=0x7FFF_FFFF
            )
            del session
            # nothing is read from the network any more; what the server has to say stays with it
            transport = connection._transport
            assert transport is not None
            transport.pause_reading()
            # the server does open its window again; this peer goes on as if it had been told
            channel._send_window = 0x7FFF_FFFF
            assert site.app._shell is not None
            [registered] = cast("list[Session]", list(site.app._shell.active_connections.values()))
            sent = 0

            def blocked() -> bool:
                return registered._blocked

            while not blocked() and sent < 400_000:
                channel.write(read * 500)
                sent += 500
                await asyncio.sleep(0.01)
            assert blocked(), f"{sent} requests, and still it is answered"
            await check_serves(site)
            transport.resume_reading()
            async with asyncio.timeout(30):
                while blocked():
                    await asyncio.sleep(0.01)
            channel.close()


async def test_a_stop_does_not_wait_for_a_peer_that_does_not_answer(site_pki: Pki, tmp_path: Path) -> None:
    stopped = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        async with running_site(site_pki, tmp_path) as site:
            connection = await stack.enter_async_context(ssh_connection(site, site_pki.client("viewer"), "viewer"))
            await ask(await connection.open_connection("localhost", 502), READ, READ_REPLY)
            transport = connection._transport
            assert transport is not None
            transport.pause_reading()
        stopped.set()
        assert "state=stopping" in (tmp_path / "audit.log").read_text()
        assert "state=closed" in (tmp_path / "audit.log").read_text()
        # and nothing is served after it: the door has ended the connection
        transport.resume_reading()
        await connection.wait_closed()
    assert stopped.is_set()
