"""When to try again: full jitter, without end, so that many who lost one peer do not come back at once."""

from __future__ import annotations

import random
from collections.abc import Callable

BASE = 0.5
"""Seconds that the first wait is at most."""
HOPELESS = 60.0
"""Seconds that a wait is at most after what time alone can't mend."""
SETTLED = 30.0
"""Seconds up after which a link counts as mended, and its next loss as the first one."""


class Backoff:
    """Counts the failures of one link; `cap` in seconds."""

    def __init__(self, cap: float, *, base: float = BASE, draw: Callable[[], float] = random.random) -> None:
        """`draw` gives 0 to below 1."""
        self._cap = cap
        self._base = base
        self._draw = draw
        self._failures = 0

    def failed(self, *, hopeless: bool = False, up: float = 0.0) -> float:
        """Give the seconds to wait after a try that failed, or a link that was lost after `up` seconds.

        `hopeless`: somebody has to change something first, so the wait is drawn from the longest range.
        """
        if up >= SETTLED:
            self._failures = 0
        # the exponent is bounded: tries without end must not count up to a number without end
        most = min(self._cap, self._base * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return self._draw() * (max(HOPELESS, self._cap) if hopeless else most)
