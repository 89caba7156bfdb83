"""Open the stream that a site's URL names, verified, and hand it to a protocol; errors say what to do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from pathlib import Path
from weakref import WeakKeyDictionary

import asyncssh

from fieldgate_core import identity_folder as names
from fieldgate_core.errors import (
    ConfigError,
    DeadlineError,
    FieldgateError,
    NotTrustedError,
    RejectedError,
    TunnelLostError,
    UnreachableError,
)
from fieldgate_core.logs import printable
from fieldgate_core.url import LOOPBACK_PORT, TLS_PORT, Scheme, SiteUrl
from fieldgate_tunnel import identity_files, ssh, tls
from fieldgate_tunnel.stream import RECEIVE_BUFFER, TlsStream

CLOSE_DEADLINE = 5.0
"""Seconds that a peer has to take part in closing."""


class Tunnel:
    """An open way to a site; `close` ends it."""

    def __init__(
        self,
        transport: asyncio.Transport | asyncssh.SSHTCPChannel[bytes],
        connection: asyncssh.SSHClientConnection | None = None,
    ) -> None:
        self._transport = transport
        self._connection = connection

    def set_keepalive(self, interval: float, count: int) -> None:
        """Have SSH ask a peer that was silent for `interval` seconds, and give up after `count` without answer."""
        if self._connection is not None:
            self._connection.set_keepalive(interval, count)

    def abort(self) -> None:
        """Cut the stream and what carries it, at once."""
        self._transport.abort()
        if self._connection is not None:
            self._connection.abort()

    async def close(self) -> None:
        """Close the stream and what carries it; never fails, and never waits for long."""
        self._transport.close()
        if self._connection is not None:
            self._connection.close()
            with contextlib.suppress(TimeoutError, OSError, asyncssh.Error):
                await asyncio.wait_for(self._connection.wait_closed(), CLOSE_DEADLINE)


async def open_tunnel(url: SiteUrl, protocol: asyncio.Protocol, *, identity: Path | None, deadline: float) -> Tunnel:
    """Open the tunnel that `url` names, within `deadline` seconds, as the transport of `protocol`.

    `identity` is a folder as `fieldgate certs issue client` makes it; TLS needs one, SSH may do with the user's own
    agent and known_hosts. Raises ConfigError, UnreachableError, NotTrustedError, RejectedError or DeadlineError.
    """
    open_one = {Scheme.PLAIN: _open_plain, Scheme.TLS: _open_tls, Scheme.SSH: _open_ssh}[url.scheme]
    try:
        async with asyncio.timeout(deadline):
            return await open_one(url, protocol, identity)
    except FieldgateError:
        raise
    except TimeoutError:
        raise DeadlineError(f"opening {url}", deadline, hint=_REACH) from None
    except (OSError, UnicodeError, asyncssh.Error) as error:
        raise explain(url, error) from error


def check_identity(url: SiteUrl, identity: Path | None) -> None:
    """Check that `identity` is what the tunnel to `url` needs, before it is opened. Raises ConfigError."""
    if url.scheme is Scheme.TLS:
        _tls_context(url, identity)
    elif url.scheme is Scheme.SSH and identity is not None:
        identity_files.private(identity, names.SSH_KEY)
        identity_files.check_ssh_certificate(identity_files.file(identity, names.SSH_CERTIFICATE))
        identity_files.file(identity, names.KNOWN_HOSTS)


def _tls_context(url: SiteUrl, identity: Path | None) -> ssl.SSLContext:
    """Give the context of an identity; tunnels share it, for it is most of what one costs, until its files change."""
    if identity is None:
        raise ConfigError("--identity", f"{url} asks for a certificate, and none was given", hint=_IDENTITY)
    files = tuple(
        (found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode, found.st_uid)
        for name in (names.TLS_KEY, names.TLS_CHAIN, names.TLS_SERVER_CA)
        for found in [identity_files.file(identity, name).stat()]
    )
    shown, context = _contexts.get(identity, (None, None))
    if context is None or shown != files:
        context = tls.client_context(identity)
        _contexts[identity] = files, context
    # of a context that is old enough to have expired, the server would say so; we know it first
    identity_files.check_dates(identity / names.TLS_CHAIN)
    return context


_contexts: dict[Path, tuple[tuple[tuple[int, ...], ...], ssl.SSLContext]] = {}
_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, bytearray] = WeakKeyDictionary()
"""One for all streams of an event loop: it is emptied before anybody else is lent it."""


async def _open_plain(url: SiteUrl, protocol: asyncio.Protocol, identity: Path | None) -> Tunnel:
    transport, _ = await asyncio.get_running_loop().create_connection(
        lambda: protocol, url.host, url.port or LOOPBACK_PORT
    )
    return Tunnel(transport)


async def _open_tls(url: SiteUrl, protocol: asyncio.Protocol, identity: Path | None) -> Tunnel:
    context = _tls_context(url, identity)
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settled(failure: Exception | None) -> None:
        if done.done():
            return
        if failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)

    def stream() -> TlsStream:
        return TlsStream(
            context,
            lambda _: protocol,
            settled,
            buffer=_buffers.setdefault(loop, bytearray(RECEIVE_BUFFER)),
            deadline=_NO_DEADLINE_OF_ITS_OWN,
            server_hostname=url.host,
        )

    _, made = await loop.create_connection(stream, url.host, url.port or TLS_PORT)
    try:
        await done
    except BaseException:
        made.abort()
        raise
    return Tunnel(made)


async def _open_ssh(url: SiteUrl, protocol: asyncio.Protocol, identity: Path | None) -> Tunnel:
    connection = await ssh.connect(url, identity)
    try:
        channel = await ssh.open_channel(connection, protocol)
    except BaseException:
        connection.abort()
        raise
    return Tunnel(channel, connection)


_NO_DEADLINE_OF_ITS_OWN = 3600.0
_REACH = "is the host up, the port right, and no firewall in between?"
_IDENTITY = "name the folder that `fieldgate certs issue client` made: --identity DIR"
_CLOCK = "is this machine's clock right? was the certificate renewed?"


def explain(url: SiteUrl | str, error: BaseException | None) -> FieldgateError:  # noqa: PLR0911
    """Turn what sockets, TLS or SSH raised into our error: not trusted, rejected, unreachable, or lost."""
    target = str(url)
    if isinstance(error, ssl.SSLCertVerificationError):
        problem = f"the server's certificate is not accepted: {error.verify_message}"
        return NotTrustedError(target, problem, hint="right host? right CA in the identity folder? right clock?")
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        if "alert" in reason:
            return RejectedError(target, f"the server does not accept our certificate: {reason}", hint=_CLOCK)
        return UnreachableError(target, f"TLS failed: {reason}", hint="is this port a TLS door?")
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return NotTrustedError(
            target,
            f"the server's host key is not accepted: {printable(error.reason)}",
            hint="name who you are with --identity DIR, whose known_hosts says which CA signs host keys; "
            "if it does, the host's certificate has expired or does not name this host",
        )
    if isinstance(error, asyncssh.PermissionDenied):
        return RejectedError(
            target,
            "the server does not accept our key or certificate for this login name",
            hint="the login name is the role: is it the certificate's principal, and known to the site's policy?",
        )
    if isinstance(error, asyncssh.ChannelOpenError) and error.reason == "SSH connection closed":
        # asyncssh's own words, and the code of a refusal, for a connection that ended meanwhile
        return UnreachableError(target, "the server closed the connection", hint="has this key too many there already?")
    if isinstance(error, asyncssh.ChannelOpenError) and error.code == asyncssh.OPEN_CONNECT_FAILED:
        problem = f"no Modbus server answers behind the SSH door: {printable(error.reason)}"
        return UnreachableError(target, problem, hint="is the server running on the box?")
    if isinstance(error, asyncssh.ChannelOpenError):
        return RejectedError(target, f"the server refuses the Modbus port: {printable(error.reason)}")
    if isinstance(error, asyncssh.Error):
        return UnreachableError(target, f"SSH failed: {printable(error.reason)}", hint="is this port an SSH door?")
    if isinstance(error, socket.gaierror | UnicodeError):
        why = error.strerror if isinstance(error, OSError) else "this is no name of a host"
        return UnreachableError(target, f"no such host: {why}", hint="is the name right?")
    if isinstance(error, ConnectionRefusedError):
        return UnreachableError(target, "connection refused", hint="is the server running, and the port right?")
    if isinstance(error, OSError):
        why = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
        return UnreachableError(target, why[0].lower() + why[1:], hint=_REACH)
    return TunnelLostError(target, "the peer closed the tunnel")
