"""The TLS and SSH listeners, and the one place of their limits; they hand over streams with credentials."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import asyncssh
from cryptography import x509

from fieldgate_core import identity_folder as names
from fieldgate_core.credentials import Credentials, TlsCredentials
from fieldgate_core.errors import ConfigError
from fieldgate_core.logs import printable
from fieldgate_tunnel import identity_files, tls
from fieldgate_tunnel.limits import LOCKOUT, SHUT, Gate, Limits, Place
from fieldgate_tunnel.resumption import stamp
from fieldgate_tunnel.ssh import HostKey, peer_name
from fieldgate_tunnel.ssh_door import Door
from fieldgate_tunnel.ssh_keys import SshProof
from fieldgate_tunnel.ssh_peer import Known, Peer
from fieldgate_tunnel.stream import RECEIVE_BUFFER, TlsStream

log = logging.getLogger("fieldgate.tunnel")

NewSession = Callable[[Credentials], asyncio.Protocol]
"""Gives the session for a peer that a door has authenticated."""
Refused = Callable[[str, str, str], None]
"""Told the door, the peer and what was refused to it."""
RefusedKnown = Callable[[str, str, str, SshProof | None], None]
"""The same, and told who it is once it is authenticated."""

TOO_MANY = "too many handshakes under way"

MOST_SESSIONS = 1024
"""TLS sessions that can be resumed; each takes 15 kB, and OpenSSL by itself would keep 20,480 for two hours."""
CLOSE_DEADLINE = 2.0
"""Seconds that open connections have to end when a door closes."""


class Listener(Protocol):
    """A door."""

    port: int

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError."""

    async def close(self) -> None:
        """Take no more connections; those that are open belong to their sessions."""


class TlsIdentity(NamedTuple):
    """What the TLS door shows, and the issuing CAs whose clients may come in."""

    context: ssl.SSLContext
    anchors: tuple[x509.Certificate, ...]
    again: Callable[[], ssl.SSLContext]
    """Builds the same context anew, without its sessions. Raises ConfigError."""


def tls_identity(folder: Path, *, integrity_only: bool = False, early: bool = False) -> TlsIdentity:
    """Read and check an identity folder; the options as for `tls.server_context`. Raises ConfigError."""
    read = stamp(identity_files.file(folder, names.TLS_CHAIN).parent)

    def again() -> ssl.SSLContext:
        if stamp(folder) != read:
            raise ConfigError(str(folder), "has changed since it was read", hint="reload the server")
        return tls.server_context(folder, integrity_only=integrity_only, early=early)

    context = tls.server_context(folder, integrity_only=integrity_only, early=early)
    return TlsIdentity(context, tls.client_anchors(folder), again)


class TlsListener:
    """The TLS door: mutual TLS, then a session with the certificate's credentials."""

    port = 0

    def __init__(self, identity: TlsIdentity, new_session: NewSession, refused: Refused, limits: Limits) -> None:
        self._identity = identity
        self._new_session = new_session
        self._refused = refused
        self._limits = limits
        self.gate = Gate(limits)
        self._buffer = bytearray(RECEIVE_BUFFER)
        self._server: asyncio.Server | None = None
        self._shaking_hands: set[TlsStream] = set()

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(partial(_TlsAdmission, self), host, port)
        self.port = self._server.sockets[0].getsockname()[1]

    def limit(self, limits: Limits) -> None:
        """Go by other limits for new connections."""
        self._limits = limits
        self.gate.limit(limits)

    def replace(self, identity: TlsIdentity) -> None:
        """Serve new connections with another identity; a handshake under way ends as it began, and is judged by this.

        Sessions can't be resumed across it: they are kept with the context.
        """
        self._identity = identity

    def trusts(self, proven: TlsCredentials) -> bool:
        """Tell whether one of the issuing CAs that are trusted now has signed a client's certificate."""
        return tls.issued_by(proven.certificate, self._identity.anchors)

    async def close(self) -> None:
        """Take no more connections, and end the handshakes under way."""
        if self._server is not None:
            self._server.close()
        for stream in list(self._shaking_hands):
            stream.abort()

    def admit(self, transport: asyncio.Transport) -> TlsStream | None:
        """Begin a handshake on a new connection, or None where there are too many under way."""
        peername = transport.get_extra_info("peername")
        return self._begin(peer_name(peername), str(peername[0]) if peername else "?")

    def admit_via(self, hub: str) -> TlsStream | None:
        """Begin a handshake on a connection that comes through a hub; None as above.

        Nobody is locked out for what fails there: the hub has let the peer in, and does not say who it is.
        """
        return self._begin(f"via {hub}", f"via {hub}", of_hub=True)

    def _begin(self, peer: str, address: str, *, of_hub: bool = False) -> TlsStream | None:
        place = self.gate.enter(address, lambda: stream.abort(), of_many=of_hub)
        if not isinstance(place, Place):
            if place != LOCKOUT:
                self._refused("tls", peer, (place == SHUT and self.gate.shut) or TOO_MANY)
            return None

        def connected(stream: TlsStream) -> asyncio.Protocol:
            established: ssl.SSLObject = stream.get_extra_info("ssl_object")
            leaf = established.getpeercert(binary_form=True)
            # all of this is asked again of a session that is resumed
            if leaf is None or not tls.issued_by(leaf, self._identity.anchors):
                raise _UnknownIssuerError(1, "none of the named issuing CAs has itself signed the client's certificate")
            if established.context.security_level == 0 and not tls.is_strong(leaf):
                raise _UnknownIssuerError(1, "the client's certificate has a weak key or signature")
            proven: TlsCredentials = tls.credentials(leaf, peer)
            return self._new_session(proven)

        def settled(failure: Exception | None) -> None:
            self._shaking_hands.discard(stream)
            if failure is None:
                self.gate.succeeded(place)
                return
            # the place first: a line that can't be written must not keep it
            locked = self.gate.failed(place, authentication=not of_hub and _not_authenticated(failure))
            self._refused("tls", peer, f"handshake failed: {TOO_MANY if place.ousted else _reason(failure)}")
            if locked is not None:
                self._refused("tls", peer, locked)

        stream = TlsStream(
            self._context(), connected, settled, buffer=self._buffer, deadline=self._limits.handshake_deadline
        )
        self._shaking_hands.add(stream)
        return stream

    def _context(self) -> ssl.SSLContext:
        """Give the context for a new connection: one that has forgotten its sessions when these were too many."""
        if self._identity.context.session_stats()["number"] >= MOST_SESSIONS:
            try:
                self._identity = self._identity._replace(context=self._identity.again())
            except (ConfigError, OSError) as error:
                log.warning("the TLS door keeps more sessions than it should: %s", printable(str(error)))
        return self._identity.context


