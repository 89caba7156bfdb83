"""What the server counts while it runs: plain integers, cheap enough for every request; pure."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

LATENCY_BITS = range(12, 33)
"""The latency histogram's bounds as powers of two, in ns: 2^12 is 4 us, 2^32 4.3 s."""


class Step(StrEnum):
    """Why a request was not handed to its unit: steps 1 to 7 of the order of answers, and those between 6 and 7."""

    FRAMING = "framing"
    IDENTITY = "identity"
    FUNCTION = "function"
    UNIT = "unit"
    MALFORMED = "malformed"
    CELLS = "cells"
    RATE = "rate"
    LOCKED = "locked"
    TRAIL = "trail"
    ADDRESS = "address"


class SessionLimit(StrEnum):
    """The limits that let no session begin, or end one, as the settings call them."""

    SESSIONS = "max_sessions"
    PER_IDENTITY = "max_sessions_per_identity"
    WITHOUT_RIGHTS = "max_sessions_without_rights"
    IDLE = "idle"
    LIFETIME = "lifetime"


class Counts:
    """One server's counts. Whoever counts adds to them as they are; only the metrics read them."""

    __slots__ = (
        "acts", "exceptions", "latencies", "limits", "opened", "refused", "replies", "unanswered",
    )  # fmt: skip

    def __init__(self) -> None:
        self.replies = [0] * 256
        """Replies by function code; those that are exceptions by the code with bit 7 set."""
        self.exceptions: Counter[bytes] = Counter()
        """Replies that are exceptions, by their two bytes: a peer can make no more than the 32,768 that there are."""
        self.unanswered = [0] * 256
        """Requests without a reply, by function code: a unit in listen-only mode."""
        self.latencies = [0] * 65
        """Replies by the bits of their latency in ns: n bits are 2^(n-1) to 2^n - 1."""
        self.refused: Counter[Step] = Counter()
        """Requests that were not handed to a unit, by the step that refused them."""
        self.acts: Counter[tuple[str, str]] = Counter()
        """Writes and control actions, by event and outcome as the trail writes them."""
        self.opened: Counter[str] = Counter()
        """Sessions that were ever opened, by door."""
        self.limits: Counter[tuple[str, SessionLimit]] = Counter()
        """How often each limit on sessions has bitten, by door."""
