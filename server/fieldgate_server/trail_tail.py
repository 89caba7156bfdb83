"""Read a trail from its end: its files, the last sequence and time, and the lines that its state does not know yet."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from fieldgate_server.trail_chain import BEGINNING, Line, Link, follow, parse

LAST_NUMBER = 1000
"""Files of the server's own rotation have a number up to this; beyond it is somebody else's, such as a date."""
_BLOCK = 65536
_DATED = re.compile(r"[.-][0-9][0-9._T-]*")
"""What logrotate's dateext puts behind a name."""
_COMPRESSED = re.compile(r"[.-][0-9][0-9._T-]*\.(gz|bz2|xz|zst|lz4|lzo|Z)")
_TIME = re.compile(rb"([0-9-]{10}T[0-9:.]{12}\+00:00) clock=[a-z]+ seq=[0-9]+ event=(?:(server) state=started(?: |$))?")
_LATEST = re.compile(rb" latest=([0-9-]{10}T[0-9:.]{12}\+00:00)(?: |$)")


class Tail(NamedTuple):
    """The end of a trail: the last line's sequence (0: none), and the bytes after the last newline."""

    sequence: int
    fragment: bytes


class CaughtUp(NamedTuple):
    """Where a chain stands after a start; `fits` tells whether the trail's end is what the state says."""

    link: Link
    fragment: bytes
    fits: bool


def rotated(trail: Path) -> list[Path]:
    """Give the older files of the server's own rotation, newest first: FILE.1, FILE.2; numbers may be missing."""
    numbers = [int(rest[1:]) for rest in _behind(trail) if rest[0] == "." and _is_number(rest[1:])]
    return [trail.with_name(f"{trail.name}.{number}") for number in sorted(numbers) if number <= LAST_NUMBER]


def older(trail: Path) -> list[Path]:
    """Give all older files, newest first; where logrotate has named some by date, by the lines that they begin with.

    Raises OSError.
    """
    numbered = rotated(trail)
    dated = [trail.with_name(trail.name + rest) for rest in _behind(trail) if _DATED.fullmatch(rest)]
    found = {*numbered, *dated}
    return sorted(found, key=_first, reverse=True) if len(found) > len(numbered) else numbered


def compressed(trail: Path) -> list[Path]:
    """Give the older files that cannot be read because they are compressed."""
    return [trail.with_name(trail.name + rest) for rest in sorted(_behind(trail)) if _COMPRESSED.fullmatch(rest)]


def latest(trail: Path) -> float:
    """Give the latest time since the last start, and what that start knew of it (s since 1970); 0: there is no line.

    Raises OSError.
    """
    times = []
    for path in (trail, *older(trail)):
        for piece in backwards(path):
            line = _TIME.match(piece)
            if line is None:
                continue
            times.append(line[1])
            if line[2]:
                times += _LATEST.findall(piece)
                return _seconds(max(times))
    return _seconds(max(times)) if times else 0.0


def _seconds(written: bytes) -> float:
    try:
        return datetime.fromisoformat(written.decode()).timestamp()
    except ValueError:
        return 0.0


def tail(trail: Path) -> Tail:
    """Read the end of a trail that is not chained. Raises OSError."""
    fragment: bytes | None = None
    for path in (trail, *older(trail)):
        pieces = backwards(path)
        last = next(pieces, None)
        fragment = last if fragment is None else fragment
        for piece in pieces:
            line = parse(piece)
            if line is not None:
                return Tail(line.sequence, fragment or b"")
    return Tail(0, fragment or b"")


def catch_up(trail: Path, link: Link) -> CaughtUp:
    """Follow the chain from its state through the lines that were written since. Raises OSError."""
    unknown: list[Line] = []
    fragment: bytes | None = None
    anchor: Line | None = None
    for path in (trail, *older(trail)):
        pieces = backwards(path)
        last = next(pieces, None)
        fragment = last if fragment is None else fragment
        for piece in pieces:
            line = parse(piece)
            if line is not None and line.sequence < link.sequence:
                anchor = line
                break
            if line is not None:
                unknown.append(line)
        if anchor is not None:
            break
    fits = link.previous == BEGINNING or (
        anchor is not None and anchor.sequence == link.sequence - 1 and anchor.mac == link.previous
    )
    torn = fragment or b""
    for line in reversed(unknown):
        further = follow(link, line)
        if further is None:
            return CaughtUp(link, torn, False)
        link = further
    # only its newline may be missing
    whole = follow(link, parse(torn))
    return CaughtUp(link, torn, fits) if whole is None else CaughtUp(whole, b"", fits)


def backwards(path: Path) -> Iterator[bytes]:
    """Give a file's pieces between newlines from its end; the first is what follows the last newline, often empty."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        at = os.fstat(descriptor).st_size
        rest: list[bytes] = []
        while at:
            size = min(_BLOCK, at)
            at -= size
            first, *others = os.pread(descriptor, size, at).split(b"\n")
            if others:
                yield others.pop() + b"".join(reversed(rest))
                yield from reversed(others)
                rest = []
            rest.append(first)
        if rest:
            yield b"".join(reversed(rest))
    finally:
        os.close(descriptor)


def _behind(trail: Path) -> list[str]:
    """Give what stands behind the trail's name in the names of the files beside it."""
    return [path.name[len(trail.name) :] for path in trail.parent.glob(f"{_escape(trail.name)}[.-]*")]


def _first(path: Path) -> int:
    """Give the sequence of a file's first line; 0 if it has none."""
    with path.open("rb") as stream:
        return next((line.sequence for data in stream if (line := parse(data.rstrip(b"\n"))) is not None), 0)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and text[0] != "0"


def _escape(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
