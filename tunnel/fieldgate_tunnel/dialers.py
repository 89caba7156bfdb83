"""Open the stream that a site's URL names, verified, and hand it to a protocol.

asyncssh and cryptography cost ten times what the rest does, so they are imported for the URLs that need them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from fieldgate_core import identity_folder as names
from fieldgate_core.errors import ConfigError, DeadlineError, FieldgateError
from fieldgate_core.url import LOOPBACK_PORT, TLS_PORT, Scheme, SiteUrl
from fieldgate_tunnel import tcp
from fieldgate_tunnel.faults import REACH, explain
from fieldgate_tunnel.tcp import Reached

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
        ended: Callable[[], None] | None = None,
    ) -> None:
        """`ended` is called when it is closed."""
        self._transport = transport
        self._connection = connection
        self._ended = ended

    def get_extra_info(self, name: str) -> Any:
        """Give a fact of the stream or of what carries it: `ssl_object`, `server_version`, or None."""
        return self._transport.get_extra_info(name)

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
        if self._ended is not None:
            self._ended()
        if self._connection is not None:
            from asyncssh import Error

            self._connection.close()
            with contextlib.suppress(TimeoutError, OSError, Error):
                await asyncio.wait_for(self._connection.wait_closed(), CLOSE_DEADLINE)


async def open_tunnel(  # noqa: PLR0913
    url: SiteUrl,
    protocol: asyncio.Protocol,
    *,
    identity: Path | None,
    deadline: float,
    connected: socket.socket | None = None,
    patience: float | None = None,
) -> Tunnel:
    """Open the tunnel that `url` names, within `deadline` seconds, as the transport of `protocol`.

    `identity` is a folder as `fieldgate certs issue client` makes it; TLS needs one, SSH may do with the user's own
    agent and known_hosts. `connected` is a TCP connection to `first_stop`, where there is one already; `patience`
    the seconds that each of its addresses has to answer.
    Raises ConfigError, UnreachableError, NotTrustedError, RejectedError or DeadlineError.
    """
    open_one = {Scheme.PLAIN: _open_plain, Scheme.TLS: _open_tls, Scheme.SSH: _open_ssh}[url.scheme]
    try:
        async with asyncio.timeout(deadline):
            return await open_one(url, protocol, identity, Reached(connected, patience))
    except FieldgateError:
        raise
    except TimeoutError:
        raise DeadlineError(f"opening {url}", deadline, hint=REACH) from None
    except (OSError, UnicodeError) as error:
        raise explain(url, error) from error


def check_identity(url: SiteUrl, identity: Path | None) -> None:
    """Check that `identity` is what the tunnel to `url` needs, before it is opened. Raises ConfigError."""
    if url.scheme is Scheme.TLS:
        from fieldgate_tunnel.resumption import sessions_of

        sessions_of(_named(url, identity))
    elif url.scheme is Scheme.SSH and identity is not None:
        from fieldgate_tunnel import identity_files

        identity_files.private(identity, names.SSH_KEY)
        identity_files.check_ssh_certificate(identity_files.file(identity, names.SSH_CERTIFICATE))
        identity_files.file(identity, names.KNOWN_HOSTS)


def _named(url: SiteUrl, identity: Path | None) -> Path:
    if identity is None:
        raise ConfigError("--identity", f"{url} asks for a certificate, and none was given", hint=_IDENTITY)
    return identity


_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, bytearray] = WeakKeyDictionary()
"""One for all streams of an event loop: it is emptied before anybody else is lent it."""

_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)


async def _connect(
    made: Callable[[], _Protocol], url: SiteUrl, port: int, reached: Reached
) -> tuple[asyncio.Transport, _Protocol]:
    connected = reached.connected or await tcp.connect(await tcp.look_up(url.host, port), reached.patience)
    return await asyncio.get_running_loop().create_connection(made, sock=connected)


async def _open_plain(url: SiteUrl, protocol: asyncio.Protocol, identity: Path | None, reached: Reached) -> Tunnel:
    transport, _ = await _connect(lambda: protocol, url, url.port or LOOPBACK_PORT, reached)
    return Tunnel(transport)


async def _open_tls(url: SiteUrl, protocol: asyncio.Protocol, identity: Path | None, reached: Reached) -> Tunnel:
    from fieldgate_tunnel.generations import last_whole
    from fieldgate_tunnel.resumption import sessions_of
    from fieldgate_tunnel.stream import RECEIVE_BUFFER, TlsStream

    sessions, port = sessions_of(last_whole(_named(url, identity))), url.port or TLS_PORT
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
            sessions.context,
            lambda _: protocol,
            settled,
            buffer=_buffers.setdefault(loop, bytearray(RECEIVE_BUFFER)),
            deadline=_NO_DEADLINE_OF_ITS_OWN,
            server_hostname=url.host,
            session=offered,
        )

    offered = sessions.take(url.host, port)
    _, made = await _connect(stream, url, port, reached)
    try:
        await done
    except BaseException:
        made.abort()
        raise
    return Tunnel(made, ended=lambda: sessions.keep(url.host, port, made))


async def _open_ssh(url: SiteUrl, protocol: asyncio.Protocol, identity: Path | None, reached: Reached) -> Tunnel:
    from asyncssh import Error

    from fieldgate_tunnel import ssh
    from fieldgate_tunnel.generations import last_whole

    try:
        connection = await ssh.connect(url, last_whole(identity) if identity else None, reached)
        try:
            channel = await ssh.open_channel(connection, protocol)
        except BaseException:
            connection.abort()
            raise
    except (Error, ssh.JumpError) as error:
        raise explain(url, error) from error
    return Tunnel(channel, connection)


_NO_DEADLINE_OF_ITS_OWN = 3600.0
_IDENTITY = "name the folder that `fieldgate certs issue client` made: --identity DIR"
