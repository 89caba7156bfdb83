"""The near end of one open tunnel: the bytes it brings, its end, and what is known of it while it stands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from fieldgate_tunnel.keepalive import Pulse
from fieldgate_tunnel.tcp_socket import TcpSocket

End = asyncio.Future[Exception | str | None]


class Wire(asyncio.Protocol):
    """Hands on what comes through a tunnel to `got`, and tells `room` when more can be sent after it was `full`."""

    def __init__(self, got: Callable[[Wire, bytes], None], room: Callable[[], None], pulse: Pulse) -> None:
        self._got = got
        self._room = room
        self._transport: asyncio.Transport | None = None
        self.pulse = pulse
        self.gone: End = asyncio.get_running_loop().create_future()
        """Done at the end: with the exception, the words for it, or None for an end in order."""
        self.tcp = TcpSocket(None)
        self._paused = False
        self.proven: End = asyncio.get_running_loop().create_future()
        """Done when a round trip has gone through."""
        self.fault = ""
        """What the last probe's answer said against the default unit."""
        self.told_silent = False
        self.probed_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.tcp = TcpSocket(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        self._got(self, data)

    def connection_lost(self, exc: Exception | None) -> None:
        # the last moment at which the kernel may still tell
        self.tcp.wire_bytes()
        self.end(exc)

    def eof_received(self) -> None:
        self.end(None)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._room()

    def write(self, data: bytes) -> None:
        """Send bytes, if it is not `full`."""
        if self._transport is not None:
            self._transport.write(data)

    @property
    def full(self) -> bool:
        """Whether nothing may be sent now; on a tunnel that has ended, never again (an SSH channel raises then)."""
        return self._paused or self._transport is None or self.gone.done() or self._transport.is_closing()

    @property
    def proved(self) -> bool:
        """Whether a round trip has gone through."""
        return self.proven.done()

    def end(self, why: Exception | str | None) -> None:
        """Count as ended; the first reason holds."""
        if not self.gone.done():
            self.gone.set_result(why)
