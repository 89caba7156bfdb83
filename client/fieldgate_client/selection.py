"""What a command names by mbpoll's letters: units, a table and a type, references and counts, as points; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from fieldgate_client.points import Point
from fieldgate_client.values import HINT, Encoding, Value
from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import ADDRESSES, Table, UnitId, unit_id

TABLES = {"0": Table.COILS, "1": Table.DISCRETE, "3": Table.INPUT, "4": Table.HOLDING}
"""mbpoll's digits for the tables."""
_OWN_ORDER = {"int": "INT32", "float": "FLOAT32"}
# what mbpoll means by little endian: the low word first, each word as the wire has it
_LOW_WORD_FIRST, _HIGH_WORD_FIRST = "CDAB", "ABCD"


class Style(Enum):
    """How a number is written: as it is, in hexadecimal, or as a word of no type, high ones with their sign too."""

    PLAIN = "plain"
    HEX = "hex"
    WORD = "word"


class Item(NamedTuple):
    """A point and how it was named: `reference` where by a number, None where by its name."""

    point: Point
    unit: UnitId
    reference: int | None = None
    style: Style = Style.PLAIN

    @property
    def label(self) -> str:
        """The name, or the reference in mbpoll's brackets."""
        return self.point.name if self.reference is None else f"[{self.reference}]"

    def text(self, value: Value) -> str:
        """Write a value as a person reads it, without its unit of measure."""
        if self.style is Style.HEX and isinstance(value, int):
            return f"0x{value:04X}"
        if self.reference is None or isinstance(value, str):
            return self.point.text(value)
        return self.point.encoding.text(value)


@dataclass(frozen=True)
class Kind:
    """A table, and what its cells hold."""

    table: Table
    encoding: Encoding
    style: Style = Style.PLAIN


def kind(letter: str, *, order: str | None = None, big: bool = False) -> Kind:
    """Read what follows -t: 0, 1, 3 or 4, and after a colon hex, int, float or a type as Telegraf names it.

    `int` and `float` are mbpoll's: 32 bits, the low word first unless `big` (-B); all others are ABCD. `order`
    overrides both. "4:string:16" is a text of 16 registers, "4:bit:3" one bit of a register. Raises ConfigError.
    """
    digit, _, named = letter.partition(":")
    if digit not in TABLES:
        raise ConfigError(f"-t {letter}", "0 is coil, 1 discrete input, 3 input register, 4 holding register")
    if big and order:
        raise ConfigError("-B", f"and --order {order} both name a byte order", hint="-B is --order ABCD")
    table = TABLES[digit]
    if table.is_bits:
        if named or order or big:
            raise ConfigError(f"-t {letter}", "a single bit has no type and no byte order")
        return Kind(table, Encoding("BOOL"))
    try:
        if named.lower() in _OWN_ORDER:
            own = _HIGH_WORD_FIRST if big else _LOW_WORD_FIRST
            return Kind(table, Encoding(_OWN_ORDER[named.lower()], order or own))
        if named.lower() in {"", "hex"}:
            return Kind(table, Encoding("UINT16", order or "AB"), Style.HEX if named else Style.WORD)
        return Kind(table, Encoding.parse(f"{named.replace(':', ' ')} {order or ''}"))
    except ValueError as error:
        raise ConfigError(f"-t {letter}", str(error), hint=f"hex, int, float, or {HINT}") from None


def units(text: str) -> list[UnitId]:
    """Read mbpoll's list of units: "32,33,36:40" are 32, 33 and 36 to 40. Raises ConfigError."""
    found: list[UnitId] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,3})(?::(\d{1,3}))?", part.strip())
        if not match:
            raise ConfigError(f"-a {text}", f"{part!r} is neither a unit nor a range of units", hint="as 1 or 32,36:40")
        first, last = int(match[1]), int(match[2] or match[1])
        try:
            found += [unit_id(number) for number in range(first, last + 1)] or [unit_id(-1)]
        except ValueError:
            problem = f"{part} is no range of units" if first > last else "a unit identifier is 0 to 255"
            raise ConfigError(f"-a {text}", problem) from None
    return list(dict.fromkeys(found))


def items(of: list[UnitId], what: Kind, reference: int, count: int, *, base: int) -> list[Item]:
    """Name `count` values from a reference on, of each unit; `base` is the reference of address 0.

    Raises ConfigError for references that do not lie within the table.
    """
    size = what.encoding.registers
    last = ADDRESSES - 1 + base
    if not base <= reference <= last:
        hint = "references count from 1; -0 counts from 0" if reference == 0 else ""
        raise ConfigError(f"-r {reference}", f"a reference is {base} to {last}", hint=hint)
    if not 1 <= count <= ADDRESSES:
        raise ConfigError(f"-c {count}", f"a count is 1 to {ADDRESSES}")
    if reference + count * size - 1 > last:
        cells = f"{count} values" if size == 1 else f"{count} values of {size} registers"
        raise ConfigError(f"-r {reference}", f"{cells} from here go past {last}, the last one")
    return [
        Item(_point(what, place, base), unit, place, what.style)
        for unit in of
        for place in range(reference, reference + count * size, size)
    ]


def _point(what: Kind, reference: int, base: int) -> Point:
    return Point(
        str(reference),
        what.table,
        reference - base,
        what.encoding,
        writable=what.table in {Table.COILS, Table.HOLDING} and what.encoding.is_writable,
    )


def named(points: list[Point], unit: int) -> list[Item]:
    """Make items of points; `unit` is that of points which name none."""
    return [Item(point, unit_id(unit if point.unit_id is None else point.unit_id)) for point in points]
