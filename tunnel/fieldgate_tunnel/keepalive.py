"""Whether the other side is still there: when to probe an idle link, and when its silence means that it is lost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from fieldgate_core.modbus import FunctionCode


@dataclass(frozen=True)
class Keepalive:
    """Seconds between probes of an idle link, probes without an answer until it is lost, longest wait to reconnect."""

    interval: float = 15.0
    count: int = 3
    retry_cap: float = 4.0

    @property
    def patience(self) -> float:
        """Seconds of silence after which a link is lost."""
        return self.interval * (self.count + 1)


NORMAL = Keepalive()
CELLULAR = Keepalive(30.0, 4, 30.0)
"""Fewer bytes and more patience, for SIM cards: 60 s x 3 would be too slow to help."""
PRESETS = {"normal": NORMAL, "cellular": CELLULAR}


class Probe(NamedTuple):
    """What a probe reads: one holding register; unit 255 is the site's default unit."""

    unit: int = 255
    address: int = 0

    @property
    def pdu(self) -> bytes:
        """FC3 of that register."""
        return bytes((FunctionCode.READ_HOLDING_REGISTERS, self.address >> 8, self.address & 0xFF, 0, 1))


class Due(Enum):
    """What a moment asks for."""

    NOTHING = 0
    PROBE = 1
    LOST = 2


class Pulse:
    """The silence of one link, in monotonic seconds.

    After an interval of silence a probe goes out, and another after each further one; when as many as `count` have
    had their interval, the link is lost: after interval x (count + 1).
    """

    def __init__(self, keepalive: Keepalive, now: float) -> None:
        self._interval = keepalive.interval
        self._count = keepalive.count
        self._probed = 0
        self.heard_at = now

    @property
    def missed(self) -> int:
        """Probes that have had their interval, and no answer."""
        return max(0, self._probed - 1)

    @property
    def next(self) -> float:
        """When `look` has something to say again."""
        return self.heard_at + self._interval * (self._probed + 1)

    def heard(self, now: float) -> None:
        """Learn that the other side has said something."""
        self.heard_at = now
        self._probed = 0

    def look(self, now: float) -> Due:
        """Tell what is due now."""
        if now < self.next:
            return Due.NOTHING
        self._probed += 1
        return Due.LOST if self._probed > self._count else Due.PROBE

    def stretch(self, interval: float) -> None:
        """Probe in intervals of so many seconds from now on."""
        self._interval = interval
