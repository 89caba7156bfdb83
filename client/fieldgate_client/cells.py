"""The cells that a command names: mbpoll's type letters and references, within the limits of one request; pure."""

from __future__ import annotations

from typing import NamedTuple

from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import (
    ADDRESSES,
    MAX_READ_BITS,
    MAX_READ_REGISTERS,
    MAX_WRITE_BITS,
    MAX_WRITE_REGISTERS,
    AddressRange,
    Table,
    UnitId,
    unit_id,
)

TYPES = {"0": Table.COILS, "1": Table.DISCRETE, "3": Table.INPUT, "4": Table.HOLDING}
"""mbpoll's type letters."""
_WORDS = {
    Table.COILS: "coil",
    Table.DISCRETE: "discrete input",
    Table.HOLDING: "holding register",
    Table.INPUT: "input register",
}
DEFAULT_UNIT = 1
DEFAULT_REFERENCE = 1


class Cells(NamedTuple):
    """Cells of one table of one unit; `base` is the reference of address 0: 1, or 0 for PDU addresses."""

    unit: UnitId
    table: Table
    range: AddressRange
    base: int

    def lines(self, values: list[int]) -> list[str]:
        """Write values as mbpoll does, one a line; a register of 32768 or more is followed by its signed reading."""
        first = self.range.start + self.base
        return [f"[{reference}]: \t{_shown(self.table, value)}" for reference, value in enumerate(values, first)]

    def __str__(self) -> str:
        first, last = self.range.start + self.base, self.range.last + self.base
        name = _WORDS[self.table]
        return f"{name} {first}" if first == last else f"{name}s {first}-{last}"


def to_read(unit: int, table: Table, reference: int, count: int, *, base: int) -> Cells:
    """Name `count` cells from a reference, to read in one request. Raises ConfigError if one request cannot."""
    most = MAX_READ_BITS if table.is_bits else MAX_READ_REGISTERS
    if not 1 <= count <= most:
        hint = "ask for the rest with another command" if count > most else ""
        raise ConfigError(f"-c {count}", f"one request reads 1 to {most} {_WORDS[table]}s", hint=hint)
    return _cells(unit, table, reference, count, base)


def to_write(unit: int, table: Table, reference: int, values: list[int], *, base: int) -> Cells:
    """Name the cells from a reference that `values` go to in one request. Raises ConfigError if they cannot."""
    if table not in {Table.COILS, Table.HOLDING}:
        letter = next(letter for letter, named in TYPES.items() if named is table)
        raise ConfigError(
            f"-t {letter}", f"{_WORDS[table]}s are read only", hint="-t 0 writes coils, -t 4 holding registers"
        )
    top, most = (1, MAX_WRITE_BITS) if table.is_bits else (0xFFFF, MAX_WRITE_REGISTERS)
    for value in values:
        if not 0 <= value <= top:
            raise ConfigError(f"value {value}", f"values of {_WORDS[table]}s are 0 to {top}")
    if len(values) > most:
        raise ConfigError(
            f"{len(values)} values",
            f"one request writes 1 to {most} {_WORDS[table]}s",
            hint="write the rest with another command; the two are not one change for the device",
        )
    return _cells(unit, table, reference, len(values), base)


def _cells(unit: int, table: Table, reference: int, count: int, base: int) -> Cells:
    try:
        unit_number = unit_id(unit)
    except ValueError as error:
        raise ConfigError(f"-a {unit}", str(error)) from None
    last = ADDRESSES - 1 + base
    if not base <= reference <= last:
        hint = "references count from 1; -0 counts from 0" if reference == 0 else ""
        raise ConfigError(f"-r {reference}", f"a reference is {base} to {last}", hint=hint)
    if reference + count - 1 > last:
        raise ConfigError(f"-r {reference}", f"{count} cells from here go past {last}, the last one")
    return Cells(unit_number, table, AddressRange(reference - base, count), base)


def _shown(table: Table, value: int) -> str:
    return f"{value} ({value - 0x10000})" if value >= 0x8000 and not table.is_bits else str(value)
