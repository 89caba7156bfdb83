"""One SSH connection at the door: gives channels to the Modbus port to sessions, and refuses all else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncssh

from fieldgate_tunnel.limits import Gate, Limits
from fieldgate_tunnel.ssh import WINDOW
from fieldgate_tunnel.ssh_keys import SshProof
from fieldgate_tunnel.ssh_peer import Known, Opened, Peer, Refused

HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
"""Targets that mean this process."""

NewSession = Callable[[SshProof], asyncio.Protocol]


class Door(Peer):
    """Serves one SSH connection: gives the Modbus port's channels to sessions; nothing else."""

    def __init__(  # noqa: PLR0913
        self,
        known: Known,
        new_session: NewSession,
        refused: Refused,
        ports: frozenset[int],
        gate: Gate,
        doors: set[Peer],
        limits: Limits,
        banner: str = "",
    ) -> None:
        """`ports` on localhost mean Modbus; `gate` counts who is not authenticated yet, `doors` holds all."""
        super().__init__(known, refused, gate, doors, limits, banner)
        self._new_session = new_session
        self._ports = ports

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Opened:
        """Serve the Modbus port inside this process, refuse every other. Raises ChannelOpenError for these."""
        connection, proof = self.connection, self.proof
        if connection is None or proof is None or dest_host not in HOSTS or dest_port not in self._ports:
            self.refused(f"a forward to {dest_host}:{dest_port}")
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, f"only localhost:{min(self._ports)} is served here"
            )
        self.check_channel()
        channel = connection.create_tcp_channel(encoding=None, window=WINDOW)
        return channel, self.adapter(self._new_session(proof))
