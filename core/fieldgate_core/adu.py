"""Modbus/TCP framing without I/O: bytes in, frames or one violation out."""

from __future__ import annotations

from struct import Struct

from fieldgate_core.modbus import MAX_LENGTH_FIELD, MBAP_HEADER, MIN_LENGTH_FIELD

Frame = tuple[bytes, int, bytes]
"""The four header bytes that a reply repeats (transaction and protocol id), the unit id, the PDU."""
_PROTOCOL_AND_LENGTH = Struct(">HH").unpack_from
_HEADER = Struct(">4sHB").pack


class Framer:
    """Cuts a byte stream into frames (MODBUS Messaging on TCP/IP V1.0b, section 3.1.3).

    `violation` is None, or says why the stream can't be read any further; frames before it were still given out.
    """

    __slots__ = ("_buffer", "_position", "violation")

    def __init__(self) -> None:
        self._buffer = b""
        self._position = 0
        self.violation: str | None = None

    def feed(self, data: bytes) -> None:
        """Add received bytes, of any length, cut anywhere."""
        # all was taken, as a rule
        self._buffer = data if self._position == len(self._buffer) else self._buffer[self._position :] + data
        self._position = 0

    def take(self, limit: int) -> list[Frame]:
        """Take up to `limit` whole frames in their order; fewer mean that more bytes are needed, or a violation."""
        frames: list[Frame] = []
        buffer, position = self._buffer, self._position
        available = len(buffer)
        if self.violation is not None:
            return frames
        while len(frames) < limit and available - position >= 6:
            # a bad protocol id or length is seen as soon as its bytes are there, not after a frame that never comes
            protocol, length = _PROTOCOL_AND_LENGTH(buffer, position + 2)
            if protocol:
                self.violation = f"protocol id {protocol}, not 0"
                break
            if not MIN_LENGTH_FIELD <= length <= MAX_LENGTH_FIELD:
                self.violation = f"length {length}, not {MIN_LENGTH_FIELD} to {MAX_LENGTH_FIELD}"
                break
            end = position + 6 + length
            if end > available:
                break
            frames.append((buffer[position : position + 4], buffer[position + 6], buffer[position + MBAP_HEADER : end]))
            position = end
        self._position = position
        return frames


def reply(head: bytes, unit: int, pdu: bytes) -> bytes:
    """Build the frame that answers the request with this head and unit."""
    return _HEADER(head, len(pdu) + 1, unit) + pdu
