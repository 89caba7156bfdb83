"""One SSH connection to a server of ours: authenticates by key or certificate, and refuses all that can be asked."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

import asyncssh

from fieldgate_core.clock import moment
from fieldgate_core.credentials import SshCertificateCredentials
from fieldgate_tunnel.limits import (
    LOCKOUT,
    SHUT,
    SSH_CHANNELS,
    SSH_CONNECTIONS,
    SSH_CONNECTIONS_PER_KEY,
    Gate,
    Limits,
    Place,
)
from fieldgate_tunnel.ssh import ChannelAdapter, UnixSession, peer_name
from fieldgate_tunnel.ssh_keys import SshProof, read_proof

GOODBYE = 1.0
"""Seconds after a certificate's end in which its sessions end by themselves; then the connection goes."""
CHANNELS = 8
"""Channels that one SSH connection may have open; each is a session of its own."""
TOO_MANY = "too many connections that are not authenticated yet"
FAULTS = 2
"""Reasons that the line of a failed login gives: a stock ssh offers its certificate, and the key alone as well."""

Known = Callable[[SshProof], bool]
"""Is this key, or this role for this CA, known? What is not known fails authentication."""
Opened = tuple[asyncssh.SSHTCPChannel[bytes], asyncssh.SSHTCPSession[bytes] | Awaitable[asyncssh.SSHTCPSession[bytes]]]
"""A channel and who it is for, perhaps not at once."""
OpenedUnix = tuple[asyncssh.SSHUNIXChannel[bytes], UnixSession | Awaitable[UnixSession]]
Refused = Callable[[str, str, SshProof | None], None]
"""Told the peer, what was refused to it, and who it is once it is authenticated."""


