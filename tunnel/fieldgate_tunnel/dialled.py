"""What a box serves through its hubs: the TLS door of its own process, or one at an address of this machine or LAN."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from fieldgate_core.errors import ConfigError, RejectedError, UnreachableError
from fieldgate_core.modbus import MODBUS_PORT
from fieldgate_core.url import LOOPBACK_PORT, TLS_PORT
from fieldgate_tunnel import tls
from fieldgate_tunnel.faults import explain
from fieldgate_tunnel.relay import End

CHECK_DEADLINE = 5.0
"""Seconds that a door has to answer a ClientHello."""
_PLAIN = frozenset({MODBUS_PORT, LOOPBACK_PORT})
_RECORD_HEADER = 5
_ALERT, _HANDSHAKE = 21, 22
"""Content types of TLS records (RFC 8446, 5.1)."""
_HINT = "name the TLS door, [tls] in the server's settings; plain Modbus is never led beyond this machine"


class OwnDoor:
    """The TLS door of this process: no socket between, and the peer is `via HUB`."""

    def __init__(self, admit: Callable[[str], asyncio.BaseProtocol | None], hub: str) -> None:
        """`admit` gives the protocol that begins a handshake, or None where there are too many."""
        self._admit = admit
        self._hub = hub

    async def check(self) -> None:
        """Nothing to check: it is one."""

    async def take(self) -> asyncio.BaseProtocol:
        """Begin a handshake. Raises RejectedError if there are too many."""
        stream = self._admit(self._hub)
        if stream is None:
            raise RejectedError("the TLS door", "lets nobody more in now")
        return stream


class Door(NamedTuple):
    """A TLS door at an address."""

    host: str = "127.0.0.1"
    port: int = TLS_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def read(cls, text: str) -> Door:
        """Read HOST:PORT. Raises ConfigError, also for the ports of plain Modbus."""
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
        if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ConfigError("--to", f"{text!r} is no address of a TLS door", hint=f"write 127.0.0.1:{TLS_PORT}")
        if int(port) in _PLAIN:
            raise ConfigError("--to", f"port {port} is plain Modbus", hint=_HINT)
        return cls(host, int(port))

    async def check(self) -> None:
        """Check that what listens there answers a ClientHello as TLS does. Raises ConfigError or UnreachableError."""
        try:
            async with asyncio.timeout(CHECK_DEADLINE):
                reader, writer = await asyncio.open_connection(self.host, self.port)
                try:
                    writer.write(tls.client_hello(self.host))
                    answer = await reader.readexactly(_RECORD_HEADER)
                finally:
                    writer.transport.abort()
        except (TimeoutError, asyncio.IncompleteReadError):
            raise self._no_door() from None
        except OSError as error:
            known = explain(f"TLS door {self}", error)
            raise UnreachableError(f"TLS door {self}", getattr(known, "problem", str(known))) from None
        if answer[0] not in {_ALERT, _HANDSHAKE} or answer[1] != 3:
            raise self._no_door()

    def _no_door(self) -> ConfigError:
        return ConfigError(f"TLS door {self}", "does not speak TLS, so nothing is led there", hint=_HINT)

    async def take(self) -> asyncio.BaseProtocol:
        """Connect to it, and give the other end. Raises OSError."""
        near, far = End.pair()
        await asyncio.get_running_loop().create_connection(lambda: far, self.host, self.port)
        return near
