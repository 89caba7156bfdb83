"""Why a role may do something or may not, told by the judgement that the guard uses; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from struct import pack
from typing import NamedTuple

from fieldgate_core.modbus import ADDRESSES, File, Space, Table
from fieldgate_server.catalogue import BY_NAME, WITH_SUB_CODES
from fieldgate_server.cells import ALL_FILES
from fieldgate_server.coverage import Coverage, Limit
from fieldgate_server.diagnostics import NOTHING
from fieldgate_server.functions import Group, Request
from fieldgate_server.grants import BY_NAME_OR_CLASS, Grant
from fieldgate_server.judgement import Written, judge, unreadable, written
from fieldgate_server.layout import Cells, Layout
from fieldgate_server.memory import MemoryUnit
from fieldgate_server.policy import Policy
from fieldgate_server.rights import Rights, UnitRights
from fieldgate_server.typed import Number
from fieldgate_server.units import Effect

_READS = {Table.COILS: "1", Table.DISCRETE: "2", Table.HOLDING: "3", Table.INPUT: "4"}
_WRITES = {Table.COILS: "15", Table.DISCRETE: "15", Table.HOLDING: "16", Table.INPUT: "16"}
_FILE_READ, _FILE_WRITE = "20", "21"


class Case(NamedTuple):
    """Who asks, and what is asked: a role with its rights, and a unit, which need not be one of the server's."""

    policy: Policy
    role: str
    rights: Rights
    number: int
    unit: MemoryUnit
    there: bool = True
    """The unit and its cells are known to be as `unit` has them."""


class Short(NamedTuple):
    """The first cells for which there is no right (None: it is not about cells), why, and what would be needed."""

    cells: Cells | None
    why: str
    needed: str