class Peer(asyncssh.SSHServer):
    """One SSH connection: authenticates, and refuses everything; what is served is for those who build on it."""

    def __init__(  # noqa: PLR0913
        self,
        known: Known,
        refused: Refused,
        gate: Gate,
        peers: set[Peer],
        limits: Limits,
        banner: str = "",
    ) -> None:
        """`gate` counts who is not authenticated yet, `peers` holds all who are connected."""
        self._known = known
        self._tell_refused = refused
        self._gate = gate
        self._peers = peers
        self._limits = limits
        self._banner = banner
        self._adapters: set[ChannelAdapter] = set()
        self._full = False
        self._tried = False
        self.gone = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._place: Place | None = None
        self._proof: SshProof | None = None
        self.connection: asyncssh.SSHServerConnection | None = None
        self.peer = "?"
        self._faults: deque[str] = deque(maxlen=FAULTS)

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Take a place at the gate, and hook the one method that sees a client's certificate."""
        self.connection = conn
        peername = conn.get_extra_info("peername")
        self.peer = peer_name(peername)
        address = str(peername[0]) if peername else "?"
        place = self._gate.enter(address, conn.abort)
        if not isinstance(place, Place):
            if place != LOCKOUT:
                self.refused((place == SHUT and self._gate.shut) or TOO_MANY)
            conn.abort()
            return
        self._place = place
        if len(self._peers) >= self._limits.ssh_connections:
            self._gate.hits[SSH_CONNECTIONS] += 1
            self._faults.append(f"more than {self._limits.ssh_connections} connections")
            conn.abort()
            return
        self._peers.add(self)
        # asyncssh has these two do nothing, and a large window takes its channels' own limit away: without them a
        # peer that does not read makes this process hold all of its replies
        conn.pause_writing = partial(self._hold, True)  # type: ignore[method-assign]
        conn.resume_writing = partial(self._hold, False)  # type: ignore[method-assign]
        # asyncssh shows a server neither certificate nor key
        original = conn.validate_public_key

        async def validate(username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
            claimed, fault = self._judge(username, key_data)
            if claimed is not None and not await original(username, key_data, msg, signature):
                claimed, fault = None, "not valid: the signature, or the certificate's signature, dates or addresses"
            if claimed is None:
                self._faults.appendleft(f"login {username!r}: {fault}")
                return False
            # a key that is only asked about (no message) proves nothing; only one that has signed does
            if msg:
                self._proof = claimed
            return True

        conn.validate_public_key = validate  # type: ignore[method-assign]

    def _judge(self, username: str, key_data: bytes) -> tuple[SshProof | None, str]:
        """Judge a key or certificate before its signature is looked at: what it would prove, or None and the fault."""
        claimed, fault = read_proof(username, key_data, self.peer)
        if claimed is None:
            return None, fault
        if _expired(claimed):
            return None, f"the certificate has expired; the clock says {moment(time.time())}"
        if not self._known(claimed):
            return None, f"the policy does not know {_who(claimed)} for this login"
        return claimed, ""

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave; give the place at the gate back, if it was still held."""
        self._peers.discard(self)
        self.gone.set()
        if self._timer is not None:
            self._timer.cancel()
        place, self._place = self._place, None
        if place is not None:
            locked = self._gate.failed(place, authentication=self._tried)
            # one line a connection: a client may well offer several keys before the right one
            why = TOO_MANY if place.ousted else "; ".join(self._faults) or str(exc or "it only connected")
            self.refused(f"not authenticated: {why}")
            if locked is not None:
                self.refused(locked)

    def refused(self, what: str) -> None:
        """Write down what was refused to this peer."""
        self._tell_refused(self.peer, what, self._proof)

    @property
    def proof(self) -> SshProof | None:
        """What has authenticated this connection."""
        return self._proof

    @property
    def key(self) -> str | None:
        """The fingerprint of the key that has authenticated this connection."""
        return self._proof.fingerprint if self._proof is not None else None

    def close(self) -> None:
        """End the connection, with the peer's help."""
        if self.connection is not None:
            self.connection.close()

    def abort(self) -> None:
        """End the connection without the peer's help."""
        if self.connection is not None:
            self.connection.abort()

    def begin_auth(self, username: str) -> bool:
        """Everybody authenticates; the banner comes first."""
        if self._banner and not self._tried and self.connection is not None:
            self.connection.send_auth_banner(f"{self._banner}\n")
        self._tried = True
        return True

    def auth_completed(self) -> None:
        """Give the place at the gate back, and see to it that the connection ends with its credential."""
        place, self._place = self._place, None
        if place is not None:
            self._gate.succeeded(place)
        proof = self._proof
        alike = sum(proof is not None and peer.key == proof.fingerprint for peer in self._peers)
        if alike > self._limits.ssh_connections_per_key:
            self._gate.hits[SSH_CONNECTIONS_PER_KEY] += 1
            self.refused(f"more than {self._limits.ssh_connections_per_key} connections with one key")
            self.close()
            return
        remaining = _remaining(proof)
        if remaining is not None:
            self._timer = asyncio.get_running_loop().call_later(remaining + GOODBYE, self.abort)
        # asyncssh refuses each forward by itself then, and asks nobody
        if self.connection is not None and not self.connection.check_certificate_permission("port-forwarding"):
            self.refused("every forward: the certificate does not permit port forwarding")

    def public_key_auth_supported(self) -> bool:
        """Public keys and certificates are the one way in."""
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Accept the key: the hook has judged it already, and no call gets here without it."""
        return True

    def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Accept the CA, as above; asyncssh still checks dates, principals and addresses of the certificate."""
        return True

    def check_channel(self, most: int = CHANNELS) -> None:
        """Check that one more channel may be open here, whatever it is for. Raises ChannelOpenError."""
        if self._proof is None or _expired(self._proof):
            self.refused("a channel after the certificate has expired")
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "the certificate has expired")
        if len(self._adapters) >= most:
            self._gate.hits[SSH_CHANNELS] += 1
            self.refused(f"more than {most} channels")
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, f"at most {most} channels")

    def adapter(self, protocol: asyncio.BaseProtocol) -> ChannelAdapter:
        """Put a protocol on a channel of this connection, held back with it."""
        adapter = ChannelAdapter(protocol, self.release)
        self.hold_with(adapter)
        return adapter

    def hold_with(self, adapter: ChannelAdapter) -> None:
        """Count a channel as one of this connection, and hold it back with it."""
        self._adapters.add(adapter)
        adapter.hold(self._full)

    def release(self, adapter: ChannelAdapter) -> None:
        """Give the place of a channel back."""
        self._adapters.discard(adapter)

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Opened | bool:
        """Refuse forwards to ports."""
        self.refused(f"a forward to {dest_host}:{dest_port}")
        return False

    def _hold(self, full: bool) -> None:
        """Hand the back-pressure of the whole connection to each of its channels."""
        self._full = full
        for adapter in list(self._adapters):
            adapter.hold(full)

    def session_requested(self) -> bool:
        """Refuse shells, commands and subsystems."""
        self.refused("a session (shell, exec, sftp)")
        return False

    def unix_connection_requested(self, dest_path: str) -> OpenedUnix | bool:
        """Refuse forwards to Unix sockets."""
        self.refused(f"a forward to the Unix socket {dest_path}")
        return False

    def server_requested(self, listen_host: str, listen_port: int) -> asyncssh.SSHListener | bool:
        """Refuse -R."""
        self.refused(f"a remote forward (-R) of {listen_host}:{listen_port}")
        return False

    def unix_server_requested(self, listen_path: str) -> asyncssh.SSHListener | bool:
        """Refuse -R to Unix sockets."""
        self.refused(f"a remote forward (-R) of the Unix socket {listen_path}")
        return False

    def tun_requested(self, unit: int | None) -> bool:
        """Refuse layer-3 tunnels."""
        self.refused("a tun device")
        return False

    def tap_requested(self, unit: int | None) -> bool:
        """Refuse layer-2 tunnels."""
        self.refused("a tap device")
        return False


def _remaining(proof: SshProof | None) -> float | None:
    """Give the seconds that a certificate has left; None for a key and for a certificate without end."""
    if not isinstance(proof, SshCertificateCredentials) or proof.valid_until is None:
        return None
    return proof.valid_until - time.time()


def _expired(proof: SshProof) -> bool:
    remaining = _remaining(proof)
    return remaining is not None and remaining <= 0


def _who(proof: SshProof) -> str:
    if isinstance(proof, SshCertificateCredentials):
        return f"certificate {proof.key_id!r} serial {proof.serial} of CA {proof.ca}"
    return f"key {proof.fingerprint}"
