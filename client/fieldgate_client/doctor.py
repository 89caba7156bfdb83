"""What a few registers may mean: every type, byte order and off-by-one, and which readings look plausible; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fieldgate_client.values import Encoding, Value
from fieldgate_core.modbus import ADDRESSES, AddressRange, Table

SHIFTS = (0, -1, 1)
"""The address as it is; one less, for a manual that counts from 1; one more, for a device that does."""
WIDEST = 4
"""Registers of the widest type that is tried."""
ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
TYPES = ("INT16", "UINT16", "INT32", "UINT32", "FLOAT32", "INT64", "UINT64", "FLOAT64", "STRING")
RULES = """\
plausible is: a float from 0.001 to 10000000 (more so with few digits); a 32-bit
integer up to a hundred million, or a 64-bit one up to 10^15, that needs its
width; a 16-bit integer up to 10000; a text of four printable characters or
more. Nothing is said of zeros, nor of what stands for "not available": NaN,
7FFF, 8000 and FFFF."""
_FLOATS = (1e-3, 1e7)
_FEW_DIGITS = 6
_INTEGERS = {1: (1, 10_000), 2: (2**15, 10**8), 4: (2**31, 10**15)}
"""Least and greatest magnitude of a plausible integer, by registers: less would fit into half of them."""
_NOT_AVAILABLE = frozenset({0x7FFF, 0x8000, 0xFFFF})


class Reading(NamedTuple):
    """One way to read registers; `likely` 0 is not plausible, more is more so, and `why` says it in words."""

    table: Table
    address: int
    shift: int
    encoding: Encoding
    value: Value
    likely: int
    why: str


def window(address: int) -> AddressRange:
    """Give the registers to read around an address, all shifts and types in it."""
    first, last = max(0, address + min(SHIFTS)), min(ADDRESSES - 1, address + max(SHIFTS) + WIDEST - 1)
    return AddressRange(first, last - first + 1)


def readings(address: int, registers: Mapping[Table, Mapping[int, int]]) -> list[Reading]:
    """Give every reading of the registers that could be read (by table and address), address as given first."""
    found = []
    for table, held in registers.items():
        for shift in SHIFTS:
            for encoding in _encodings():
                cells = range(address + shift, address + shift + encoding.registers)
                if all(cell in held for cell in cells):
                    words = [held[cell] for cell in cells]
                    value = encoding.decode(words)
                    likely, why = _judge(encoding, value, words)
                    # a reading right where it was looked for needs the fewest excuses
                    likely = likely and likely + (shift == 0) + (encoding.order in {"ABCD", "AB"})
                    found.append(Reading(table, address + shift, shift, encoding, value, likely, why))
    return found


def plausible(found: Sequence[Reading]) -> list[Reading]:
    """Give the plausible readings, the most plausible first."""
    return sorted((reading for reading in found if reading.likely), key=lambda reading: -reading.likely)


def modicon(address: int) -> tuple[Table, int] | None:
    """Give table and address of a number that looks like one of Modicon's: 40001 is holding register 0."""
    for digit, table in ((4, Table.HOLDING), (3, Table.INPUT)):
        if 10_000 * digit < address < 10_000 * (digit + 1):
            return table, address - 10_000 * digit - 1
    return None


def _encodings() -> list[Encoding]:
    made = []
    for kind in TYPES:
        length = WIDEST if kind == "STRING" else 1
        for order in ORDERS:
            encoding = Encoding(kind, order, length)
            if encoding not in made:
                made.append(encoding)
    return made


def _judge(encoding: Encoding, value: Value, words: Sequence[int]) -> tuple[int, str]:
    if not any(words):
        return 0, "all zero, which says nothing"
    if isinstance(value, str):
        text = value.rstrip(" ")
        good = len(text) >= 4 and text.isascii() and text.isprintable() and any(map(str.isalpha, text))
        return (4, "printable text") if good else (0, "no text")
    if encoding.is_float:
        return _judge_float(encoding, value, words)
    if encoding.registers == 1 and words[0] in _NOT_AVAILABLE:
        return 0, 'stands for "not available" in many devices'
    least, most = _INTEGERS[encoding.registers]
    if abs(value) > most:
        return 0, "improbably large"
    if abs(value) < least:
        return 0, "would fit into half the registers"
    return (1, "of usual size") if encoding.registers == 1 else (2, "of usual size, and needs its width")


def _judge_float(encoding: Encoding, value: float, words: Sequence[int]) -> tuple[int, str]:
    if not math.isfinite(value):
        return 0, 'not a number: many devices say "not available" so'
    least, most = _FLOATS
    if not least <= abs(value) <= most:
        return 0, "improbably small" if abs(value) < least else "improbably large"
    digits = len(encoding.text(value).partition("e")[0].replace("-", "").replace(".", "").strip("0"))
    if digits > _FEW_DIGITS:
        return 3, "of usual size"
    # half a number beside a zero has few digits too
    return (8, "of usual size, with few digits") if all(words) else (4, "of usual size, with a register of zero")
