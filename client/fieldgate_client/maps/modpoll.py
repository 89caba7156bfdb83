"""The CSV of modpoll (the Python one, by gavinying): rows of device, poll and ref, read and written; pure.

Source: modpoll 1.6. It sends addresses as they are written, yet files are found that count from 1 or use Modicon's
numbers: the reader has to be told. Coils come in groups of eight from the start of a poll; texts have no byte order.
It has no place for offset, limits, precision and description.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

from fieldgate_client.grouping import Read, plan
from fieldgate_client.maps.model import Exported, Gathering, Imported, listed, located, lost
from fieldgate_client.points import Point
from fieldgate_client.values import Encoding
from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import Table, unit_id

CARRIED = frozenset({"name", "table", "address", "encoding", "unit_id", "scale", "unit", "writable"})
_TABLES = {
    "coil": Table.COILS,
    "discrete_input": Table.DISCRETE,
    "holding_register": Table.HOLDING,
    "input_register": Table.INPUT,
}
_WORD_OF_TABLE = {table: word for word, table in _TABLES.items()}
_ORDERS = {"BE_BE": "ABCD", "LE_BE": "BADC", "LE_LE": "DCBA", "BE_LE": "CDAB"}
"""Byte order, then word order."""
_ORDER_UNSAID = "BE_LE"
_BITS = {"bool": 8, "bool8": 8, "bool16": 16}
_WORD_OF_ORDER = {"AB": "BE_BE", "BA": "LE_LE"} | {order: word for word, order in _ORDERS.items()}
_TYPES = ("uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64")
_MODICON_DIGITS = {Table.COILS: 0, Table.DISCRETE: 1, Table.INPUT: 3, Table.HOLDING: 4}
_MOST_REGISTERS = 123
"""What modpoll asks for at most in one poll."""


class AddressBase(StrEnum):
    """What the first address of a table is called: 0, 1, or by Modicon's digit (40001, 400001)."""

    ZERO = "0"
    ONE = "1"
    MODICON = "modicon"

    def address(self, table: Table, number: int) -> int:
        """Give the address from 0. Raises ValueError for a number of another table."""
        if self is not AddressBase.MODICON:
            return number - (self is AddressBase.ONE)
        digit = _MODICON_DIGITS[table]
        for first, count in ((10000 * digit, 9999), (100000 * digit, 65536)):
            if first < number <= first + count:
                return number - first - 1
        raise ValueError(f"{number} is no {_WORD_OF_TABLE[table]} by Modicon's numbers")


class _Poll(NamedTuple):
    table: Table
    order: str
    start: int
    size: int


def _said(text: str, where: str) -> Iterator[tuple[str, list[str]]]:
    """Give the place and the cells of each row that says something."""
    rows = csv.reader(io.StringIO(text, newline=None))
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            if any(cells) and not cells[0].startswith("#"):
                yield f"{where}, line {rows.line_num}", cells
    except csv.Error as error:
        raise ConfigError(f"{where}, line {rows.line_num}", f"is not valid CSV: {error}") from None


def read(text: str, where: str, *, base: AddressBase, device: str | None = None) -> Imported:
    """Read the points of all devices, or of the one named `device`. Raises ConfigError."""
    found = Gathering()
    name, unit, poll = "", None, None
    for place, cells in _said(text, where):
        cells += [""] * (7 - len(cells))  # noqa: PLW2901
        match cells[0]:
            case "device":
                name, unit, poll = cells[1], _whole(place, "device", cells[2]), None
            case "poll":
                poll = _poll(place, cells, base)
            case "ref":
                if poll is None or unit is None:
                    raise ConfigError(place, "a ref comes after a device and a poll")
                if device in {None, name}:
                    _ref(place, cells, found, name=name, unit=unit, poll=poll, base=base)
            case kind:
                raise ConfigError(place, f"{kind!r} is no row of modpoll's", hint="rows are device, poll and ref")
    return found.result(where)


def write(points: Sequence[Point]) -> Exported:
    """Write points as a device for each unit, polled in as few requests as modpoll allows."""
    warnings = [
        f"left out, for it has no {point.encoding}: {point.name}" for point in points if _type(point.encoding) is None
    ]
    written = [point for point in points if _type(point.encoding) is not None]
    if unsaid := [point.name for point in written if point.unit_id is None]:
        warnings.append(f"names a unit for every device, and 1 is written for {listed(unsaid)}")
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    for unit in dict.fromkeys(point.unit_id for point in written):
        rows.writerow(["device", "fieldgate" if unit is None else f"fieldgate-{unit}", 1 if unit is None else unit])
        members = [point for point in written if point.unit_id == unit]
        for order in dict.fromkeys(_WORD_OF_ORDER[point.encoding.order] for point in members):
            alike = [point for point in members if _WORD_OF_ORDER[point.encoding.order] == order]
            coils = [Read(unit_id(1), point.table, point.cells, (point,)) for point in alike if point.table.is_bits]
            registers = [point for point in alike if not point.table.is_bits]
            for poll in (*coils, *plan(registers, unit=1, most_registers=_MOST_REGISTERS)):
                rows.writerows(_rows(poll, order))
    return Exported(text.getvalue(), (*warnings, *lost(written, CARRIED)))


