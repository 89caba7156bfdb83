"""How the four tables share their cells, and in which tables a cell is seen; pure."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from fieldgate_core.modbus import ADDRESSES, File, Space, Table

PACKED_REGISTERS = 4096
"""Registers of an overlaid unit that hold the 65,536 coils, 16 each: coil 0 is bit 0 of register 0."""


class Layout(StrEnum):
    """Separate: four tables. Unified: coils are the discrete inputs, holding registers the input registers.

    Overlaid: unified, and coils are the bits of registers 0 to 4095.
    """

    SEPARATE = "separate"
    UNIFIED = "unified"
    OVERLAID = "overlaid"


class Cells(NamedTuple):
    """`quantity` cells from `start` of a table or file."""

    space: Space
    start: int
    quantity: int

    def __str__(self) -> str:
        last = self.start + self.quantity - 1
        return f"{self.space} {self.start}" if self.quantity == 1 else f"{self.space} {self.start}-{last}"


_TWIN = {
    Table.COILS: Table.DISCRETE,
    Table.DISCRETE: Table.COILS,
    Table.HOLDING: Table.INPUT,
    Table.INPUT: Table.HOLDING,
}


def views(layout: Layout, cells: Cells) -> tuple[Cells, ...]:
    """Name the same storage as every table shows it, `cells` themselves first."""
    space, start, count = cells
    if layout is Layout.SEPARATE or isinstance(space, File):
        return (cells,)
    both = (cells, Cells(_TWIN[space], start, count))
    if layout is Layout.UNIFIED:
        return both
    if space.is_bits:
        # coils past the last address are in no register: they count as covered
        first, last = start >> 4, (min(start + count, ADDRESSES) - 1) >> 4
        return (
            *both,
            Cells(Table.HOLDING, first, last - first + 1),
            Cells(Table.INPUT, first, last - first + 1),
        )
    packed = min(start + count, PACKED_REGISTERS) - start
    if packed <= 0:
        return both
    return (*both, Cells(Table.COILS, start << 4, packed << 4), Cells(Table.DISCRETE, start << 4, packed << 4))
