"""Numbers that fill one to four registers, by the type names and byte orders of field tools; pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from struct import Struct, error, pack
from typing import NamedTuple

from fieldgate_core.byte_order import ORDERS, reorder

_FORMATS = {
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "int64": ">q",
    "uint64": ">Q",
    "float32": ">f",
    "float64": ">d",
}
_STRUCTS = {name: Struct(form) for name, form in _FORMATS.items()}
_SHORT_ORDERS = {"": "ABCD", "AB": "ABCD", "BA": "DCBA"}
"""What a type of one register may say instead."""
_NUMBER = "-?[0-9]+(?:[.][0-9]+)?"
HINT = f'a type ({", ".join(_FORMATS)}) and a byte order ({", ".join(ORDERS)}): "float32 CDAB"'


class Number(NamedTuple):
    """A type and the order of its bytes: ABCD big-endian; CDAB the low word first; BADC bytes swapped; DCBA both."""

    type: str
    order: str

    def __str__(self) -> str:
        return f"{self.type} {self.order}"

    @property
    def registers(self) -> int:
        """How many registers a value fills."""
        return _STRUCTS[self.type].size // 2

    @property
    def is_whole(self) -> bool:
        """True for the integers."""
        return not self.type.startswith("float")

    def decode(self, registers: Sequence[int]) -> float | None:
        """Give the value of registers in wire order; None for a NaN, an infinity, or registers that aren't known."""
        if any(register < 0 for register in registers):
            return None
        data = reorder(pack(f">{len(registers)}H", *registers), self.order)
        value: float = _STRUCTS[self.type].unpack(data)[0]
        return value if math.isfinite(value) else None

    def encode(self, value: float) -> tuple[int, ...]:
        """Give the registers of a value. Raises ValueError for one that the type does not hold."""
        data = reorder(self._pack(value), self.order)
        return tuple(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))

    def value(self, text: str) -> float:
        """Read a value as the type holds it. Raises ValueError for what is no number, or does not fit."""
        if not re.fullmatch(_NUMBER, text.strip()):
            raise ValueError(f"{text.strip()!r} is no number")
        if self.is_whole and "." in text:
            raise ValueError(f"{text.strip()} is no whole number, and {self.type} holds no other")
        # a limit of 0.1 means the float32 that a client sends for 0.1
        packed = self._pack(int(text) if self.is_whole else float(text))
        value: float = _STRUCTS[self.type].unpack(packed)[0]
        return value

    def text(self, value: float) -> str:
        """Write a value with the digits that its type holds."""
        digits = {"float32": ".7g", "float64": ".15g"}.get(self.type, "")
        return format(value, digits)

    def _pack(self, value: float) -> bytes:
        try:
            packed = _STRUCTS[self.type].pack(value)
        except (error, OverflowError):
            raise ValueError(f"{value} does not fit into {self.type}") from None
        if not math.isfinite(_STRUCTS[self.type].unpack(packed)[0]):
            raise ValueError(f"{value} does not fit into {self.type}")
        return packed


PLAIN = Number("uint16", "ABCD")
"""What a register holds where nothing else is said."""


def parse(text: str) -> Number:
    """Read "float32 CDAB", in any case. Raises ValueError for what names no type, or leaves the order of words open."""
    word, _, order = text.strip().partition(" ")
    kind, order = word.lower(), order.strip().upper()
    if kind not in _STRUCTS:
        raise ValueError(f"{text!r} names no type")
    number = Number(kind, order)
    if number.registers == 1:
        number = Number(kind, _SHORT_ORDERS.get(order, order))
    if number.order not in ORDERS:
        raise ValueError(f"{text!r} names no byte order")
    return number


def limits(text: str, number: Number) -> tuple[float, float]:
    """Read "0..500" or "-10.5..50". Raises ValueError for what is no limit, or lies outside the type."""
    match = re.fullmatch(rf"\s*({_NUMBER})\s*\.\.\s*({_NUMBER})\s*", text)
    if not match:
        raise ValueError(f"{text!r} is no limit")
    try:
        low, high = number.value(match[1]), number.value(match[2])
    except ValueError as fault:
        raise ValueError(f"{text!r} is no limit: {fault}") from None
    if low > high:
        raise ValueError(f"{text!r} is no limit: the lowest value comes first")
    return low, high
