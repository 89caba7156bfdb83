"""The tables of a unit, kept in wire order, so that a read is a slice."""

from __future__ import annotations


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
    """Single bits, packed eight a byte with the lowest address in the lowest bit, as on the wire. `size` in bits."""

    __slots__ = ("_data", "size")

    def __init__(self, size: int, initial: bytes) -> None:
        self._data = bytearray(initial)
        self.size = size

    def read(self, start: int, count: int) -> bytes:
        """Give the `count` bits from `start`, packed; unused bits of the last byte are 0."""
        first, shift = start >> 3, start & 7
        window = int.from_bytes(self._data[first : (start + count + 7) >> 3], "little")
        return ((window >> shift) & ((1 << count) - 1)).to_bytes((count + 7) >> 3, "little")

    def write(self, start: int, count: int, values: bytes) -> None:
        """Set `count` bits from `start` from packed `values`; unused bits of the last byte are ignored."""
        first, last, shift = start >> 3, (start + count + 7) >> 3, start & 7
        mask = ((1 << count) - 1) << shift
        window = int.from_bytes(self._data[first:last], "little") & ~mask
        window |= (int.from_bytes(values, "little") << shift) & mask
        self._data[first:last] = window.to_bytes(last - first, "little")


def registers(size: int, initial: list[int]) -> RegisterTable:
    """Make `size` registers; a single initial value fills all, a longer list sets the first ones, the rest are 0.

    Raises ValueError for values outside 0 to 65535 or more values than registers.
    """
    values = _spread(size, initial, 0xFFFF)
    return RegisterTable(b"".join(value.to_bytes(2, "big") for value in values))


def bits(size: int, initial: list[int]) -> BitTable:
    """Make `size` bits; initial values 0 or 1, spread as in `registers`."""
    values = _spread(size, initial, 1)
    packed = bytearray((size + 7) // 8)
    for index, value in enumerate(values):
        packed[index >> 3] |= value << (index & 7)
    return BitTable(size, bytes(packed))


def _spread(size: int, initial: list[int], highest: int) -> list[int]:
    if len(initial) > max(size, 1):
        raise ValueError(f"{len(initial)} initial values for a table of {size}")
    for value in initial:
        if not 0 <= value <= highest:
            raise ValueError(f"initial value {value} is not 0 to {highest}")
    if len(initial) == 1:
        return initial * size
    return initial + [0] * (size - len(initial))
