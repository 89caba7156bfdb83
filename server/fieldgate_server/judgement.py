"""Judging the cells of a request: the one place that says which of them may be read and written; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import unpack
from typing import NamedTuple

from fieldgate_core.modbus import ADDRESSES, Table
from fieldgate_server.functions import Request
from fieldgate_server.layout import Cells, Layout
from fieldgate_server.rights import Right, UnitRights
from fieldgate_server.units import Effect, Unit

_SEPARATE = Layout.SEPARATE
_NO_VALUE = -1


def unreadable(unit: Unit, rights: UnitRights, right: Right, request: Request) -> Cells | None:
    """Give the first cells that the request reads without a right to all of them; None: all may be read."""
    coverage = right.read
    if coverage is not None and unit.layout is _SEPARATE:
        # the same as below, without naming the cells
        if coverage.allows(request[0], request[1]) is not None:
            return None
        return unit.reading(right.function, request)[0]
    for cells in unit.reading(right.function, request):
        readable = rights.readable(cells.space)
        if readable is None or readable.allows(cells.start, cells.quantity) is None:
            return cells
    return None


class Written(NamedTuple):
    """Cells that a write changes in one table or file, and what limits are to hold for.

    `values` are the registers that result (None: any will do, also for one of them that is not there); those from
    `whole[0]` to before `whole[1]` are written entirely.
    """

    cells: Cells
    values: Sequence[int | None] | None
    whole: tuple[int, int]


class Verdict(NamedTuple):
    """The names of the grants that allow a write, or the first effect that they do not."""

    grants: str
    refused: Effect | None = None


def judge(rights: UnitRights, effects: Iterable[Effect], *, there: bool) -> Verdict:
    """Judge the effects of a write, the first being what it names.

    Where its cells are `there`, a result that is not known lies within no limit; elsewhere there is none to judge.
    """
    grants: dict[str, None] = {}
    named: Cells | None = None
    for effect in effects:
        named = named or effect.cells
        cells, values, whole = written(named, effect, there=there)
        coverage = rights.writable(cells.space)
        grant = coverage and coverage.allows_values(cells.start, cells.quantity, values, whole)
        if not grant:
            return Verdict("", effect)
        grants[grant] = None
    return Verdict("+".join(grants))


def written(named: Cells, effect: Effect, *, there: bool) -> Written:
    """Say what limits are to hold for, where a write of the cells `named` has this effect."""
    cells, data = effect
    space, start, quantity = cells
    whole = (start, start + quantity)
    if isinstance(space, Table) and space.is_bits:
        return Written(cells, None, whole)
    if isinstance(named.space, Table) and named.space.is_bits:
        # a register of which the coils are a part only is changed, but not written as a whole
        end = min(named.start + named.quantity, ADDRESSES)
        whole = (named.start + 15) >> 4, end >> 4
    if data is not None:
        known = unpack(f">{len(data) // 2}H", data)
        return Written(cells, (*known, *[None] * (quantity - len(known))), whole)
    # what results can't be known, so it lies within no limit: only a grant without one allows it
    return Written(cells, [_NO_VALUE] * quantity if there else None, whole)
