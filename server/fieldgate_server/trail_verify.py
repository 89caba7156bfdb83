"""Verify a chained trail: what was changed, is missing, stands in the wrong place or was cut off, and where."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from fieldgate_server.trail_chain import BEGINNING, Line, Pair, mac_of, onward, opening, parse, torn_mark

_FURTHEST = 100_000_000
"""Lines that may be missing in one place; a number beyond it was written by somebody else."""


class Place(NamedTuple):
    """A line of a file, counted from 1."""

    file: str
    number: int

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


class Fault(NamedTuple):
    """One thing wrong, at a line and a sequence."""

    place: Place
    sequence: int
    what: str

    def __str__(self) -> str:
        return f"{self.place}: sequence {self.sequence}: {self.what}"


@dataclass
class Report:
    """What was found: lines before the chain began, of the chain, torn and closed off; first and last sequence."""

    faults: list[Fault] = field(default_factory=list)
    unchained: int = 0
    chained: int = 0
    torn: int = 0
    first: int = 0
    head: Pair | None = None


def verify(lines: Iterable[tuple[Place, bytes]], first_key: Pair, head: Pair | None = None) -> Report:
    """Verify lines (with their newlines, oldest first) against the first key, and the head if one was kept."""
    verifier = _Verifier(first_key, head)
    held: tuple[Place, bytes] | None = None
    for place, data in lines:
        if held is not None:
            verifier.line(*held, following=parse(data[:-1]))
        held = place, data
    if held is not None:
        verifier.line(*held, following=None)
    verifier.end(held[0] if held else Place("the trail", 0))
    return verifier.report


class _Verifier:
    """Walks along the trail. `_previous` are the MACs that the line before may have; none: that is not known."""

    def __init__(self, first_key: Pair, head: Pair | None) -> None:
        self.report = Report()
        self._start = first_key
        self._wanted = head
        self._sequence = 0
        self._key = b""
        self._previous: tuple[bytes, ...] = ()
        self._fragments: list[tuple[Place, bytes]] = []
        self._any = False
        self._before = 0
        self._torn_judged = False
        """What the next line may say of torn pieces before it is judged already, or cannot be."""

    def line(self, place: Place, data: bytes, following: Line | None) -> None:
        whole = data.endswith(b"\n")
        text = data[:-1] if whole else data
        line = parse(text) if whole else None
        if not self._sequence and not self._begin(line):
            self.report.unchained += 1
            return
        if line is None or line.mac is None:
            self._fragments.append((place, text))
            if following is None or following.mac is None:
                return
            self._settle_fragments(following)
            return
        self._judge(place, line, line.mac, following)

    def _begin(self, line: Line | None) -> bool:
        """Find the chain's first line, or that of a file whose older ones were rotated away."""
        first, self._any = not self._any, True
        sequence, self._key = self._start
        if self._before != sequence - 1 and (line is None or (line.mac is None and line.sequence < sequence)):
            self._before = line.sequence if line else self._before
            return False
        self._previous = (BEGINNING,)
        # what was torn before these files' first line went with the files before them
        self._torn_judged = self._before != sequence - 1
        ahead = line.sequence - sequence if line is not None and line.mac is not None else 0
        if line is not None and first and 0 < ahead <= _FURTHEST:
            said = opening(line)
            if said is not None and said.new_file:
                sequence, self._key, self._previous = line.sequence, onward(self._key, ahead), (said.previous,)
                self._torn_judged = True
        self._sequence = self.report.first = sequence
        return True

    def _settle_fragments(self, following: Line | None) -> None:
        """Judge pieces that are no line of the chain: the next line may say that they were torn, and how long."""
        fragments, self._fragments = self._fragments, []
        self._torn_judged = True
        if following is not None and following.mac is not None and self._is_next(following, following.mac):
            said = opening(following)
            if said is not None and said.torn == tuple(torn_mark(text) for _, text in fragments):
                self.report.torn += len(fragments)
                return
        for place, _ in fragments:
            if following is None:
                self._fault(place, "cut off: the line is not whole")
            elif following.sequence <= self._sequence:
                self._fault(place, "a line that is not of the chain stands before it")
            else:
                self._fault(place, "changed: the line is not whole")
                self._advance(())

    def _judge(self, place: Place, line: Line, mac: bytes, following: Line | None) -> None:
        expected = self._sequence
        if self._is_next(line, mac):
            self.report.chained += 1
            self._check_torn(place, line)
            self._advance((mac,), line.sequence)
        elif line.sequence == expected:
            self._fault(place, "changed")
            # either the text was changed or the MAC, so the next line fits one of the two
            computed = [mac_of(self._key, previous, line.text) for previous in self._previous]
            self._advance((mac, *computed), expected)
        elif following is not None and following.sequence == expected + 1:
            self._fault(place, "changed, or another line stands in its place")
            self._advance(())
        elif expected < line.sequence <= expected + _FURTHEST:
            last = line.sequence - 1
            self._fault(place, "missing" if last == expected else f"missing, and all up to sequence {last}")
            self._key = onward(self._key, line.sequence - expected)
            self._sequence = line.sequence
            self._advance((mac,), line.sequence)
        else:
            self.report.faults.append(Fault(place, line.sequence, "repeated, or it belongs further up"))
        self._torn_judged = False
        self._check_head(place, line, mac)

    def _is_next(self, line: Line, mac: bytes) -> bool:
        if line.sequence != self._sequence:
            return False
        if not self._previous:
            return True
        return any(hmac.compare_digest(mac, mac_of(self._key, previous, line.text)) for previous in self._previous)

    def _advance(self, previous: tuple[bytes, ...], sequence: int | None = None) -> None:
        if sequence is not None and previous:
            self.report.head = Pair(sequence, previous[0])
        self._sequence += 1
        self._key = onward(self._key)
        self._previous = previous

    def _fault(self, place: Place, what: str) -> None:
        self.report.faults.append(Fault(place, self._sequence, what))

    def _check_torn(self, place: Place, line: Line) -> None:
        said = opening(line)
        if said is not None and said.torn and not self._torn_judged:
            size = sum(int(mark.partition(b":")[0]) for mark in said.torn)
            self._fault(place, f"{size} torn bytes that stood before it are missing")

    def _check_head(self, place: Place, line: Line, mac: bytes) -> None:
        wanted = self._wanted
        if wanted is not None and line.sequence == wanted.sequence and mac != wanted.value:
            what = "is not the line that the head names: it, or one before it, was written anew"
            self.report.faults.append(Fault(place, line.sequence, what))

    def end(self, place: Place) -> None:
        """Judge the end: a torn piece, and a head that lies beyond it."""
        if self._fragments:
            self._settle_fragments(None)
        if not self._sequence:
            self.report.faults.append(Fault(place, self._start.sequence, "missing: no line of the chain is here"))
            return
        wanted = self._wanted
        if wanted is None:
            return
        if wanted.sequence >= self._sequence:
            self._fault(place, f"cut off: the trail ends here, and its head was at sequence {wanted.sequence}")
        elif wanted.sequence < self.report.first:
            what = f"missing: these files begin at sequence {self.report.first}, and the head is older"
            self.report.faults.append(Fault(place, wanted.sequence, what))
