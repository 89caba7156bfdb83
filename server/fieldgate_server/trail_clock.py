"""Whether the kernel holds the wall clock for synchronised: asked by adjtimex(2), at most every few seconds."""

from __future__ import annotations

import ctypes
import time

_ERROR = 5
"""TIME_ERROR, the clock's state when nobody disciplines it (linux/timex.h)."""
_TIMEX_SIZE = 512
"""More than struct timex has on any Linux; `modes`, its first word, stays 0: read only."""
_HOLDS = 5.0
"""Seconds for which an answer is good."""


class Clock:
    """The clock's state as the trail writes it."""

    def __init__(self) -> None:
        self._state = "unknown"
        self._until = 0.0

    def state(self) -> str:
        """Give synced, unsynced, or unknown where the system does not let us ask (systemd's ProtectClock=)."""
        now = time.monotonic()
        if now >= self._until:
            self._until = now + _HOLDS
            self._state = kernel_clock()
        return self._state


def kernel_clock() -> str:
    """Ask the kernel: synced, unsynced or unknown."""
    try:
        answer: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_SIZE))
    except (OSError, AttributeError):
        return "unknown"
    return "unknown" if answer < 0 else "unsynced" if answer == _ERROR else "synced"