class Answer(NamedTuple):
    """Allowed (`short` is None) by some grants, and within which limits; or refused."""

    short: Short | None
    grants: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Tell whether it is allowed."""
        return self.short is None


def spread(asked: Sequence[Cells], values: Sequence[str], number: Number | None) -> list[list[int]]:
    """Give what each of the cells would hold, from one value for all or one each, of a type where one is named.

    Raises ValueError for values that do not fit.
    """
    size = number.registers if number else 1
    if any(cells.quantity % size for cells in asked):
        raise ValueError(f"a value of {number} fills {size} registers: name a multiple of them")
    total = sum(cells.quantity for cells in asked) // size
    if len(values) not in {1, total}:
        raise ValueError(f"{len(values)} values for {total}: give one for all, or one each")
    each = iter([*values] * total if len(values) == 1 else values)
    found = []
    for cells in asked:
        highest = 1 if isinstance(cells.space, Table) and cells.space.is_bits else 0xFFFF
        if number and highest == 1:
            raise ValueError(f"{cells} are single bits, and have no type")
        some: list[int] = []
        for _ in range(cells.quantity // size):
            some += number.encode(number.value(next(each))) if number else [_plain(next(each), highest)]
        found.append(some)
    return found


def _plain(text: str, highest: int) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > highest:
        hint = "" if highest == 1 else "; for other numbers name their type"
        raise ValueError(f"{text!r} is not a whole number from 0 to {highest}{hint}")
    return int(text)


def read(case: Case, asked: Iterable[Cells]) -> Answer:
    """Explain a read of cells, each run by itself."""
    answers = [_read(case, cells) for cells in asked]
    return _joined(answers)


def write(case: Case, asked: Sequence[Cells], values: Sequence[Sequence[int]] | None) -> Answer:
    """Explain a write of values to cells, each run by itself; without values, within which limits it may be."""
    answers = [_write(case, cells, values[index] if values else None) for index, cells in enumerate(asked)]
    return _joined(answers)


def function(case: Case, name: str) -> Answer:
    """Explain a function, by the name that the policy uses. Raises ValueError for what names none."""
    match = re.fullmatch("(0[xX][0-9A-Fa-f]{2}|[0-9]{1,3})(?:/([0-9A-Fa-f]{1,3}))?", name)
    if not match or not 1 <= int(match[1], 0 if match[1][:2] in {"0x", "0X"} else 10) <= 127:
        raise ValueError(f"{name!r} names no function")
    known = BY_NAME.get(f"{match[1]}/{match[2].upper()}" if match[2] else match[1])
    if known is None:
        if match[1].isdigit() and int(match[1]) in WITH_SUB_CODES and not match[2]:
            subs = ", ".join(one for one in BY_NAME if one.startswith(f"{match[1]}/"))
            raise ValueError(f"function {name} has sub-functions: name one of {subs}")
        return Answer(Short(None, f"function {name} is not served: it is answered 01 to everybody", ""))
    rights = case.rights.units.get(case.number)
    sub = b"" if known.sub is None else known.sub.to_bytes(WITH_SUB_CODES[known.code], "big")
    pdu = bytes((known.code,)) + sub
    right = rights and rights.right(pdu)
    by_name = known.kind in BY_NAME_OR_CLASS
    if not rights or not right:
        needed = f'function = "{known.name}"' if by_name else "cells of its table to read, to write, or both"
        asleep = _not_now(case, lambda grant: known.name in grant.functions)
        why = f"no grant of role {case.role} gives it function {known.name} on unit {case.number}{asleep}"
        return Answer(Short(None, why, f'{{ units = "{case.number}", {needed} }}' if by_name else needed))
    if by_name:
        short = unreadable(case.unit, rights, right, NOTHING)
        if short is not None:
            return Answer(_unread(case, rights, short))
        return Answer(None, (right.grant,), notes=_notes(case))
    granted = [("reads", right.function.reads, right.read), ("writes", right.function.writes, right.write)]
    lines = [
        f"{verb} {line}"
        for verb, table, coverage in granted
        if table is not None and coverage is not None
        for line in _limits(coverage, Cells(table, 0, ADDRESSES))
    ]
    return Answer(None, limits=tuple(lines), notes=("what it may be asked for are cells: see read and write",))


def manage(case: Case, word: str) -> Answer:
    """Explain a word of `manage`."""
    grant = case.rights.manage.get(word)
    if grant is not None:
        return Answer(None, (grant,))
    why = f"no grant of role {case.role} lets it {word}{_not_now(case, lambda grant: word in grant.manage)}"
    return Answer(Short(None, why, f'{{ manage = ["{word}"] }}'))


def _read(case: Case, asked: Cells) -> Answer:
    space, start, quantity = asked
    name = _FILE_READ if isinstance(space, File) else _READS[space]
    groups = (Group(space, start, quantity, b"", known=True),) if isinstance(space, File) else ()
    request = Request(start, quantity, 0, 0, b"", groups)
    rights = case.rights.units.get(case.number)
    right = rights and rights.functions.get(BY_NAME[name].code)
    if not rights or not right:
        return Answer(_unread(case, rights, asked))
    short = unreadable(case.unit, rights, right, request)
    if short is not None:
        return Answer(_unread(case, rights, short))
    used = []
    for view in case.unit.reading(right.function, request):
        readable = rights.readable(view.space)
        used += _names(readable.allows(view.start, view.quantity) if readable else None)
    return Answer(None, tuple(used), notes=_notes(case, asked))


def _unread(case: Case, rights: UnitRights | None, cells: Cells) -> Short:
    coverage = rights.readable(cells.space) if rights else None
    return _uncovered(case, "read", cells, coverage, _first_short(coverage, cells))


def _write(case: Case, asked: Cells, values: Sequence[int] | None) -> Answer:
    effects, there = _effects(case.unit, asked, values)
    rights = case.rights.units.get(case.number)
    if not rights:
        return Answer(_uncovered(case, "write", asked, None, asked.start))
    verdict = judge(rights, effects, there=there)
    if verdict.refused is not None:
        return Answer(_unwritten(case, rights, written(effects[0].cells, verdict.refused, there=there)))
    limits = []
    for cells, _ in effects if values is None else ():
        coverage = rights.writable(cells.space)
        if coverage is not None and not (isinstance(cells.space, Table) and cells.space.is_bits):
            limits += _limits(coverage, cells)
    return Answer(None, tuple(_names(verdict.grants)), tuple(limits), _notes(case, asked, to_write=True))


def _effects(unit: MemoryUnit, asked: Cells, values: Sequence[int] | None) -> tuple[list[Effect], bool]:
    """Give what such a write would change, in every table that shows it, and whether these cells are there."""
    space, _, quantity = asked
    bits = isinstance(space, Table) and space.is_bits
    if bits:
        number = sum((value & 1) << at for at, value in enumerate(values or ()))
        data = number.to_bytes((quantity + 7) >> 3, "little")
    else:
        data = pack(f">{quantity}H", *(values or [0] * quantity))
    if unit.layout is Layout.SEPARATE and space in {Table.DISCRETE, Table.INPUT}:
        # no function writes these, but their own table is all that shows them
        effects = [Effect(asked, data)]
    else:
        effects = unit.effects(BY_NAME[_writer(space)], _request(asked, data))
    if values is None:
        return [Effect(cells, None) for cells, _ in effects], False
    return effects, _is_there(unit, asked, to_write=True)


def _writer(space: Space) -> str:
    return _FILE_WRITE if isinstance(space, File) else _WRITES[space]


def _request(asked: Cells, data: bytes) -> Request:
    space, start, quantity = asked
    groups = (Group(space, start, quantity, data, known=True),) if isinstance(space, File) else ()
    return Request(0, 0, start, quantity, data, groups)


def _is_there(unit: MemoryUnit, asked: Cells, *, to_write: bool) -> bool:
    if asked.start + asked.quantity > unit.size(asked.space):
        return False
    if not to_write or (unit.layout is Layout.SEPARATE and asked.space in {Table.DISCRETE, Table.INPUT}):
        return True
    return unit.has(BY_NAME[_writer(asked.space)], _request(asked, bytes(2 * asked.quantity)))


def _unwritten(case: Case, rights: UnitRights, refused: Written) -> Short:
    cells, values, whole = refused
    coverage = rights.writable(cells.space)
    cell = _first_short(coverage, cells, values, whole)
    pieces = coverage.pieces(cell, 1) if coverage else []
    if not pieces:
        return _uncovered(case, "write", cells, coverage, cell)
    at = Cells(cells.space, cell, 1)
    limits = "; ".join(_limit(limit) for limit in pieces[0].limits)
    if values is None or any(limit.number.registers > 1 for limit in pieces[0].limits):
        why = f"{at} belongs to no whole value that role {case.role} may write: {limits}"
    else:
        why = f"{at} would become {values[cell - cells.start]}, and role {case.role} may not write that: {limits}"
    needed = f'a wider limit, or a grant without one: {{ units = "{case.number}", write = "{at}" }}'
    return Short(at, why, needed)


def _first_short(
    coverage: Coverage | None,
    cells: Cells,
    values: Sequence[int | None] | None = None,
    whole: tuple[int, int] | None = None,
) -> int:
    cell = coverage.short(cells.start, cells.quantity, values, whole) if coverage else None
    return cells.start if cell is None else cell


def _limit(limit: Limit) -> str:
    size = limit.number.registers
    return f"{limit.name} allows {limit}" + (f", its {size} registers written whole" if size > 1 else "")


def _limits(coverage: Coverage, cells: Cells) -> list[str]:
    """Say of each run of cells which values it may have, and by which grant."""
    return [
        f"{Cells(cells.space, start, end - start)}: "
        + ("; ".join(map(_limit, limits)) if free is None else f"{free} allows any value")
        for start, end, free, limits in coverage.pieces(cells.start, cells.quantity)
    ]


def _uncovered(case: Case, verb: str, cells: Cells, coverage: Coverage | None, cell: int) -> Short:
    """Name the first run of cells that nothing covers, from the first that is short."""
    end = min(cells.start + cells.quantity, ADDRESSES)
    covered = coverage.pieces(cell, end - cell) if coverage else []
    last = max(cell, (covered[0].start if covered else end) - 1)
    missing = Cells(cells.space, cell, last - cell + 1)

    def covers(grant: Grant) -> bool:
        granted = grant.read if verb == "read" else grant.write
        spaces = {cells.space, ALL_FILES} if isinstance(cells.space, File) else {cells.space}
        return any(space in spaces and one.start <= cell < one.end for space, one in granted)

    why = f"no grant of role {case.role} lets it {verb} {missing}{_not_now(case, covers)}"
    return Short(missing, why, f'{{ units = "{case.number}", {verb} = "{missing}" }}')


def _not_now(case: Case, covers: Callable[[Grant], bool]) -> str:
    """Name the grants that would do at another time."""
    asleep = [
        f"; {grant.name} would, {grant.period}"
        for grant in case.policy.not_now(case.role)
        if (not grant.units or case.number in grant.units) and covers(grant)
    ]
    return "".join(asleep)


def _names(grants: str | None) -> list[str]:
    """Split what coverage joins; a role's name may hold a plus, but a grant's name ends with a bracket."""
    return re.split(r"(?<=\])\+", grants) if grants else []


def _notes(case: Case, asked: Cells | None = None, *, to_write: bool = False) -> tuple[str, ...]:
    if not case.there or asked is None or _is_there(case.unit, asked, to_write=to_write):
        return ()
    what = ", or they are read-only" if to_write else ""
    return (f"unit {case.number} has not all of {asked}{what}: it answers 02",)


def _joined(answers: Sequence[Answer]) -> Answer:
    """Several runs of cells are allowed if each of them is."""
    refused = next((answer for answer in answers if not answer.allowed), None)
    if refused is not None:
        return refused
    return Answer(
        None,
        tuple(dict.fromkeys(grant for answer in answers for grant in answer.grants)),
        tuple(dict.fromkeys(limit for answer in answers for limit in answer.limits)),
        tuple(note for answer in answers for note in answer.notes),
    )
