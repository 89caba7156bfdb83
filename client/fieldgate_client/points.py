"""Points: names for what registers and coils mean, and the way between them and engineering values; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal, InvalidOperation

from fieldgate_client.values import Encoding, Value
from fieldgate_core.modbus import ADDRESSES, AddressRange, Table, unit_id

# 20 digits of a 64-bit integer times 17 of a scale: nothing is rounded on the way
_EXACT = Context(prec=60)
_WORDS = {"1": 1, "on": 1, "true": 1, "0": 0, "off": 0, "false": 0}
_TABLE_WORDS = {"coil": Table.COILS, "discrete": Table.DISCRETE, "holding": Table.HOLDING, "input": Table.INPUT}
WORD_OF_TABLE = {table: word for word, table in _TABLE_WORDS.items()}
"""Telegraf's word for each table."""


def table_of(word: str) -> Table:
    """Give the table of Telegraf's word: coil, discrete, holding or input. Raises ValueError for another."""
    try:
        return _TABLE_WORDS[word.lower()]
    except KeyError:
        raise ValueError(f"{word!r} is no table; known are {', '.join(_TABLE_WORDS)}") from None


@dataclass(frozen=True, slots=True)
class Point:
    """What cells at an address mean; `address` counts from 0, as in the PDU. Raises ValueError for what cannot be.

    value = registers as `encoding` says * `scale` + `offset`, in `unit` (text). `low` and `high` limit what is
    written, in the same unit. `precision` is the number of decimals that are shown; None shows all.
    `unit_id` None is the unit of the site.
    """

    name: str
    table: Table
    address: int
    encoding: Encoding = field(default_factory=lambda: Encoding("UINT16"))
    unit_id: int | None = None
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    low: float | None = None
    high: float | None = None
    precision: int | None = None
    writable: bool = False
    description: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.unit_id is not None:
            unit_id(self.unit_id)
        if self.table.is_bits is not (self.encoding.type == "BOOL"):
            raise ValueError("coils and discrete inputs are BOOL, and registers are not")
        if not 0 <= self.address <= ADDRESSES - self.encoding.registers:
            raise ValueError(f"address {self.address} does not lie within 0 to {ADDRESSES - self.encoding.registers}")
        self._check_numbers()
        if self.precision is not None and not 0 <= self.precision <= 15:
            raise ValueError(f"precision is 0 to 15 decimals, not {self.precision}")
        if self.writable and self.table not in {Table.COILS, Table.HOLDING}:
            raise ValueError("discrete inputs and input registers are never written")
        if self.writable and not self.encoding.is_writable:
            raise ValueError(f"{self.encoding.type} is a part of a register, and is never written")
        if any(text != text.strip() or not text.isprintable() for text in (self.unit, self.description)):
            raise ValueError("unit and description are one line of printable text, without spaces at its ends")

    def _check_numbers(self) -> None:
        given = [number for number in (self.scale, self.offset, self.low, self.high) if number is not None]
        if not all(map(math.isfinite, given)) or not self.scale:
            raise ValueError("scale, offset and limits are finite numbers, and scale is not 0")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        if not self.is_number and (self.is_scaled or len(given) > 2 or self.precision is not None):
            raise ValueError(f"{self.encoding.type} has no scale, offset, limits or precision")

    @property
    def is_number(self) -> bool:
        """False for texts and single bits."""
        return self.encoding.type not in {"STRING", "BIT", "BOOL"}

    @property
    def is_scaled(self) -> bool:
        """True where the value is not what the registers hold as they are."""
        return (self.scale, self.offset) != (1.0, 0.0)

    @property
    def cells(self) -> AddressRange:
        """The cells that the point fills."""
        return AddressRange(self.address, self.encoding.registers)

    def decode(self, words: Sequence[int]) -> Value:
        """Give the value of registers in wire order (or of one coil), 42.5 for 425 with a scale of 0.1.

        Whole numbers with whole scale and offset stay int. A float is what its shortest text says: 123.456, not
        123.45600128173828. NaN and infinities stay what they are.
        """
        raw = self.encoding.decode(words)
        if isinstance(raw, str) or not self.is_number or not math.isfinite(raw):
            return raw
        text = self.encoding.text(raw)
        if not self.is_scaled:
            return raw if isinstance(raw, int) else float(text)
        value = _EXACT.fma(Decimal(text), _decimal(self.scale), _decimal(self.offset))
        if isinstance(raw, int) and self.scale.is_integer() and self.offset.is_integer():
            return int(value)
        return float(value)

    def encode(self, value: Value | Decimal) -> list[int]:
        """Give the registers for a value, in wire order; exactly 425 for 42.5 with a scale of 0.1.

        Raises ValueError for a value outside the limits, of no step of the scale, or that the type does not hold.
        Whether the point is writable is for the caller to ask.
        """
        if isinstance(value, str) or not self.is_number:
            if isinstance(value, Decimal):
                value = int(value) if value == int(value) else float(value)
            return self.encoding.encode(value)
        exact = _decimal(value)
        if not exact.is_finite():
            raise ValueError(f"{value} is no value to write")
        self._check_limits(exact)
        if self.encoding.is_float:
            return self.encoding.encode(float(self._raw(exact)) if self.is_scaled else float(value))
        step = int(self._raw(exact).to_integral_value())
        if self._is_step(exact, step):
            return self.encoding.encode(step)
        raise ValueError(self._between_steps(exact))

    def parse(self, text: str) -> Value | Decimal:
        """Read a value as a person writes it: a number, on, off, true or false for one bit, or any text for STRING.

        Raises ValueError for anything else.
        """
        if self.encoding.type == "STRING":
            return text
        if not self.is_number:
            if text.lower() not in _WORDS:
                raise ValueError(f"{text!r} is none of {', '.join(_WORDS)}")
            return _WORDS[text.lower()]
        try:
            number = _decimal(int(text, 16) if text.lower().startswith("0x") else text.strip())
        except (ValueError, InvalidOperation):
            raise ValueError(f"{text!r} is no number") from None
        if not number.is_finite():
            raise ValueError(f"{text!r} is no value to write")
        return number

    def text(self, value: Value) -> str:
        """Write a value for a person, with `precision` decimals where the point has one; without its unit."""
        if isinstance(value, str) or self.precision is None or not math.isfinite(value):
            return str(value)
        return f"{value:.{self.precision}f}"

    @property
    def _line(self) -> tuple[Decimal, Decimal]:
        return _decimal(self.scale), _decimal(self.offset)

    def _raw(self, value: Decimal) -> Decimal:
        scale, offset = self._line
        return _EXACT.divide(_EXACT.subtract(value, offset), scale)

    def _is_step(self, value: Decimal, step: int) -> bool:
        """Tell whether a value is what `decode` gives for a step, or as near as fifteen digits tell."""
        meant = _EXACT.fma(Decimal(step), *self._line)
        if self.scale.is_integer() and self.offset.is_integer():
            return meant == value
        return f"{float(meant):.15g}" == f"{float(value):.15g}"

    def _check_limits(self, value: Decimal) -> None:
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        if not _decimal(low) <= value <= _decimal(high):
            raise ValueError(f"{value} is outside the limits {low:g} to {high:g}{self.unit and ' '}{self.unit}")

    def _between_steps(self, value: Decimal) -> str:
        below = math.floor(self._raw(value))
        near = sorted(float(_EXACT.fma(Decimal(step), *self._line)) for step in (below, below + 1))
        return f"{value} lies between two steps of {self.scale:g}: write {near[0]:.15g} or {near[1]:.15g}"


def overlaps(points: Iterable[Point]) -> list[tuple[Point, Point]]:
    """Give the pairs of points whose cells overlap in part: one of the two is likely to be wrong."""
    ordered = sorted(points, key=lambda point: (point.unit_id or 0, point.table, point.address))
    return [
        (one, other)
        for at, one in enumerate(ordered)
        for other in ordered[at + 1 : at + 126]
        if (one.unit_id, one.table) == (other.unit_id, other.table)
        and one.address <= other.address <= one.cells.last
        and one.cells != other.cells
        and "BIT" not in {one.encoding.type, other.encoding.type}
    ]


def _decimal(number: float | str | Decimal) -> Decimal:
    return Decimal(repr(number) if isinstance(number, float) else number)


def _check_name(name: str) -> None:
    if not name or name != name.strip() or not name.isprintable():
        raise ValueError(f"{name!r} is no name: one line of printable text, without spaces at its ends")
    if "=" in name or name.startswith("-"):
        raise ValueError(f"{name!r} is no name: it holds no '=' and does not begin with '-'")
