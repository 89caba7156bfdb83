"""What a unit tells about itself: identification, counters, event log, listen-only mode; pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Protocol

from fieldgate_core.modbus import ExceptionCode

EVENTS = 64
"""Bytes of the event log (V1.1b3, 6.10)."""

_RECEIVED, _RECEIVED_LISTENING, _SENT = 0x80, 0xA0, 0x40
_ENTERED_LISTEN_ONLY, _RESTARTED = 0x04, 0x00
_SENT_EXCEPTION = {
    ExceptionCode.ILLEGAL_FUNCTION: 0x41,
    ExceptionCode.ILLEGAL_DATA_ADDRESS: 0x41,
    ExceptionCode.ILLEGAL_DATA_VALUE: 0x41,
    ExceptionCode.SERVER_DEVICE_FAILURE: 0x42,
    ExceptionCode.ACKNOWLEDGE: 0x44,
    ExceptionCode.SERVER_DEVICE_BUSY: 0x44,
    ExceptionCode.NEGATIVE_ACKNOWLEDGE: 0x48,
}
LINE_FEED = 0x0A


class Identification(Protocol):
    """The objects of function 43/14, by object id 0 to 255; a plain dict is one."""

    def items(self) -> Iterable[tuple[int, bytes]]:
        """Give all pairs of object id and value."""


class Device:
    """State of one unit beside its tables; the counters are those of V1.1b3, 6.8 and 6.9.

    A request is counted when it has been answered, so a function that shows a count adds itself.
    """

    __slots__ = (
        "_events", "busy", "delimiter", "exception_status", "exceptions", "identification",
        "listen_only", "naks", "polls", "received", "restarting", "server_id", "unanswered",
    )  # fmt: skip

    def __init__(
        self,
        identification: Identification | None = None,
        server_id: bytes = b"",
        exception_status: int | None = None,
    ) -> None:
        """`exception_status` is the first of the eight coils that function 7 shows; None: there are no such outputs."""
        self.identification = identification
        self.server_id = server_id
        self.exception_status = exception_status
        self._events: deque[int] = deque(maxlen=EVENTS)
        self.restart()

    def answered(self, reply: bytes) -> None:
        """Count a request and its reply."""
        self.received += 1
        if reply[0] < 0x80:
            self._events.append(_SENT)
            if self.restarting is not None:
                self.restart(clear_log=self.restarting)
            return
        code = reply[1]
        self.exceptions += 1
        self.naks += code == ExceptionCode.NEGATIVE_ACKNOWLEDGE
        self.busy += code == ExceptionCode.SERVER_DEVICE_BUSY
        self._events.append(_SENT_EXCEPTION.get(code, _SENT))  # type: ignore[call-overload]

    def ignored(self) -> None:
        """Count a request that came in listen-only mode, and is not answered."""
        self.received += 1
        self.unanswered += 1
        self._events.append(_RECEIVED_LISTENING)

    def listen(self) -> None:
        """Enter listen-only mode (FC8/04): until a restart nothing is answered, this request included."""
        self.received += 1
        self.unanswered += 1
        self.listen_only = True
        self._events.extend((_RECEIVED, _ENTERED_LISTEN_ONLY))

    def restart(self, *, clear_log: bool = False) -> None:
        """Restart communications (FC8/01): out of listen-only mode, counters at 0, the delimiter a line feed."""
        if clear_log:
            self._events.clear()
        self._events.append(_RESTARTED)
        self.listen_only = False
        self.delimiter = LINE_FEED
        self.restarting: bool | None = None
        """Whether the restart that is due once its request has been answered clears the log; None: none is due."""
        self.clear()

    def clear(self, *, answered: bool = False) -> None:
        """Set all counters to 0 (FC8/0A); `answered`: a request asks for it whose reply is still to be counted."""
        # the request that clears them is counted last, and is not to be seen in them
        self.received = -1 if answered else 0
        self.exceptions = self.unanswered = self.polls = self.naks = self.busy = 0

    @property
    def completed(self) -> int:
        """The event counter: requests carried out and answered, but for those that ask for it (`polls`)."""
        return self.received - self.unanswered - self.exceptions - self.polls

    def diagnostic_register(self) -> int:
        """Give the register of FC8/02: bit 0 is 1 once an exception was answered since the counters were cleared."""
        return 1 if self.exceptions else 0

    def event_log(self) -> bytes:
        """Give the event log, newest first, as function 12 shows it: at most 64 bytes."""
        return bytes(islice(self._log(), EVENTS))

    def _log(self) -> Iterator[int]:
        for event in reversed(self._events):
            yield event
            if event & 0xC0 == _SENT:
                # what was answered had been received
                yield _RECEIVED
