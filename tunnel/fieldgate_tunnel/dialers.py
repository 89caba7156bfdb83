"""Open the stream that a site's URL names, verified, and hand it to a protocol; errors say what to do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import asyncssh

from fieldgate_core import identity_folder as names
from fieldgate_core.errors import (
    ConfigError,
    DeadlineError,
    FieldgateError,
    NotTrustedError,
    RejectedError,
    TunnelError,
    TunnelLostError,
    UnreachableError,
)
from fieldgate_core.logs import printable
from fieldgate_core.url import LOOPBACK_PORT, TLS_PORT, Scheme, SiteUrl
from fieldgate_tunnel import generations, identity_files, ssh, tls
from fieldgate_tunnel.resumption import sessions_of
from fieldgate_tunnel.ssh_faults import host_key_fault, no_common_host_key
from fieldgate_tunnel.stream import RECEIVE_BUFFER, TlsStream

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
            self._connection.close()
            with contextlib.suppress(TimeoutError, OSError, asyncssh.Error):
                await asyncio.wait_for(self._connection.wait_closed(), CLOSE_DEADLINE)


async def open_tunnel(
    url: SiteUrl,
    protocol: asyncio.Protocol,
    *,
    identity: Path | None,
    deadline: float,
    connected: socket.socket | None = None,
) -> Tunnel:
    """Open the tunnel that `url` names, within `deadline` seconds, as the transport of `protocol`.

    `identity` is a folder as `fieldgate certs issue client` makes it; TLS needs one, SSH may do with the user's own
    agent and known_hosts. `connected` is a TCP connection to the host, where there is one already.
    Raises ConfigError, UnreachableError, NotTrustedError, RejectedError or DeadlineError.
    """
    open_one = {Scheme.PLAIN: _open_plain, Scheme.TLS: _open_tls, Scheme.SSH: _open_ssh}[url.scheme]
    whole = None if identity is None else generations.last_whole(identity)
    try:
        async with asyncio.timeout(deadline):
            return await open_one(url, protocol, whole, connected)
    except FieldgateError:
        raise
    except TimeoutError:
        raise DeadlineError(f"opening {url}", deadline, hint=_REACH) from None
    except (OSError, UnicodeError, asyncssh.Error, ssh.JumpError) as error:
        raise explain(url, error) from error


def check_identity(url: SiteUrl, identity: Path | None) -> None:
    """Check that `identity` is what the tunnel to `url` needs, before it is opened. Raises ConfigError."""
    if url.scheme is Scheme.TLS:
        sessions_of(_named(url, identity))
    elif url.scheme is Scheme.SSH and identity is not None:
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
    made: Callable[[], _Protocol], url: SiteUrl, port: int, connected: socket.socket | None
) -> tuple[asyncio.Transport, _Protocol]:
    loop = asyncio.get_running_loop()
    if connected is not None:
        return await loop.create_connection(made, sock=connected)
    return await loop.create_connection(made, url.host, port)


async def _open_plain(
    url: SiteUrl, protocol: asyncio.Protocol, identity: Path | None, connected: socket.socket | None
) -> Tunnel:
    transport, _ = await _connect(lambda: protocol, url, url.port or LOOPBACK_PORT, connected)
    return Tunnel(transport)


async def _open_tls(
    url: SiteUrl, protocol: asyncio.Protocol, identity: Path | None, connected: socket.socket | None
) -> Tunnel:
    sessions, port = sessions_of(_named(url, identity)), url.port or TLS_PORT
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
    _, made = await _connect(stream, url, port, connected)
    try:
        await done
    except BaseException:
        made.abort()
        raise
    return Tunnel(made, ended=lambda: sessions.keep(url.host, port, made))


async def _open_ssh(
    url: SiteUrl, protocol: asyncio.Protocol, identity: Path | None, connected: socket.socket | None
) -> Tunnel:
    connection = await ssh.connect(url, identity, connected)
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


_ABOUT_CRL = {
    3: ("holds no CRL of its CA", "fetch it from the CA"),
    12: ("has expired, so nobody knows whether it is revoked", "fetch a new one from the CA"),
    23: ("says that it is revoked", "ask who runs the site: its key may have been stolen"),
}
"""What OpenSSL's verdicts on CRLs mean (X509_V_ERR_...): of our tls-crl.pem, and what to do."""


