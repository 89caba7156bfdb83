"""Which cells of one table a role may use, compiled so that a decision costs the same for 1 grant or 10,000."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from fieldgate_core.modbus import ADDRESSES
from fieldgate_server.typed import PLAIN, Number


class CellGrant(NamedTuple):
    """Cells `start` to `end` (not included), values `low` to `high` (None: any) of a type, and the grant's name.

    Where a value fills several registers, the first begins at `start`.
    """

    start: int
    end: int
    low: float | None
    high: float | None
    name: str
    number: Number = PLAIN


class Limit(NamedTuple):
    """Values that a grant allows."""

    low: float
    high: float
    number: Number
    name: str

    def __str__(self) -> str:
        kind = "" if self.number == PLAIN else f" as {self.number}"
        return f"{self.number.text(self.low)}..{self.number.text(self.high)}{kind}"


class Piece(NamedTuple):
    """Cells `start` to `end` (not included) that the same grants cover: one without a limit (`free`), or limits."""

    start: int
    end: int
    free: str | None
    limits: tuple[Limit, ...]


class _Values(NamedTuple):
    """Disjoint intervals of values of one type; a value that fills several registers begins at `phase`, modulo them."""

    number: Number
    phase: int
    registers: int
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    names: tuple[str, ...]

    def allowing(self, value: float | None) -> str | None:
        if value is None:
            return None
        at = bisect_right(self.lows, value) - 1
        return None if at < 0 or value > self.highs[at] else self.names[at]


class _Segment(NamedTuple):
    """Cells that the same grants cover: `free` names a grant without limit; else `plain` registers, `typed` values."""

    free: str | None
    plain: _Values | None
    typed: tuple[_Values, ...]


class Coverage:
    """The union of the grants on one table of one unit."""

    __slots__ = ("_ends", "_names", "_segments", "_starts")

    def __init__(self, grants: Iterable[CellGrant]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._segments: list[_Segment] = []
        for run in _runs(list(grants)):
            start, end, segment = run.start, run.end, _segment(run)
            if self._segments and self._ends[-1] == start and self._segments[-1] == segment:
                self._ends[-1] = end
            else:
                self._starts.append(start)
                self._ends.append(end)
                self._segments.append(segment)
        self._names = [_some_name(segment) for segment in self._segments]

    def __bool__(self) -> bool:
        return bool(self._segments)

    def allows(self, start: int, count: int) -> str | None:
        """Name the grants that cover `count` cells from `start`, or None; cells past 65535 count as covered."""
        index = bisect_right(self._starts, start) - 1
        if index < 0:
            return None
        end = min(start + count, ADDRESSES)
        if end <= self._ends[index]:
            return self._names[index]
        used: dict[str, None] = {}
        while start < end:
            if index >= len(self._starts) or not self._starts[index] <= start < self._ends[index]:
                return None
            used[self._names[index]] = None
            start = self._ends[index]
            index += 1
        return "+".join(used)

    def allows_values(
        self, start: int, count: int, values: Sequence[int | None] | None, whole: tuple[int, int] | None = None
    ) -> str | None:
        """As `allows`, and each cell's value must lie in a limit that covers it; None for one, or for all: any will do.

        A value of several registers must have all of them written: `whole` are the first register that is written
        entirely and the one after the last; None: all.
        """
        index = bisect_right(self._starts, start) - 1
        if index >= 0 and self._segments[index].free is not None and start + count <= self._ends[index]:
            return self._segments[index].free
        used: dict[str, None] = {}
        for _, name in self._walk(start, count, values, whole):
            if name is None:
                return None
            used[name] = None
        return "+".join(used)

    def short(
        self, start: int, count: int, values: Sequence[int | None] | None, whole: tuple[int, int] | None = None
    ) -> int | None:
        """Give the first cell for which `allows_values` has no grant; None if there is none."""
        return next((cell for cell, name in self._walk(start, count, values, whole) if name is None), None)

    def pieces(self, start: int, count: int) -> list[Piece]:
        """Give what covers these cells, run by run."""
        end = min(start + count, ADDRESSES)
        found = []
        for first, last, segment in zip(self._starts, self._ends, self._segments, strict=True):
            if first < end and start < last:
                kinds = [*([segment.plain] if segment.plain else []), *segment.typed]
                limits = [
                    Limit(low, high, kind.number, name)
                    for kind in kinds
                    for low, high, name in zip(kind.lows, kind.highs, kind.names, strict=True)
                ]
                found.append(Piece(max(first, start), min(last, end), segment.free, tuple(limits)))
        return found

    def _walk(
        self, start: int, count: int, values: Sequence[int | None] | None, whole: tuple[int, int] | None
    ) -> Iterator[tuple[int, str | None]]:
        """Go from cell to cell, many at once where that is the same: a cell, and the grant that allows it or None."""
        end = min(start + count, ADDRESSES)
        index = max(0, bisect_right(self._starts, start) - 1)
        cell = start
        while cell < end:
            while index < len(self._ends) and self._ends[index] <= cell:
                index += 1
            if index == len(self._ends) or cell < self._starts[index]:
                yield cell, None
                return
            segment, stop = self._segments[index], min(end, self._ends[index])
            if segment.free is not None:
                yield cell, segment.free
                cell = stop
                continue
            name, size = _plain(segment, values, cell - start), 1
            if name is None:
                name, size = _typed(segment, values, cell, start, whole or (start, end))
            yield cell, name
            cell += size


def _plain(segment: _Segment, values: Sequence[int | None] | None, at: int) -> str | None:
    if segment.plain is None:
        return None
    value = None if values is None else values[at]
    return segment.plain.names[0] if value is None else segment.plain.allowing(value)


def _typed(
    segment: _Segment, values: Sequence[int | None] | None, cell: int, start: int, whole: tuple[int, int]
) -> tuple[str | None, int]:
    """Name a grant that allows the typed value at a cell, and how many cells from there belong to it."""
    for kind in segment.typed:
        size = kind.registers
        first = cell - (cell - kind.phase) % size
        if size > 1 and not (whole[0] <= first and first + size <= whole[1]):
            continue
        value = _registers(values, first - start, size)
        name = kind.names[0] if value is None else kind.allowing(kind.number.decode(value))
        if name is not None:
            return name, first + size - cell
    return None, 1


def _registers(values: Sequence[int | None] | None, at: int, size: int) -> Sequence[int] | None:
    """Give the registers of one value; None: any will do, or one of them is not there."""
    known = [register for register in (values or ())[at : at + size] if register is not None]
    return known if len(known) == size else None


class _Run(NamedTuple):
    """Cells between two edges of grants, and the grants there: with a limit, and without. They change with the next."""

    start: int
    end: int
    free: Mapping[CellGrant, int]
    limited: Mapping[CellGrant, int]


def effort(grants: Sequence[CellGrant]) -> int:
    """Give the limits to be compiled, each as often as there are runs of cells in it that differ in their grants."""
    return sum(len(run.limited) for run in _runs(grants) if not run.free)


def _runs(grants: Sequence[CellGrant]) -> Iterator[_Run]:
    """Cut the address space at every grant's edge."""
    opens: dict[int, list[CellGrant]] = {}
    closes: dict[int, list[CellGrant]] = {}
    for grant in grants:
        opens.setdefault(grant.start, []).append(grant)
        closes.setdefault(grant.end, []).append(grant)
    free: dict[CellGrant, int] = {}
    limited: dict[CellGrant, int] = {}
    for edge, following in pairwise(sorted({*opens, *closes})):
        for grant in opens.get(edge, ()):
            active = free if grant.low is None else limited
            active[grant] = active.get(grant, 0) + 1
        for grant in closes.get(edge, ()):
            active = free if grant.low is None else limited
            active[grant] -= 1
            if not active[grant]:
                del active[grant]
        if free or limited:
            yield _Run(edge, following, free, limited)


