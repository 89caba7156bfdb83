"""Which cells of one table a role may use, compiled so that a decision costs the same for 1 grant or 10,000."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from fieldgate_core.modbus import ADDRESSES


class CellGrant(NamedTuple):
    """Cells `start` to `end` (not included), values `low` to `high` (None: any), and the grant's name."""

    start: int
    end: int
    low: int | None
    high: int | None
    name: str


class _Segment(NamedTuple):
    """Cells that the same grants cover: `free` names a grant without limit; else values by disjoint intervals."""

    free: str | None
    lows: tuple[int, ...]
    highs: tuple[int, ...]
    names: tuple[str, ...]


class Coverage:
    """The union of the grants on one table of one unit."""

    __slots__ = ("_ends", "_segments", "_starts")

    def __init__(self, grants: Iterable[CellGrant]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._segments: list[_Segment] = []
        for start, end, segment in _segments(list(grants)):
            if self._segments and self._ends[-1] == start and self._segments[-1] == segment:
                self._ends[-1] = end
            else:
                self._starts.append(start)
                self._ends.append(end)
                self._segments.append(segment)

    def __bool__(self) -> bool:
        return bool(self._segments)

    def allows(self, start: int, count: int) -> str | None:
        """Name the grants that cover `count` cells from `start`, or None; cells past 65535 count as covered."""
        index = bisect_right(self._starts, start) - 1
        if index < 0:
            return None
        end = min(start + count, ADDRESSES)
        if end <= self._ends[index]:
            return self._segments[index].free or self._segments[index].names[0]
        return self._walk(index, start, end, None)

    def allows_values(self, start: int, count: int, values: Sequence[int] | None) -> str | None:
        """As `allows`, and each cell's value must lie in a limit that covers it; None: values can't be known."""
        index = bisect_right(self._starts, start) - 1
        if index < 0:
            return None
        end = min(start + count, ADDRESSES)
        segment = self._segments[index]
        if segment.free is not None and end <= self._ends[index]:
            return segment.free
        return self._walk(index, start, end, values)

    def _walk(self, index: int, start: int, end: int, values: Sequence[int] | None) -> str | None:
        used: dict[str, None] = {}
        cell = start
        while cell < end:
            if index >= len(self._starts) or not self._starts[index] <= cell < self._ends[index]:
                return None
            segment = self._segments[index]
            stop = min(end, self._ends[index])
            if segment.free is not None or values is None:
                used[segment.free or segment.names[0]] = None
            else:
                for value in values[cell - start : stop - start]:
                    at = bisect_right(segment.lows, value) - 1
                    if at < 0 or value > segment.highs[at]:
                        return None
                    used[segment.names[at]] = None
            cell = stop
            index += 1
        return "+".join(used)


def _segments(grants: list[CellGrant]) -> Iterable[tuple[int, int, _Segment]]:
    """Cut the address space at every grant's edge and say, piece by piece, what covers it."""
    opens: dict[int, list[CellGrant]] = {}
    closes: dict[int, list[CellGrant]] = {}
    for grant in grants:
        opens.setdefault(grant.start, []).append(grant)
        closes.setdefault(grant.end, []).append(grant)
    edges = sorted({*opens, *closes})
    active: dict[CellGrant, int] = {}
    for edge, following in pairwise(edges):
        for grant in opens.get(edge, ()):
            active[grant] = active.get(grant, 0) + 1
        for grant in closes.get(edge, ()):
            active[grant] -= 1
            if not active[grant]:
                del active[grant]
        if active:
            yield edge, following, _segment(active)


def _segment(active: Iterable[CellGrant]) -> _Segment:
    lows: list[int] = []
    highs: list[int] = []
    names: list[str] = []
    for grant in active:
        if grant.low is None or grant.high is None:
            return _Segment(grant.name, (), (), ())
    for grant in sorted(active, key=lambda g: (g.low or 0, g.high or 0)):
        low, high = grant.low or 0, grant.high or 0
        if highs and low <= highs[-1] + 1:
            highs[-1] = max(highs[-1], high)
            if grant.name not in names[-1].split("+"):
                names[-1] += f"+{grant.name}"
        else:
            lows.append(low)
            highs.append(high)
            names.append(grant.name)
    return _Segment(None, tuple(lows), tuple(highs), tuple(names))
