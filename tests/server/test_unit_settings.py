"""One [[unit]] of the settings: what it makes, and what is refused with its place."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from fieldgate_core import settings
from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import File, Table
from fieldgate_server.layout import Cells, Layout
from fieldgate_server.memory import MemoryUnit
from fieldgate_server.settings import Settings


def units(text: str) -> list[MemoryUnit]:
    loaded = settings.build(tomllib.loads(text), Settings, where="server.toml", base=Path())
    return [unit.build() for unit in loaded.unit]


def unit(text: str) -> MemoryUnit:
    (only,) = units(f"[[unit]]\n{text}")
    return only


def test_a_plain_unit_has_four_tables_of_100() -> None:
    (plain,) = units("")
    assert [plain.size(table) for table in Table] == [100, 100, 100, 100]
    assert plain.layout is Layout.SEPARATE
    plain.coils.write(5, 1, b"\1")
    plain.holding.write(5, 1, b"\0\1")
    assert plain.discrete.read(5, 1) == b"\0"
    assert plain.input.read(5, 1) == b"\0\0"


def test_a_unified_unit_has_one_store_for_bits_and_one_for_registers() -> None:
    unified = unit('layout = "unified"')
    assert [unified.size(table) for table in Table] == [65536] * 4
    unified.coils.write(65535, 1, b"\1")
    unified.input.write(65535, 1, b"\xab\xcd")
    assert unified.discrete.read(65535, 1) == b"\1"
    assert unified.holding.read(65535, 1) == b"\xab\xcd"
    assert unified.holding.read(4095, 1) == b"\0\0", "coils are not packed into registers"


def test_an_overlaid_unit_packs_its_coils_into_its_registers() -> None:
    overlaid = unit('layout = "overlaid"')
    assert [overlaid.size(table) for table in Table] == [65536] * 4
    overlaid.coils.write(17, 1, b"\1")
    assert overlaid.holding.read(1, 1) == b"\0\2"
    overlaid.holding.write(4095, 2, b"\x80\1\xff\xff")
    assert overlaid.discrete.read(65520, 16) == b"\1\x80", "register 4096 holds no coils"


def test_a_small_overlaid_unit_has_sixteen_coils_a_register() -> None:
    overlaid = unit('layout = "overlaid"\nholding = { size = 3, initial = 1 }')
    assert overlaid.size(Table.COILS) == 48
    assert overlaid.coils.read(0, 48) == b"\1\0\1\0\1\0"


def test_initial_values_fill_a_table_start_it_or_stand_at_addresses() -> None:
    made = unit('holding = { size = 6, initial = [9, 8], at = { "4" = 7, "2" = [5, 6] } }\ncoils = { initial = 1 }')
    assert made.holding.read(0, 6) == bytes.fromhex("0009 0008 0005 0006 0007 0000")
    assert made.coils.read(92, 8) == b"\xff"


def test_files_hold_what_the_settings_say() -> None:
    made = unit("[[unit.file]]\nnumber = 4\nrecords = 10\ninitial = [1, 2]")
    assert (made.size(File(4)), made.size(File(5))) == (10, 0)
    assert made.files[4].read(0, 3) == bytes.fromhex("0001 0002 0000")


def test_names_are_found_in_every_table_that_shows_their_cells() -> None:
    made = unit('layout = "overlaid"\nnames = { setpoint = "holding 1-2", pump = "coils 17" }')
    assert made.names(Cells(Table.HOLDING, 1, 1)) == "setpoint, pump"
    assert made.names(Cells(Table.DISCRETE, 47, 1)) == "setpoint"
    assert made.names(Cells(Table.INPUT, 3, 100)) is None


def test_each_unit_has_an_identification_of_its_own() -> None:
    identification = '{ vendor_name = "ACME", objects = { "128" = "x" } }'
    one, two = units(f"[[unit]]\nid = 1\ndefault = true\n[[unit]]\nid = 2\nidentification = {identification}")
    assert dict(one.device.identification.items())[1] == b"unit-1"  # type: ignore[union-attr]
    objects = dict(two.device.identification.items())  # type: ignore[union-attr]
    assert (objects[0], objects[1], objects[128]) == (b"ACME", b"unit-2", b"x")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('layout = "mixed"', "layout 'mixed' is none of separate, unified, overlaid"),
        ('layout = "unified"\ndiscrete = { size = 5 }', "discrete inputs are the coils"),
        ('layout = "overlaid"\ncoils = { size = 5 }', "coils are bits of the holding registers"),
        ("holding = { size = 2, initial = [1, 2, 3] }", "holding: 3 initial values for a table of 2"),
        ("holding = { initial = 65536 }", "holding: initial value 65536 is not 0 to 65535"),
        ("coils = { initial = [2] }", "initial value 2 is not 0 to 1"),
        ('holding = { at = { "99" = [1, 2] } }', "there is no address 100 in a table of 100"),
        ('coils = { at = { "1" = 2 } }', "value 2 of address 1 is not 0 to 1"),
        ('holding = { at = { "x" = 2 } }', "'x' is no address"),
        ('read_only = "holding"', "read_only: 'holding' names no cells"),
        ('read_only = "file 4"', "a file is not meant here"),
        ('read_only = "holding 90-100"', "read_only: there is no holding 90-100 in a table of 100"),
        ('names = { a = "coils 100" }', "names: there is no coils 100 in a table of 100"),
        ('names = { a = "holding 1, coils 2" }', "names.a: one run of cells"),
        ("[[unit.file]]\nnumber = 1\nrecords = 1\ninitial = -1", "file[0]: initial value -1 is not 0"),
        ('names = { "a\\nb" = "foo" }', "names.a\\nb: 'foo' names no cells"),
        ("[[unit.file]]\nnumber = 0\nrecords = 1", "number 0 is not 1 to 65535"),
        ("[[unit.file]]\nnumber = 1\nrecords = 10001", "records 10001 is not 1 to 10000"),
        ("file = [{ number = 1, records = 1 }, { number = 1, records = 1 }]", "two files have the same number"),
        ('identification = { vendor_name = "Pümpe" }', "object 0: must be ASCII text"),
        ('identification = { objects = { "3" = "x" } }', "'3' is no object id from 7 to 255"),
        ('server_id = "ü"', "server_id must be ASCII"),
        ("exception_status = 93", "there are not eight coils from there"),
        ("exception_status = -1", "there are not eight coils from there"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        unit(text)
    assert str(caught.value).startswith("server.toml: unit[0]")
    assert problem in str(caught.value)


def test_the_last_eight_coils_may_be_the_exception_status() -> None:
    assert unit("exception_status = 92").device.exception_status == 92
