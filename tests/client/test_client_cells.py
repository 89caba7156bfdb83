"""The cells that a command names: limits of one request, references, and mbpoll's lines."""

from __future__ import annotations

import pytest

from fieldgate_client.cells import Cells, to_read, to_write
from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import AddressRange, Table, UnitId


@pytest.mark.parametrize(
    ("table", "most"), [(Table.COILS, 2000), (Table.DISCRETE, 2000), (Table.HOLDING, 125), (Table.INPUT, 125)]
)
def test_one_request_reads_up_to_its_limit(table: Table, most: int) -> None:
    assert to_read(1, table, 1, most, base=1) == Cells(UnitId(1), table, AddressRange(0, most), 1)
    for count in (most + 1, 0, -1):
        with pytest.raises(ConfigError, match=f"one request reads 1 to {most}"):
            to_read(1, table, 1, count, base=1)


@pytest.mark.parametrize(("table", "most"), [(Table.COILS, 1968), (Table.HOLDING, 123)])
def test_one_request_writes_up_to_its_limit(table: Table, most: int) -> None:
    assert to_write(1, table, 1, [1] * most, base=1).range == AddressRange(0, most)
    with pytest.raises(ConfigError, match=f"one request writes 1 to {most}"):
        to_write(1, table, 1, [1] * (most + 1), base=1)


@pytest.mark.parametrize(("base", "first", "last"), [(1, 1, 65536), (0, 0, 65535)])
def test_references_count_from_the_base(base: int, first: int, last: int) -> None:
    assert to_read(1, Table.HOLDING, first, 1, base=base).range == AddressRange(0, 1)
    assert to_read(1, Table.HOLDING, last, 1, base=base).range == AddressRange(65535, 1)
    assert to_read(1, Table.HOLDING, last - 1, 2, base=base).range == AddressRange(65534, 2)
    for reference, count in ((first - 1, 1), (last + 1, 1), (last, 2)):
        with pytest.raises(ConfigError):
            to_read(1, Table.HOLDING, reference, count, base=base)


@pytest.mark.parametrize(
    ("table", "top", "words"), [(Table.COILS, 1, "coils"), (Table.HOLDING, 65535, "holding registers")]
)
def test_values_must_fit_their_cells(table: Table, top: int, words: str) -> None:
    assert to_write(1, table, 1, [0, top], base=1).range.count == 2
    for value in (-1, top + 1):
        with pytest.raises(ConfigError, match=rf"value {value}: values of {words} are 0 to {top}"):
            to_write(1, table, 1, [0, value], base=1)


@pytest.mark.parametrize("table", [Table.DISCRETE, Table.INPUT])
def test_inputs_are_not_written(table: Table) -> None:
    with pytest.raises(ConfigError, match="read only"):
        to_write(1, table, 1, [1], base=1)


def test_a_unit_is_0_to_255() -> None:
    assert [to_read(unit, Table.COILS, 1, 1, base=1).unit for unit in (0, 255)] == [0, 255]
    for unit in (-1, 256):
        with pytest.raises(ConfigError, match=f"-a {unit}"):
            to_read(unit, Table.COILS, 1, 1, base=1)


def test_lines_name_the_reference_and_show_high_registers_signed_too() -> None:
    registers = to_read(1, Table.HOLDING, 9, 4, base=1)
    assert registers.lines([0, 32767, 32768, 65535]) == [
        "[9]: \t0",
        "[10]: \t32767",
        "[11]: \t32768 (-32768)",
        "[12]: \t65535 (-1)",
    ]
    assert to_read(1, Table.COILS, 0, 2, base=0).lines([1, 0]) == ["[0]: \t1", "[1]: \t0"]
