"""Open the stream that a site's URL names, verified, and hand it to a protocol; errors say what to do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fieldgate_core.errors import (
    ConfigError,
    DeadlineError,
    FieldgateError,
    NotTrustedError,
    RejectedError,
    TunnelLostError,
    UnreachableError,
)
from fieldgate_core.url import LOOPBACK_PORT, TLS_PORT, Scheme, SiteUrl

if TYPE_CHECKING:
    import asyncssh

    from fieldgate_tunnel.stream import TlsStream

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

    async def close(self) -> None:
        """Close the stream and what carries it; never fails, and never waits for long."""
        self._transport.close()
        if self._connection is not None:
            # asyncssh and cryptography are worth their import only to the URL that needs them
            from asyncssh import Error

            self._connection.close()
            with contextlib.suppress(TimeoutError, OSError, Error):
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
    except (OSError, UnicodeError) as error:
        raise explain(url, error) from error


async def _open_plain(url: SiteUrl, protocol: asyncio.Protocol, identity: Path | None) -> Tunnel:
    transport, _ = await asyncio.get_running_loop().create_connection(
        lambda: protocol, url.host, url.port or LOOPBACK_PORT
    )
    return Tunnel(transport)


async def _open_tls(url: SiteUrl, protocol: asyncio.Protocol, identity: Path | None) -> Tunnel:
    if identity is None:
        raise ConfigError("--identity", f"{url} asks for a certificate, and none was given", hint=_IDENTITY)
    from fieldgate_tunnel import tls
    from fieldgate_tunnel.stream import RECORD, TlsStream

    context = tls.client_context(identity)
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
            buffer=bytearray(RECORD),
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
    from asyncssh import Error

    from fieldgate_tunnel import ssh

    try:
        connection = await ssh.connect(url, identity)
        try:
            channel = await ssh.open_channel(connection, protocol)
        except BaseException:
            connection.abort()
            raise
    except Error as error:
        raise explain(url, error) from error
    return Tunnel(channel, connection)


_NO_DEADLINE_OF_ITS_OWN = 3600.0
_REACH = "is the host up, the port right, and no firewall in between?"
_IDENTITY = "name the folder that `fieldgate certs issue client` made: --identity DIR"
_CLOCK = "is this machine's clock right? was the certificate renewed?"


def explain(url: SiteUrl, error: BaseException | None) -> FieldgateError:  # noqa: PLR0911
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
    if "asyncssh" in sys.modules:
        from asyncssh import Error

        from fieldgate_tunnel import ssh

        if isinstance(error, Error):
            return ssh.explain(target, error)
    if isinstance(error, socket.gaierror | UnicodeError):
        why = error.strerror if isinstance(error, OSError) else "this is no name of a host"
        return UnreachableError(target, f"no such host: {why}", hint="is the name right?")
    if isinstance(error, ConnectionRefusedError):
        return UnreachableError(target, "connection refused", hint="is the server running, and the port right?")
    if isinstance(error, OSError):
        why = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
        return UnreachableError(target, why[0].lower() + why[1:], hint=_REACH)
    return TunnelLostError(target, "the peer closed the tunnel")
