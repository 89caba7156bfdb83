"""Read a trail from its end: the last sequence, what was torn off, and the lines that its state does not know yet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fieldgate_server.trail_chain import BEGINNING, Line, Link, follow, parse

_BLOCK = 65536


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
    """Give the older files of a trail, newest first: FILE.1, FILE.2 and so on; numbers may be missing."""
    start = len(trail.name) + 1
    numbers = [path.name[start:] for path in trail.parent.glob(f"{_escape(trail.name)}.*")]
    return [trail.with_name(f"{trail.name}.{number}") for number in sorted(int(n) for n in numbers if _is_number(n))]


def tail(trail: Path) -> Tail:
    """Read the end of a trail that is not chained. Raises OSError."""
    fragment: bytes | None = None
    for path in (trail, *rotated(trail)):
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
    for path in (trail, *rotated(trail)):
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


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and text[0] != "0"


def _escape(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
