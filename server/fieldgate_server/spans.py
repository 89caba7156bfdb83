"""Labelled ranges of addresses, found by what they overlap; pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import pairwise


class Spans:
    """Ranges with labels; a look-up costs the same for one range or 10,000."""

    __slots__ = ("_labels", "_starts")

    def __init__(self, spans: Iterable[tuple[int, int, str]]) -> None:
        """Take (start, end not included, label) of each range; ranges may overlap."""
        opens: dict[int, list[str]] = {}
        closes: dict[int, list[str]] = {}
        for start, end, label in spans:
            opens.setdefault(start, []).append(label)
            closes.setdefault(end, []).append(label)
        self._starts: list[int] = []
        self._labels: list[tuple[str, ...]] = []
        open_now: list[str] = []
        for edge, _ in pairwise([*sorted({*opens, *closes}), -1]):
            for label in closes.get(edge, ()):
                open_now.remove(label)
            open_now += opens.get(edge, ())
            labels = tuple(open_now)
            if not self._labels or self._labels[-1] != labels:
                self._starts.append(edge)
                self._labels.append(labels)

    def over(self, start: int, quantity: int) -> tuple[str, ...]:
        """Give the labels of the ranges that hold any of these addresses, each once."""
        found: dict[str, None] = {}
        at = max(0, bisect_right(self._starts, start) - 1)
        while at < len(self._starts) and self._starts[at] < start + quantity:
            if at + 1 == len(self._starts) or self._starts[at + 1] > start:
                found.update(dict.fromkeys(self._labels[at]))
            at += 1
        return tuple(found)
