"""Whether the wall clock can be right: it is never before a moment that is known to have been; pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

BUILT = 1795132800.0
"""2026-11-20, in seconds since 1970: no clock that is right says less where this code runs; each release raises it."""


WRONG = "the clock looks wrong"


class Known(NamedTuple):
    """A moment that has been, in seconds since 1970, and what happened then ("this fieldgate was built")."""

    at: float
    what: str


BUILD = Known(BUILT, "this fieldgate was built")


def clock_floor(*known: Known) -> Known:
    """Give the newest of the moments that have been; the build date is always one of them."""
    return max((BUILD, *known), key=lambda one: one.at)


def plausible(now: float, floor: Known = BUILD) -> bool:
    """Tell whether a clock that says `now` (seconds since 1970) can be right."""
    return now >= floor.at


def complaint(now: float, floor: Known = BUILD) -> str:
    """Say what is wrong with a clock that is not plausible."""
    return f"{WRONG}: it says {moment(now)}, and must be after {moment(floor.at)}, when {floor.what}"


def moment(seconds: float) -> str:
    """Write a moment (seconds since 1970) as messages show it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%MZ")
