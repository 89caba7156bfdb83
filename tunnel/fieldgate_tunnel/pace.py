"""How fast many links of one process may open tunnels, so that their return is no storm at the other end; pure."""

from __future__ import annotations


class Pace:
    """Gives turns, at most `rate` a second."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._next = 0.0

    def turn(self, now: float) -> float:
        """Take the next turn, and give the seconds until it comes; `now` in monotonic seconds."""
        at = max(now, self._next)
        self._next = at + 1.0 / self.rate
        return at - now