def _not_trusted(target: str, error: ssl.SSLCertVerificationError) -> NotTrustedError:
    of_time = tls.clock_says(error)
    if error.verify_code in _ABOUT_CRL:
        what, hint = _ABOUT_CRL[error.verify_code]
        problem = f"the server's certificate is not accepted: {names.TLS_CRL} in the identity folder {what}{of_time}"
        return NotTrustedError(target, problem, hint=hint)
    problem = f"the server's certificate is not accepted: {error.verify_message}{of_time}"
    return NotTrustedError(target, problem, hint="right host? right CA in the identity folder? right clock?")


def _clock_of(error: asyncssh.HostKeyNotVerifiable) -> str:
    """Give what the clock says, where the verdict on a host certificate hangs on it: so asyncssh words it."""
    of_time = error.reason.startswith(("Certificate not yet valid", "Certificate expired"))
    return tls.clock_now() if of_time else ""


def explain(url: SiteUrl | str, error: BaseException | None) -> FieldgateError:  # noqa: PLR0911
    """Turn what sockets, TLS or SSH raised into our error: not trusted, rejected, unreachable, or lost."""
    target = str(url)
    if isinstance(error, ssl.SSLCertVerificationError):
        return _not_trusted(target, error)
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        if "alert" in reason:
            return RejectedError(target, f"the server does not accept our certificate: {reason}", hint=_CLOCK)
        return UnreachableError(target, f"TLS failed: {reason}", hint="is this port a TLS door?")
    if isinstance(error, ssh.JumpError):
        return _explain_jump(url, error)
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        problem, hint = host_key_fault(error.reason)
        refusal = f"{printable(problem)}{_clock_of(error)}"
        return NotTrustedError(target, f"the server's host key is not accepted: {refusal}", hint=hint)
    if isinstance(error, asyncssh.KeyExchangeFailed) and no_common_host_key(error.reason):
        problem, hint = host_key_fault("Host key is not trusted")
        return NotTrustedError(target, f"the server's host key is not accepted: {problem}", hint=hint)
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
        # a stock sshd without a key or certificate that would do, just hangs up
        hint = "is this port an SSH door, and has it a host key or certificate as known_hosts asks for?"
        return UnreachableError(target, f"SSH failed: {printable(error.reason)}", hint=hint)
    if isinstance(error, socket.gaierror | UnicodeError):
        why = error.strerror if isinstance(error, OSError) else "this is no name of a host"
        return UnreachableError(target, f"no such host: {why}", hint="is the name right?")
    if isinstance(error, ConnectionRefusedError):
        return UnreachableError(target, "connection refused", hint="is the server running, and the port right?")
    if isinstance(error, OSError):
        why = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
        return UnreachableError(target, why[0].lower() + why[1:], hint=_REACH)
    return TunnelLostError(target, "the peer closed the tunnel")


def _explain_jump(url: SiteUrl | str, error: ssh.JumpError) -> FieldgateError:
    """Say that it was a host on the way that failed, and which."""
    target, hint = f"{url}: jump host {error.hop}", f"does `ssh {error.hop}` work by itself?"
    cause = error.__cause__
    if isinstance(cause, asyncssh.ChannelOpenError):
        return RejectedError(target, f"it does not lead on to the site: {printable(cause.reason)}", hint=hint)
    if isinstance(cause, asyncssh.PermissionDenied):
        return RejectedError(target, "it does not accept our key or certificate for this login name", hint=hint)
    found = explain(url, cause)
    return type(found)(target, found.problem, hint=found.hint) if isinstance(found, TunnelError) else found
