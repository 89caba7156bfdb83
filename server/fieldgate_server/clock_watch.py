"""Watching the server's wall clock: what it can't be before, when it is, and a saved time for the next start."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from fieldgate_core.clock import Known, clock_floor, complaint, moment, plausible
from fieldgate_server import whole_file
from fieldgate_server.expiry import Expiry
from fieldgate_server.trail_clock import kernel_clock

log = logging.getLogger("fieldgate.clock")

SLACK = 3600.0
"""Seconds that the clock may be set back below the saved time: certificates are back-dated by as much."""
_SAVE = 3600.0
_NAME = "clock"
_LONGEST = 64


class Seen(NamedTuple):
    """One look at the clock: what it says (seconds since 1970), and what is wrong with that; None: nothing."""

    now: float
    wrong: str | None


class ClockWatch:
    """The clock of one server. Without a folder no time is saved.

    A clock that runs ahead must not leave a time behind that keeps the doors shut when it is right again. So the time
    is saved, and counts, only within the life of a certificate that the server itself shows, and none is saved while
    the kernel says that nobody disciplines its clock.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Read the saved time; what can't be read is none."""
        self._path = folder / _NAME if folder is not None else None
        self._saved = _read(self._path) if self._path is not None else None
        self._own: tuple[Expiry, ...] = ()
        self._save_due = time.monotonic()
        self._saving: asyncio.Future[None] | None = None
        self._before: str | None = None
        self.floor = clock_floor()
        """The newest moment that is known to have been."""

    def know(self, own: Iterable[Expiry]) -> None:
        """Take note of the certificates that the server shows."""
        self._own = tuple(own)
        self._raise_floor()

    def seen(self) -> Seen:
        """Look at the clock."""
        now = time.time()
        return Seen(now, None if plausible(now, self.floor) else complaint(now, self.floor))

    def look(self) -> Seen:
        """Look at the clock, and say in the log when it has become wrong, or right again. To be called each second."""
        found = self.seen()
        if (found.wrong is None) is not (self._before is None):
            if found.wrong is not None:
                log.error("%s: the TLS and SSH doors let nobody in until it is set", found.wrong)
            else:
                log.warning("the clock is plausible again: it says %s", moment(found.now))
        self._before = found.wrong
        return found

    def save_when_due(self) -> None:
        """Save the time each hour, in a thread: nothing waits for the disk. To be called each second."""
        if self._path is None:
            return
        if time.monotonic() >= self._save_due and (self._saving is None or self._saving.done()):
            self._save_due = time.monotonic() + _SAVE
            self._saving = asyncio.get_running_loop().run_in_executor(None, self.save)

    async def close(self) -> None:
        """Save the time for the next start."""
        if self._path is None:
            return
        if self._saving is not None:
            await self._saving
        await asyncio.to_thread(self.save)

    def save(self) -> None:
        """Save the time, if it can be believed; it never goes back. Never raises."""
        now = time.time()
        if self._path is None or not self._within_a_life(now) or kernel_clock() == "unsynced":
            return
        if not plausible(now, self.floor) or (self._saved is not None and now <= self._saved):
            return
        try:
            whole_file.write(self._path, f"{now:.0f}\n".encode())
        except OSError as error:
            log.warning("%s: the time could not be saved: %s", self._path, error.strerror)
            return
        self._saved = now
        self._raise_floor()

    def _raise_floor(self) -> None:
        known = [Known(one.begins, f"certificate {one.name} begins") for one in self._own]
        if self._saved is not None and self._within_a_life(self._saved):
            known.append(Known(self._saved - SLACK, f"an hour before the time saved in {self._path}"))
        self.floor = clock_floor(*known)

    def _within_a_life(self, moment: float) -> bool:
        return any(one.ends is not None and one.begins <= moment < one.ends for one in self._own)


def _read(path: Path) -> float | None:
    try:
        with path.open("rb") as stream:
            return float(int(stream.read(_LONGEST)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        log.warning("%s: no time can be read there, so it is left out", path)
        return None
