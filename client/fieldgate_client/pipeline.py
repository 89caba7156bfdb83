"""Requests in flight together on one stream: frames out, bytes in, replies matched by transaction identifier; pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fieldgate_core.modbus import MAX_LENGTH_FIELD, MAX_PDU, MBAP_HEADER, MIN_LENGTH_FIELD, exception_meaning

_IDENTIFIERS = 0x10000
_EXCEPTION_SIZE = 2


class MismatchError(Exception):
    """What came is no reply to anything that was asked: nothing after it can be trusted. Its text says why."""


class Reply(NamedTuple):
    """The reply to the request `transaction`; `pdu` is of its function, or that function's exception."""

    transaction: int
    pdu: bytes


class _Asked(NamedTuple):
    unit: int
    function: int


class Pipeline:
    """Numbers requests and matches replies, in whatever order they come and however they are cut.

    A transaction identifier is free again once its reply has come, and not before: after a time-out the late reply is
    known and thrown away. Nothing is ever sent twice.
    """

    def __init__(self) -> None:
        self._asked: dict[int, _Asked] = {}
        self._forgotten: set[int] = set()
        self._last = 0
        self._buffer = bytearray()

    def ask(self, unit: int, pdu: bytes) -> tuple[int, bytes]:
        """Give a request's transaction identifier and its frame. `pdu` is 1 to 253 bytes, function code first.

        Raises MismatchError when 65,536 requests were sent and none of them has been answered.
        """
        if not 1 <= len(pdu) <= MAX_PDU:
            raise ValueError(f"a request is 1 to {MAX_PDU} bytes, not {len(pdu)}")
        if len(self._asked) == _IDENTIFIERS:
            raise MismatchError("no transaction identifier is free: none of 65,536 requests was answered")
        number = (self._last + 1) % _IDENTIFIERS
        while number in self._asked:
            number = (number + 1) % _IDENTIFIERS
        self._last = number
        self._asked[number] = _Asked(unit, pdu[0])
        return number, b"".join((number.to_bytes(2), b"\0\0", (len(pdu) + 1).to_bytes(2), bytes((unit,)), pdu))

    def forget(self, transaction: int) -> None:
        """Wait no longer for a reply; one that comes late is thrown away."""
        if transaction in self._asked:
            self._forgotten.add(transaction)

    def withdraw(self, transaction: int) -> None:
        """Take back a request whose frame was never sent."""
        self._asked.pop(transaction, None)
        self._forgotten.discard(transaction)

    def received(self, data: bytes) -> Iterator[Reply]:
        """Take bytes, and give the replies that are whole with them, without those that came too late.

        Raises MismatchError for bytes that are no frame, and for a frame whose transaction, unit or function is none
        that was asked; the good replies before it are given first.
        """
        self._buffer += data
        while len(self._buffer) >= MBAP_HEADER - 1:
            length = int.from_bytes(self._buffer[4:6])
            if any(self._buffer[2:4]) or not MIN_LENGTH_FIELD <= length <= MAX_LENGTH_FIELD:
                raise MismatchError("what came is no Modbus/TCP frame")
            size = MBAP_HEADER - 1 + length
            if len(self._buffer) < size:
                break
            frame = bytes(self._buffer[:size])
            del self._buffer[:size]
            reply = self._match(frame)
            if reply is not None:
                yield reply

    def _match(self, frame: bytes) -> Reply | None:
        number, unit, pdu = int.from_bytes(frame[:2]), frame[6], frame[MBAP_HEADER:]
        asked = self._asked.get(number)
        if asked is None:
            raise MismatchError(f"a reply came for transaction {number}, which was not asked")
        if unit != asked.unit:
            raise MismatchError(f"unit {unit} answered a request to unit {asked.unit}")
        if pdu[0] & 0x7F != asked.function & 0x7F or (pdu[0] & 0x80 and len(pdu) != _EXCEPTION_SIZE):
            raise MismatchError(f"function {asked.function} was answered by {_told(pdu)}")
        del self._asked[number]
        if number in self._forgotten:
            self._forgotten.remove(number)
            return None
        return Reply(number, pdu)


def _told(pdu: bytes) -> str:
    if pdu[0] & 0x80 and len(pdu) == _EXCEPTION_SIZE:
        return f"an exception of function {pdu[0] & 0x7F} ({exception_meaning(pdu[1])})"
    return f"function {pdu[0]}"
