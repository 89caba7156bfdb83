"""When a grant holds: from a moment, until a moment (not included); pure."""

from __future__ import annotations

from datetime import date, datetime
from typing import NamedTuple

HINT = 'a date, "2026-12-01" (its start in local time), or a date-time with offset, "2026-12-01T06:00:00+01:00"'


class Period(NamedTuple):
    """Seconds since 1970 from which and until which something holds; None: no such bound."""

    begins: float | None = None
    ends: float | None = None

    def holds(self, now: float, latest: float) -> bool:
        """Tell whether it holds now. `latest` is the latest time ever seen, so that what has ended stays ended."""
        return (self.begins is None or self.begins <= now) and (self.ends is None or latest < self.ends)

    def __str__(self) -> str:
        begins = None if self.begins is None else f"from {_local(self.begins)}"
        ends = None if self.ends is None else f"until {_local(self.ends)}"
        return " ".join(part for part in (begins, ends) if part)


ALWAYS = Period()


def moment(written: str | date) -> float:
    """Give the seconds since 1970 of a date (its start in local time) or date-time, as text or as TOML has them.

    Raises ValueError for any other text, and for a date-time without offset.
    """
    at = written
    if isinstance(at, str):
        text = at.strip()
        try:
            at = date.fromisoformat(text) if len(text) == len("2026-12-01") else datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{written!r} is no date") from None
    if not isinstance(at, datetime):
        at = datetime(at.year, at.month, at.day).astimezone()  # noqa: DTZ001 - local time is what a date means
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()!r} has no offset, so it could mean several moments")
    return at.timestamp()


def _local(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="minutes")  # noqa: DTZ006 - made aware