class _TlsAdmission(asyncio.Protocol):
    """Stands where a new connection begins, and hands it to a stream if the gate lets it in."""

    def __init__(self, listener: TlsListener) -> None:
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        below = cast("asyncio.Transport", transport)
        stream = self._listener.admit(below)
        if stream is None:
            below.abort()
            return
        below.set_protocol(stream)
        stream.connection_made(below)


class SshListener:
    """The SSH door: public keys and certificates, then a session for each channel to the Modbus port."""

    port = 0

    def __init__(  # noqa: PLR0913
        self,
        options: asyncssh.SSHServerConnectionOptions,
        known: Known,
        new_session: NewSession,
        refused: RefusedKnown,
        limits: Limits,
        modbus_ports: frozenset[int],
        banner: str = "",
    ) -> None:
        """`modbus_ports` are the target ports on localhost that mean Modbus; `banner` is shown before anything else."""
        self._options = options
        self._known = known
        self._new_session = new_session
        self._refused = refused
        self.gate = Gate(limits)
        self._modbus_ports = modbus_ports
        self._limits = limits
        self._banner = banner
        self._doors: set[Peer] = set()
        self._acceptor: asyncssh.SSHAcceptor | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError."""
        self._acceptor = await asyncssh.listen(host, port, server_factory=self._door, options=self._options)
        self.port = self._acceptor.sockets[0].getsockname()[1]

    def limit(self, limits: Limits) -> None:
        """Go by other limits for new connections."""
        self._limits = limits
        self.gate.limit(limits)
        if self._acceptor is not None:
            self._acceptor.update(login_timeout=limits.handshake_deadline)

    def replace(self, host_keys: tuple[HostKey, ...]) -> None:
        """Show other host keys and certificates to new connections."""
        if self._acceptor is not None:
            self._acceptor.update(server_host_keys=list(host_keys))

    def close_where(self, wanted: Callable[[SshProof], bool]) -> None:
        """End the connections of those whose proof is wanted, with all their channels."""
        for door in list(self._doors):
            if door.proof is not None and wanted(door.proof):
                door.close()

    async def close(self) -> None:
        """Take no more connections, and end those that are open."""
        if self._acceptor is not None:
            self._acceptor.close()
        for door in self._doors:
            door.close()
        if self._doors:
            await asyncio.wait(
                [asyncio.ensure_future(door.gone.wait()) for door in self._doors], timeout=CLOSE_DEADLINE
            )
        for door in list(self._doors):
            door.abort()

    def _door(self) -> Door:
        refused = partial(self._refused, "ssh")
        return Door(
            self._known,
            self._new_session,
            refused,
            self._modbus_ports,
            self.gate,
            self._doors,
            self._limits,
            self._banner,
        )


class _UnknownIssuerError(ssl.SSLError):
    """The chain holds, and none of the named issuing CAs has itself signed the leaf."""


_NOT_PROVEN = frozenset({"PEER_DID_NOT_RETURN_A_CERTIFICATE", "BAD_SIGNATURE"})
"""OpenSSL's reasons for a peer that has no certificate, or not its key."""


def _not_authenticated(failure: Exception) -> bool:
    """Tell whether a handshake failed for want of a trusted certificate; noise on the port is something else."""
    if isinstance(failure, ssl.SSLCertVerificationError | _UnknownIssuerError):
        return True
    return isinstance(failure, ssl.SSLError) and getattr(failure, "reason", None) in _NOT_PROVEN


def _reason(failure: Exception) -> str:
    if isinstance(failure, ssl.SSLCertVerificationError):
        return f"the client's certificate is not accepted: {failure.verify_message}{tls.clock_says(failure)}"
    if isinstance(failure, ssl.SSLError):
        # only what OpenSSL itself has raised has a reason
        return getattr(failure, "reason", None) or failure.strerror or str(failure)
    return str(failure) or type(failure).__name__
