"""What the kernel does and knows of a TCP connection: its patience with a silent peer, and the bytes on the wire."""

from __future__ import annotations

import contextlib
import socket
from struct import Struct

_TCP_INFO = Struct("=24x I 108x III 52x Q")
"""Of linux/tcp.h's tcp_info: unacked, segs_out, segs_in, notsent_bytes, bytes_sent (with what was sent again)."""
_RECEIVED = Struct("=128x Q")
_HEADERS = {socket.AF_INET: 52, socket.AF_INET6: 72}
"""Bytes of IP and TCP headers, with time stamps, before the data of a segment."""


class TcpSocket:
    """A connected TCP socket; of what is none it knows nothing."""

    def __init__(self, sock: object) -> None:
        """`sock` is what a transport gives as its `socket`."""
        # uvloop gives a look-alike
        family = getattr(sock, "family", None)
        self._socket: socket.socket | None = sock if family in _HEADERS else None  # type: ignore[assignment]
        self._headers = _HEADERS.get(family, 0) if family is not None else 0
        self._wire_bytes: int | None = None

    def set_patience(self, seconds: float) -> None:
        """Have the kernel end the connection when sent bytes stay unacknowledged for so long."""
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        if self._socket is not None and option is not None:
            with contextlib.suppress(OSError, ValueError):
                self._socket.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))

    def wire_bytes(self) -> int | None:
        """Give the bytes that went over the wire in both directions, headers included; None if nobody knows.

        Of a connection that has been closed, what was known last.
        """
        info = self._info()
        if info is not None:
            _, out, into, _, sent = _TCP_INFO.unpack_from(info)
            (received,) = _RECEIVED.unpack_from(info)
            self._wire_bytes = sent + received + (out + into) * self._headers
        return self._wire_bytes

    def acknowledged(self) -> bool:
        """Tell whether the peer's kernel has acknowledged all that was sent; false if nobody knows."""
        info = self._info()
        if info is None:
            return False
        unacknowledged, _, _, not_sent, _ = _TCP_INFO.unpack_from(info)
        return not unacknowledged and not not_sent

    def _info(self) -> bytes | None:
        if self._socket is None:
            return None
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        except (OSError, ValueError, AttributeError):
            # closed (uvloop: ValueError), or not Linux
            return None
        return info if len(info) >= _TCP_INFO.size else None
