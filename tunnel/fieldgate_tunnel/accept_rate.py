"""How many new connections a second are taken, so that many who lost one hub together don't wear it out; pure."""

from __future__ import annotations

import time
from collections.abc import Callable


class AcceptRate:
    """Takes `per_second` in each second, and as many at once after a quiet one."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds that never go back."""
        self._per_second = per_second
        self._clock = clock
        self._left = self._most = max(1.0, per_second)
        self._at = clock()
        self.turned_away = 0
        """Connections that were too many, so far."""

    def take(self) -> bool:
        """Tell whether one more is taken now."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1.0:
            self.turned_away += 1
            return False
        self._left -= 1.0
        return True
