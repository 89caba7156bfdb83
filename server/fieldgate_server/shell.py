"""The pymodbus server's shell: its listener and its register of connections, with our sessions inside."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from pymodbus.server import ModbusTcpServer

from fieldgate_core.errors import ConfigError
from fieldgate_core.url import is_loopback
from fieldgate_server.session import Session


class Shell(ModbusTcpServer):
    """A `ModbusTcpServer` on loopback. The TLS and SSH doors take their sessions from it too (`register`)."""

    def __init__(self, host: str, port: int, make_session: Callable[[], Session]) -> None:
        """Prepare to listen; `make_session` gives each connection its session.

        Raises ConfigError for an address that is not loopback: plain Modbus has no lock.
        """
        if not is_loopback(host):
            raise ConfigError(
                f"listen {host}:{port}",
                "plain Modbus is served on loopback only",
                hint="for a network use its two doors: [ssh] (port 2222) and [tls] (port 802) in the settings file",
            )
        # pymodbus wants a context of its own kind: it gets an empty one, and is never asked to execute anything
        super().__init__([], address=("127.0.0.1" if host == "localhost" else host, port))
        self._make_session = make_session

    async def listen(self) -> bool:
        """Listen. Raises OSError; pymodbus's own only logs it."""
        self.is_closing = False
        self.is_listener = True
        self.transport = await self.call_create()
        return True

    def callback_new_connection(self) -> Session:  # type: ignore[override]
        """Serve a new loopback connection; pymodbus registers it."""
        return self._make_session()

    def register(self, session: Session) -> Session:
        """Register the session of another door, so that shutdown closes it as well."""
        session.listener = self
        self.active_connections[session.unique_id] = session  # type: ignore[assignment]
        return session

    @property
    def port(self) -> int:
        """The port that the listener holds."""
        server: Any = self.transport
        sockets: tuple[socket.socket, ...] = server.sockets
        port: int = sockets[0].getsockname()[1]
        return port
