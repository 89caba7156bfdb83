"""Bytes a day of one tunnel: counted, capped with a warning first, and keepalives spread where they get tight."""

from __future__ import annotations

from enum import Enum

DAY = 86400
WARN_AT = 0.8
"""Share of the cap at which a warning is due."""
TIGHT_AT = 0.5
"""Share of the cap from which on keepalives are spread, if the day has not got as far."""
MOST_SPREAD = 4.0


class Level(Enum):
    """How a day's cap stands."""

    FINE = 0
    WARNED = 1
    SPENT = 2


class Budget:
    """Counts bytes for one UTC day after the other; `cap` in bytes a day, None for none."""

    def __init__(self, cap: int | None = None) -> None:
        self.cap = cap
        self.used = 0
        self._day: int | None = None

    def spend(self, count: int, now: float) -> Level:
        """Count bytes at a time (seconds since 1970), and tell how the day stands. A new day begins at 0."""
        day = int(now // DAY)
        if day != self._day:
            self._day = day
            self.used = 0
        self.used += count
        if self.cap is None or self.used < WARN_AT * self.cap:
            return Level.FINE
        return Level.WARNED if self.used < self.cap else Level.SPENT

    def spread(self, now: float) -> float:
        """Give the factor for the keepalive's interval: 1, and up to 4 where bytes go faster than the day."""
        if self.cap is None:
            return 1.0
        share = self.used / self.cap
        if share <= max(TIGHT_AT, now % DAY / DAY):
            return 1.0
        return 1.0 + (MOST_SPREAD - 1.0) * min(1.0, (share - TIGHT_AT) / (1.0 - TIGHT_AT))

    @staticmethod
    def rest_of_day(now: float) -> float:
        """Give the seconds until midnight UTC."""
        return DAY - now % DAY
