"""What registers mean: value types and byte orders by Telegraf's names, and the way from registers to values; pure."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from fieldgate_core.byte_order import ORDERS, in_one_register, reorder

Value = int | float | str
"""What registers decode to: int for integers and bits, float, or str for STRING."""

_FORMATS = {
    "INT16": ">h",
    "UINT16": ">H",
    "INT32": ">i",
    "UINT32": ">I",
    "INT64": ">q",
    "UINT64": ">Q",
    "FLOAT16": ">e",
    "FLOAT32": ">f",
    "FLOAT64": ">d",
}
_STRUCTS = {name: struct.Struct(form) for name, form in _FORMATS.items()}
_HALVES = {"INT8L": (1, ">b"), "INT8H": (0, ">b"), "UINT8L": (1, ">B"), "UINT8H": (0, ">B")}
"""Where the byte lies in a big-endian register, and how it is read."""
TYPES = (*_HALVES, *_FORMATS, "STRING", "BIT", "BOOL")
"""All type names. BIT is one bit of a register; BOOL is a coil or a discrete input."""
TYPE_ALIASES = {
    "FLOAT": "FLOAT32",
    "DOUBLE": "FLOAT64",
    "FLOAT16-IEEE": "FLOAT16",
    "FLOAT32-IEEE": "FLOAT32",
    "FLOAT64-IEEE": "FLOAT64",
}
ORDER_ALIASES = {
    "big": "ABCD",
    "big endian": "ABCD",
    "little": "DCBA",
    "little endian": "DCBA",
    "byte swap": "BADC",
    "big endian byte swap": "BADC",
    "little endian word swap": "BADC",
    "word swap": "CDAB",
    "big endian word swap": "CDAB",
    "little endian byte swap": "CDAB",
}
"""What vendors call the orders. Two names for CDAB contradict each other in words only: the letters are what counts."""
_DIGITS = {"FLOAT16": (3, 5), "FLOAT32": (6, 9), "FLOAT64": (15, 17)}
"""Decimal digits that a type always keeps, and that always tell its values apart (IEEE 754)."""
MAX_STRING = 125
"""Registers that one read can ask for."""
HINT = f'a type ({", ".join(TYPES)}) and a byte order ({", ".join(ORDERS)}): "float32 CDAB"'


@dataclass(frozen=True, slots=True)
class Encoding:
    """A type and its byte order: ABCD big-endian, CDAB the low word first, BADC bytes swapped, DCBA both.

    Types and orders may be given in any case and by their aliases; types of one register keep AB or BA. `length` is
    the registers of a STRING, `bit` the bit of a BIT (0 the lowest); both are fixed for other types.
    Raises ValueError for names that are not known.
    """

    type: str
    order: str = "ABCD"
    length: int = 1
    bit: int = 0

    def __post_init__(self) -> None:
        kind = self.type.upper()
        kind = TYPE_ALIASES.get(kind, kind)
        if kind not in TYPES:
            raise ValueError(f"{self.type!r} is no type; known are {', '.join(TYPES)}")
        if not 1 <= self.length <= (MAX_STRING if kind == "STRING" else 1):
            most = f"1 to {MAX_STRING} registers" if kind == "STRING" else "no length of its own"
            raise ValueError(f"{kind} has {most}, not {self.length}")
        if not 0 <= self.bit <= (15 if kind == "BIT" else 0):
            raise ValueError(f"{kind} has {'bits 0 to 15' if kind == 'BIT' else 'no bits'}, not {self.bit}")
        object.__setattr__(self, "type", kind)
        object.__setattr__(self, "order", self._known(self.order))

    def _known(self, order: str) -> str:
        plain = re.sub(r"[\s_-]+", " ", order).strip()
        letters = ORDER_ALIASES.get(plain.lower(), plain.upper())
        one = self.type == "STRING" or self.registers == 1
        if letters not in ORDERS and not (one and letters in {"AB", "BA"}):
            raise ValueError(f"{order!r} is no byte order of {self.type}; known are {', '.join(ORDERS)}")
        if self.type == "BOOL":
            return "AB"
        return in_one_register(letters) if one else letters

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "float32 CDAB", "string 16" or "bit 3": a type, the length or bit, an order; ABCD where none is said.

        Raises ValueError for anything else.
        """
        match = re.fullmatch(r"\s*([A-Za-z][\w-]*)(?:\s+([0-9]+))?(?:\s+([A-Za-z].*?))?\s*", text)
        if not match:
            raise ValueError(f"{text!r} names no type")
        kind, number, order = match[1], match[2], match[3] or "ABCD"
        if number is None:
            return cls(kind, order)
        return cls(kind, order, bit=int(number)) if kind.upper() == "BIT" else cls(kind, order, length=int(number))

    def __str__(self) -> str:
        match self.type:
            case "STRING":
                return f"STRING {self.length} {self.order}"
            case "BIT":
                return f"BIT {self.bit} {self.order}"
            case "BOOL":
                return "BOOL"
            case _:
                return f"{self.type} {self.order}"

    @property
    def registers(self) -> int:
        """How many registers (or, for BOOL, coils) a value fills."""
        return _STRUCTS[self.type].size // 2 if self.type in _STRUCTS else self.length

    @property
    def is_float(self) -> bool:
        """True for the types that hold fractions."""
        return self.type.startswith("FLOAT")

    @property
    def is_writable(self) -> bool:
        """False for what fills a part of a register: to write it would write the rest too."""
        return self.type != "BIT" and self.type not in _HALVES

    def decode(self, words: Sequence[int]) -> Value:
        """Give the value of registers (0 to 65535) in wire order; a float may be a NaN or an infinity.

        STRING is one character a byte (Latin-1) up to the first zero byte. BOOL takes one coil, 0 or 1.
        Raises ValueError when the number of words is not `registers`.
        """
        if len(words) != self.registers:
            raise ValueError(f"{self} fills {_registers(self.registers)}, not {len(words)}")
        if self.type == "BOOL":
            return int(bool(words[0]))
        data = b"".join(word.to_bytes(2, "big") for word in words)
        if self.type == "STRING":
            return self._each_register(data).partition(b"\0")[0].decode("latin-1")
        data = reorder(data, self.order)
        if self.type == "BIT":
            return int.from_bytes(data, "big") >> self.bit & 1
        if self.type in _HALVES:
            at, form = _HALVES[self.type]
            half: int = struct.unpack_from(form, data, at)[0]
            return half
        value: Value = _STRUCTS[self.type].unpack(data)[0]
        return value

    def encode(self, value: Value) -> list[int]:
        """Give the registers of a value, in wire order; a BOOL gives one 0 or 1.

        Raises ValueError for a value that the type does not hold (too large, a fraction in an integer, NaN, infinity,
        text that is too long), and for a type that fills a part of a register only.
        """
        if not self.is_writable:
            raise ValueError(f"{self.type} fills a part of a register, and a register is written whole")
        data = self._text_bytes(value) if self.type == "STRING" else self._number_bytes(value)
        return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]

    def text(self, value: Value) -> str:
        """Write a value with the fewest digits that still give the same registers: 123.456 for a FLOAT32."""
        if not isinstance(value, float) or not self.is_float or not math.isfinite(value):
            return str(value)
        least, most = _DIGITS[self.type]
        texts = (f"{value:.{digits}g}" for digits in range(least, most))
        packed = _STRUCTS[self.type].pack(value)
        # rounding up the largest values of a type would leave it
        return next((text for text in texts if self._holds(float(text), packed)), f"{value:.{most}g}")

    def _holds(self, value: float, packed: bytes) -> bool:
        try:
            return _STRUCTS[self.type].pack(value) == packed
        except OverflowError:
            return False

    def _number_bytes(self, value: Value) -> bytes:
        if isinstance(value, str):
            raise ValueError(f"{value!r} is text, and {self.type} holds numbers")  # noqa: TRY004
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{value} is no value to write")
        if not self.is_float:
            value = self._whole(value)
        try:
            data = _STRUCTS.get(self.type, _STRUCTS["UINT16"]).pack(value)
        except (struct.error, OverflowError):
            raise ValueError(f"{value} does not fit into {self.type}{self._bounds()}") from None
        return reorder(data, self.order)

    def _whole(self, value: float) -> int:
        whole = int(value)
        if value != whole:
            raise ValueError(f"{value} is no whole number, and {self.type} holds no other")
        if self.type == "BOOL" and whole not in {0, 1}:
            raise ValueError(f"{value} is neither 0 nor 1")
        return whole

    def _bounds(self) -> str:
        if self.is_float:
            return ""
        bits = 16 * self.registers
        low, high = (0, 2**bits - 1) if self.type.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return f" ({low} to {high})"

    def _text_bytes(self, value: Value) -> bytes:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is no text, and STRING holds no other")  # noqa: TRY004
        try:
            data = value.encode("latin-1")
        except UnicodeEncodeError:
            raise ValueError(f"{value!r} has characters that are no single byte") from None
        if b"\0" in data:
            raise ValueError(f"{value!r} has a zero byte, which would end it")
        if len(data) > 2 * self.length:
            raise ValueError(f"{value!r} is longer than {2 * self.length} characters")
        return self._each_register(data.ljust(2 * self.length, b"\0"))

    def _each_register(self, data: bytes) -> bytes:
        """Swap the bytes of each register of a text, if its order asks for it; text has no order of words."""
        return reorder(data, "BADC") if self.order == "BA" else data


def _registers(count: int) -> str:
    return "1 register" if count == 1 else f"{count} registers"
