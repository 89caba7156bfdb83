"""Requests a second of one identity, over all its sessions: a token bucket each; pure."""

from __future__ import annotations

import time
from collections.abc import Callable

BURST = 1_000_000_000
"""Nanoseconds' worth of requests that may come at once after a rest; whoever has left is remembered for as long."""

Clock = Callable[[], int]
"""Gives nanoseconds that never go back."""


class Bucket:
    """The bucket of one identity.

    It is kept as one time (GCRA, ITU-T I.371 annex A): when it will be full again.
    """

    __slots__ = ("_clock", "_full_at", "_interval", "limited", "sessions")

    def __init__(self, per_second: float = 0.0, clock: Clock = time.monotonic_ns) -> None:
        """`per_second` 0: there is no limit."""
        self._clock = clock
        self._full_at = clock()
        self.sessions = 0
        """Sessions that share it."""
        self.change(per_second)

    def change(self, per_second: float) -> None:
        """Set the rate anew, in requests a second; what was taken before stays taken."""
        self.limited = per_second > 0
        """Whether there is a limit at all: asked first, because it costs less than to take a token."""
        self._interval = int(1e9 / per_second) if per_second > 0 else 0

    def take(self) -> bool:
        """Take one request's token; False if there is none."""
        now = self._clock()
        full_at = max(self._full_at, now) + self._interval
        if full_at > now + max(BURST, self._interval):
            return False
        self._full_at = full_at
        return True


class Rates:
    """The buckets of all identities, by name. Who leaves and comes back finds the bucket as it was."""

    def __init__(self, per_second: float, clock: Clock = time.monotonic_ns) -> None:
        """`per_second` are the requests a second that one identity may make; 0: any number."""
        self._per_second = per_second
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._left: dict[str, int] = {}

    def __len__(self) -> int:
        """Identities that are remembered."""
        return len(self._buckets)

    def change(self, per_second: float) -> None:
        """Set the rate of all anew, also of those who are connected."""
        self._per_second = per_second
        for bucket in self._buckets.values():
            bucket.change(per_second)

    def enter(self, name: str) -> Bucket:
        """Give the bucket of an identity to one more of its sessions."""
        self._forget()
        self._left.pop(name, None)
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(self._per_second, self._clock)
        bucket.sessions += 1
        return bucket

    def leave(self, name: str) -> None:
        """Take one session's leave."""
        bucket = self._buckets[name]
        bucket.sessions -= 1
        if not bucket.sessions:
            self._left[name] = self._clock()
        self._forget()

    def _forget(self) -> None:
        """Forget those who left so long ago that their bucket is full, as a new one is."""
        now = self._clock()
        while self._left:
            name, left = next(iter(self._left.items()))
            if now < left + BURST:
                return
            del self._left[name], self._buckets[name]