def _rows(poll: Read, order: str) -> list[list[str | int | float]]:
    rows: list[list[str | int | float]] = [
        ["poll", _WORD_OF_TABLE[poll.table], poll.range.start, poll.range.count, order]
    ]
    for point in poll.points:
        address = f"{point.address}:{point.encoding.bit}" if point.encoding.type == "BIT" else point.address
        access = "rw" if point.writable else "r"
        scale = "" if point.scale == 1 else repr(point.scale)
        cells: list[str | int | float] = [
            "ref",
            point.name,
            address,
            _type(point.encoding) or "",
            access,
            point.unit,
            scale,
        ]
        while cells[-1] == "":
            cells.pop()
        rows.append(cells)
    return rows


def _type(encoding: Encoding) -> str | None:
    match encoding.type:
        case "BOOL" | "BIT":
            return "bool"
        case "STRING":
            return f"string{2 * encoding.length}" if encoding.order == "AB" else None
        case kind:
            return kind.lower() if kind.lower() in _TYPES else None


def _poll(where: str, cells: list[str], base: AddressBase) -> _Poll:
    if cells[1] not in _TABLES:
        raise ConfigError(where, f"{cells[1]!r} is no table of modpoll's", hint=f"known are {', '.join(_TABLES)}")
    order = cells[4].upper() or _ORDER_UNSAID
    if order not in _ORDERS:
        raise ConfigError(where, f"{cells[4]!r} is no byte order of modpoll's", hint=f"known are {', '.join(_ORDERS)}")
    table = _TABLES[cells[1]]
    with located(where):
        start = base.address(table, _whole(where, "start", cells[2]))
    return _Poll(table, _ORDERS[order], start, _whole(where, "size", cells[3]))


def _ref(  # noqa: PLR0913
    where: str, cells: list[str], found: Gathering, *, name: str, unit: int, poll: _Poll, base: AddressBase
) -> None:
    _, label, place, kind, access, text, scale, *rest = cells
    number, _, bit = place.partition(":")
    if any(rest):
        found.leave_out(where, f"left out: {', '.join(filter(None, rest))}")
    if kind in _BITS and not poll.table.is_bits and not bit:
        found.leave_out(where, f"{label} is left out: {kind} is several bits of a register under one name")
        return
    with located(where):
        point = Point(
            name=label,
            table=poll.table,
            address=base.address(poll.table, _whole(where, "address", number)),
            encoding=_encoding(where, poll, kind, bit),
            unit_id=unit,
            unit=text,
            scale=_scale(where, scale),
            writable="w" in access,
        )
        group = _coils(point, poll, _BITS[kind]) if poll.table.is_bits else [point]
    for member in group:
        found.add(where, member, [name])
    if len(group) > 1:
        found.leave_out(where, f"{label} is {len(group)} coils: {group[0].name} to {group[-1].name} here")


def _coils(point: Point, poll: _Poll, most: int) -> list[Point]:
    """Give the coils of a group: the address of a ref counts groups of eight from the poll's start."""
    first = poll.start + 8 * (point.address - poll.start)
    count = min(most, poll.start + poll.size - first)
    if point.address < poll.start or count < 1:
        raise ValueError(f"{point.name} lies outside its poll")
    if count == 1:
        return [replace(point, address=first)]
    return [replace(point, name=f"{point.name}_{index}", address=first + index) for index in range(count)]


def _encoding(where: str, poll: _Poll, kind: str, bit: str) -> Encoding:
    if poll.table.is_bits and kind in _BITS:
        return Encoding("BOOL")
    if kind == "bool":
        return Encoding("BIT", poll.order, bit=_whole(where, "bit", bit))
    if match := re.fullmatch(r"string([0-9]+)", kind):
        return Encoding("STRING", length=(int(match[1]) + 1) // 2)
    if kind not in _TYPES:
        hint = f"known are {', '.join(_TYPES)}, bool, string8"
        raise ConfigError(where, f"{kind!r} is no type of modpoll's", hint=hint)
    return Encoding(kind, poll.order)


def _whole(where: str, what: str, text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ConfigError(where, f"{what} must be a whole number, not {text!r}") from None


def _scale(where: str, text: str) -> float:
    try:
        return float(text or 1)
    except ValueError:
        raise ConfigError(where, f"scale must be a number, not {text!r}") from None