def _segment(run: _Run) -> _Segment:
    for grant in run.free:
        return _Segment(grant.name, None, ())
    kinds: dict[tuple[Number, int], list[tuple[float, float, str]]] = {}
    for grant in run.limited:
        if grant.low is not None and grant.high is not None:
            phase = grant.start % grant.number.registers
            kinds.setdefault((grant.number, phase), []).append((grant.low, grant.high, grant.name))
    compiled = [_values(number, phase, intervals) for (number, phase), intervals in sorted(kinds.items())]
    plain = next((values for values in compiled if values.number == PLAIN), None)
    return _Segment(None, plain, tuple(values for values in compiled if values.number != PLAIN))


def _values(number: Number, phase: int, intervals: list[tuple[float, float, str]]) -> _Values:
    """Join intervals that overlap or, of whole numbers, follow each other."""
    lows: list[float] = []
    highs: list[float] = []
    names: list[dict[str, None]] = []
    for low, high, name in sorted(intervals):
        if highs and low <= highs[-1] + number.is_whole:
            highs[-1] = max(highs[-1], high)
            names[-1][name] = None
        else:
            lows.append(low)
            highs.append(high)
            names.append({name: None})
    return _Values(number, phase, number.registers, tuple(lows), tuple(highs), tuple(map("+".join, names)))


def _some_name(segment: _Segment) -> str:
    if segment.free is not None:
        return segment.free
    return segment.plain.names[0] if segment.plain else segment.typed[0].names[0]
