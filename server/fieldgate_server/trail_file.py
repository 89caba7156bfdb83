"""The trail on disk: lines are numbered, chained, appended, and a torn end is closed off; a new file begins by size."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from fieldgate_core.errors import ConfigError
from fieldgate_server import trail_state
from fieldgate_server.trail_chain import BEGINNING, Link, seal, torn_mark
from fieldgate_server.trail_clock import Clock
from fieldgate_server.trail_settings import AuditSettings
from fieldgate_server.trail_tail import catch_up, latest, rotated, tail
from fieldgate_server.trail_text import facts_text, wall_time

log = logging.getLogger("fieldgate.audit")

_LOOK_EVERY = 1.0
"""Seconds between two looks at whether somebody has renamed the file."""

Text = tuple[float, str]
"""When it happened (seconds since 1970), and the line from `event=` on."""


class Written(NamedTuple):
    """The lines that stand whole in the file, those of the trail's own before them, and why there are not more."""

    opening: list[bytes]
    lines: list[bytes]
    error: OSError | None


class TrailFile:
    """One open trail, locked against a second writer if chained. Every call may block; calls come from one thread."""

    def __init__(self, settings: AuditSettings) -> None:
        """Open the trail (created 0640), and find its end. Raises ConfigError."""
        self.path = settings.file
        self._settings = settings
        self._power = settings.durability == "power"
        self._clock = Clock()
        self._looked = time.monotonic()
        self._state: trail_state.State | None = None
        self._link: Link | None = None
        self._torn: list[bytes] = []
        self._due = False
        """A line is due that says how the trail goes on here."""
        self._fits = True
        self._deleted: list[Path] = []
        """Older files that are gone, which the trail does not say yet."""
        self._sequence = 1
        try:
            self._descriptor, self._size = _open(self.path)
            self._regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        except OSError as error:
            raise _cannot_open(self.path, error) from None
        try:
            self._find_end()
        except OSError as error:
            self.close()
            raise ConfigError(f"audit {self.path}", f"its end cannot be read: {error.strerror}") from None
        except BaseException:
            self.close()
            raise

    @property
    def chained(self) -> bool:
        """Tell whether lines are chained: `fieldgate server audit init` was run for this trail."""
        return self._link is not None

    @property
    def head(self) -> tuple[int, str | None]:
        """The last line's sequence, 0 for none, and its MAC in hexadecimal where the trail is chained."""
        link = self._link
        return (self._sequence - 1, None) if link is None else (link.sequence - 1, link.previous.hex())

    def head_text(self) -> str | None:
        """Give the head as SEQUENCE:DIGEST; None where the trail is not chained or holds nothing yet."""
        link = self._link
        return None if link is None or link.previous == BEGINNING else f"{link.sequence - 1}:{link.previous.hex()}"

    def _find_end(self) -> None:
        self._open_end = False
        self.latest = 0.0
        """The latest time that the trail knew when it was opened, in seconds since 1970."""
        if not self._regular:
            return
        self.latest = latest(self.path)
        self._open_end = _ends_open(self.path, self._size)
        self._state = trail_state.load(self.path)
        if self._state is None:
            log.warning("the trail %s is not chained: `fieldgate server audit init %s`", self.path, self.path)
            self._sequence, fragment = tail(self.path)
            self._sequence += 1
        else:
            self._link, fragment, self._fits = catch_up(self.path, self._state.link)
            self._sequence = self._link.sequence
            self._state.save(self._link)
            if not self._fits:
                log.error("the trail %s does not end where it ended: verify it", self.path)
        if fragment:
            self._torn.append(fragment)
            log.warning("the trail %s ends in a torn line of %d bytes, which is closed off", self.path, len(fragment))
        self._due = bool(self._torn) or not self._fits

    def append(self, texts: Sequence[Text]) -> Written:
        """Append lines. Those that are written whole are never written again, whatever went wrong after them."""
        if not texts:
            return Written([], [], None)
        self._look()
        if self._settings.rotate_bytes and self._regular and not self._open_end:
            expected = sum(len(text) + 150 for _, text in texts)
            if self._size and self._size + expected > self._settings.rotate_bytes:
                self._rotate()
        opening = [*self._opening(), *self._deletions()]
        lines, links = self._compose([*opening, *texts])
        before = b"\n" if self._open_end else b""
        data = before + b"\n".join(lines) + b"\n"
        error: OSError | None = None
        written = 0
        try:
            written = os.write(self._descriptor, data)
            if written < len(data):
                error = OSError(0, f"only {written} of {len(data)} bytes were taken")
            elif self._power and self._regular:
                os.fdatasync(self._descriptor)
        except OSError as problem:
            error = problem
        whole = self._settle(written - len(before), lines)
        if whole and links:
            self._link = links[whole - 1]
            self._save(self._link)
        if whole >= len(opening):
            self._deleted.clear()
        return Written(lines[: min(whole, len(opening))], lines[len(opening) : whole], error)

    def _settle(self, taken: int, lines: list[bytes]) -> int:
        """Count the whole lines of the bytes that were taken, and remember what was torn."""
        if taken < 0:
            return 0
        self._size += taken + self._open_end
        self._open_end = False
        whole = 0
        for line in lines:
            if taken < len(line):
                break
            whole += 1
            taken -= len(line) + 1
        if whole and self._due:
            self._due, self._fits = False, True
            self._torn.clear()
        # a line of which only the newline is missing is whole
        self._open_end = taken != 0
        if taken > 0:
            self._torn.append(lines[whole][:taken])
            self._due = True
        self._sequence += whole
        return whole

    def _compose(self, texts: Iterable[Text]) -> tuple[list[bytes], list[Link]]:
        clock = self._clock.state()
        link = self._link
        lines, links = [], []
        for sequence, (at, text) in enumerate(texts, self._sequence):
            line = f"{wall_time(at)} clock={clock} seq={sequence} {text}".encode()
            if link is not None:
                line, link = seal(link, line)
                links.append(link)
            lines.append(line)
        return lines, links

    def _opening(self) -> list[Text]:
        """Give the line that says how the trail goes on: in a new file, after a torn line, or at an unexpected end."""
        link = self._link
        begins = self._size == 0 and self._regular and link is not None and link.previous != BEGINNING
        if not begins and not self._due:
            return []
        facts: dict[str, object] = {"previous": link.previous.hex() if link is not None else None}
        marks = b",".join([torn_mark(fragment) for fragment in self._torn]).decode()
        torn = f" torn={marks}" if marks else ""
        end = " end=unexpected" if not self._fits else ""
        said = facts_text(facts)
        state = "new-file" if begins else "continued"
        return [(time.time(), f"event=trail state={state}{' ' + said if said else ''}{torn}{end}")]

    def _deletions(self) -> list[Text]:
        now = time.time()
        return [(now, f"event=trail state=deleted {facts_text({'file': path.name})}") for path in self._deleted]

    def _save(self, link: Link) -> None:
        if self._state is not None:
            try:
                self._state.save(link)
            except OSError as error:
                # the next start catches up from an older key
                log.error("the trail's state %s cannot be written: %s", trail_state.path_of(self.path), error.strerror)

    def _rotate(self) -> None:
        """Begin a new file. A kill between any two steps leaves whole files in order, at most with a number free."""
        keep = self._settings.keep
        try:
            numbers = {int(path.suffix[1:]) for path in rotated(self.path)}
            free = next((number for number in range(1, keep + 1) if number not in numbers), None)
            surplus = sorted(number for number in numbers if keep < number)
            if free is None:
                free = keep
                surplus.insert(0, keep)
            # the oldest first, so that those which are left follow one another
            for path in map(self._numbered, reversed(surplus)):
                path.unlink()
                self._deleted.append(path)
            for number in range(free, 1, -1):
                self._numbered(number - 1).rename(self._numbered(number))
            self.path.rename(self._numbered(1))
            self._reopen()
        except OSError as error:
            log.error("the trail %s cannot begin a new file: %s", self.path, error.strerror)

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _look(self) -> None:
        """See whether somebody has renamed or removed the file, as logrotate does, and go on in a new one."""
        now = time.monotonic()
        if self._regular and now >= self._looked + _LOOK_EVERY:
            self._looked = now
            self.reopen()

    def reopen(self) -> None:
        """Go on in the file of that name, if the open one has it no more."""
        try:
            here = os.fstat(self._descriptor)
            with contextlib.suppress(FileNotFoundError):
                there = self.path.stat()
                if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
                    return
            self._reopen()
        except OSError as error:
            log.error("the trail %s cannot be opened anew: %s", self.path, error.strerror)

    def _reopen(self) -> None:
        descriptor, size = _open(self.path)
        self._descriptor, old = descriptor, self._descriptor
        self._size = size
        self._open_end = _ends_open(self.path, size)
        os.close(old)
        if self._power:
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def close(self) -> None:
        """Close the file and its state."""
        os.close(self._descriptor)
        if self._state is not None:
            self._state.close()
            self._state = None


def _open(path: Path) -> tuple[int, int]:
    """Open and lock a trail: its descriptor and size. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            # a chain has one writer; while it begins there is none
            kind = fcntl.LOCK_EX if trail_state.path_of(path).exists() else fcntl.LOCK_SH
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, found.st_size


def _ends_open(path: Path, size: int) -> bool:
    """Tell whether a file's last line has no newline."""
    if not size:
        return False
    with path.open("rb") as stream:
        stream.seek(size - 1)
        return stream.read(1) != b"\n"


def _cannot_open(path: Path, error: OSError) -> ConfigError:
    if isinstance(error, BlockingIOError):
        return ConfigError(
            f"audit {path}", "another server writes this trail", hint="give each server a file of its own"
        )
    return ConfigError(f"audit {path}", f"cannot be opened for writing: {error.strerror}")
