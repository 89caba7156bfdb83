"""The tables of a unit, kept in wire order, so that a read is a slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Bits(Protocol):
    """Single bits, packed on the wire eight a byte with the lowest address in the lowest bit. `size` in bits."""

    size: int

    def read(self, start: int, count: int) -> bytes:
        """Give the `count` bits from `start`, packed; unused bits of the last byte are 0."""

    def write(self, start: int, count: int, values: bytes) -> None:
        """Set `count` bits from `start` from packed `values`; unused bits of the last byte are ignored."""


class RegisterTable:
    """16-bit registers, big-endian as on the wire. `size` in registers."""

    __slots__ = ("_data", "size")

    def __init__(self, initial: bytes) -> None:
        self._data = bytearray(initial)
        self.size = len(initial) // 2

    def read(self, start: int, count: int) -> bytes:
        """Give the `count` registers from `start`, two bytes each."""
        return bytes(self._data[2 * start : 2 * (start + count)])

    def write(self, start: int, count: int, values: bytes) -> None:
        """Set `count` registers from `start`; `values` holds two bytes for each."""
        self._data[2 * start : 2 * (start + count)] = values


class BitTable:
    """Bits with storage of their own, kept as they are packed on the wire."""

    __slots__ = ("_data", "size")

    def __init__(self, size: int, initial: bytes) -> None:
        self._data = bytearray(initial)
        self.size = size

    def read(self, start: int, count: int) -> bytes:
        first, shift = start >> 3, start & 7
        window = int.from_bytes(self._data[first : (start + count + 7) >> 3], "little")
        return ((window >> shift) & ((1 << count) - 1)).to_bytes((count + 7) >> 3, "little")

    def write(self, start: int, count: int, values: bytes) -> None:
        first, last, shift = start >> 3, (start + count + 7) >> 3, start & 7
        mask = ((1 << count) - 1) << shift
        window = int.from_bytes(self._data[first:last], "little") & ~mask
        window |= (int.from_bytes(values, "little") << shift) & mask
        self._data[first:last] = window.to_bytes(last - first, "little")


class PackedBits:
    """Bits that are the registers of another table: bit `n` is bit `n % 16` of register `n // 16`."""

    __slots__ = ("_registers", "size")

    def __init__(self, registers: RegisterTable, size: int) -> None:
        """`size` in bits; the registers must hold that many."""
        self._registers = registers
        self.size = size

    def read(self, start: int, count: int) -> bytes:
        first, last, shift = start >> 4, (start + count + 15) >> 4, start & 15
        window = self._window(first, last - first)
        return ((window >> shift) & ((1 << count) - 1)).to_bytes((count + 7) >> 3, "little")

    def write(self, start: int, count: int, values: bytes) -> None:
        first, data = self.registers_after(start, count, values)
        self._registers.write(first, len(data) >> 1, data)

    def registers_after(self, start: int, count: int, values: bytes) -> tuple[int, bytes]:
        """Give the first register that such a write changes, and what it and those after it would hold."""
        first, last, shift = start >> 4, (start + count + 15) >> 4, start & 15
        mask = ((1 << count) - 1) << shift
        window = self._window(first, last - first) & ~mask
        window |= (int.from_bytes(values, "little") << shift) & mask
        return first, _swapped(window.to_bytes(2 * (last - first), "little"))

    def _window(self, first: int, count: int) -> int:
        return int.from_bytes(_swapped(self._registers.read(first, count)), "little")


def _swapped(data: bytes) -> bytes:
    """Swap the two bytes of every register: bits count from the low byte, the wire has the high one first."""
    swapped = bytearray(data)
    swapped[0::2], swapped[1::2] = data[1::2], data[0::2]
    return bytes(swapped)


def registers(size: int, initial: Sequence[int] | int = 0) -> RegisterTable:
    """Make `size` registers; a single initial value fills all, several set the first ones, the rest are 0.

    Raises ValueError for values outside 0 to 65535 or more values than registers.
    """
    if isinstance(initial, int):
        return RegisterTable(_checked(initial, 0xFFFF).to_bytes(2, "big") * size)
    data = b"".join(_checked(value, 0xFFFF).to_bytes(2, "big") for value in _fitting(size, initial))
    return RegisterTable(data.ljust(2 * size, b"\0"))


def bits(size: int, initial: Sequence[int] | int = 0) -> BitTable:
    """Make `size` bits; initial values 0 or 1, spread as in `registers`."""
    room = (size + 7) // 8
    if isinstance(initial, int):
        return BitTable(size, (b"\xff" if _checked(initial, 1) else b"\0") * room)
    values = [_checked(value, 1) for value in _fitting(size, initial)]
    return BitTable(size, pack_bits(values).ljust(room, b"\0"))


def pack_bits(values: Sequence[int]) -> bytes:
    """Pack bits as on the wire: eight a byte, the first in the lowest bit."""
    packed = bytearray((len(values) + 7) // 8)
    for index, value in enumerate(values):
        packed[index >> 3] |= value << (index & 7)
    return bytes(packed)


def unpack_bits(data: bytes, count: int) -> tuple[int, ...]:
    """Give the first `count` bits of packed ones."""
    return tuple(data[at >> 3] >> (at & 7) & 1 for at in range(count))


def _fitting(size: int, initial: Sequence[int]) -> Sequence[int]:
    if len(initial) > size:
        raise ValueError(f"{len(initial)} initial values for a table of {size}")
    return initial


def _checked(value: int, highest: int) -> int:
    if not 0 <= value <= highest:
        raise ValueError(f"initial value {value} is not 0 to {highest}")
    return value
