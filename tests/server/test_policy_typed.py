"""Limits on numbers that fill several registers: written whole and within them, or refused."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldgate_core.errors import ConfigError
from fieldgate_server import typed
from fieldgate_server.typed import Number
from fieldgate_server.unit_settings import TableSettings, UnitSettings
from support.bench import Bench, policy

READ = '{ units = "1", read = "all" }'
ORDERS = ("ABCD", "DCBA", "BADC", "CDAB")
TYPES = ("int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")


def bench(folder: Path, *grants: str, layout: str = "separate") -> Bench:
    settings = UnitSettings(layout=layout, holding=TableSettings(100, 5))
    return Bench(folder, settings, {"r": ", ".join((READ, *grants))})


def limited(cells: str, values: str, kind: str) -> str:
    return f'{{ units = "1", write = "{cells}", values = "{values}", type = "{kind}" }}'


# the types


@pytest.mark.parametrize(
    ("order", "registers"),
    [("ABCD", "42f6 e979"), ("CDAB", "e979 42f6"), ("BADC", "f642 79e9"), ("DCBA", "79e9 f642")],
)
def test_123_456_in_each_byte_order(order: str, registers: str) -> None:
    number, words = typed.parse(f"float32 {order}"), [int(word, 16) for word in registers.split()]
    assert number.decode(words) == pytest.approx(123.456)
    assert number.encode(123.456) == tuple(words)


@pytest.mark.parametrize(
    ("order", "registers"),
    [
        ("ABCD", "0102 0304 0506 0708"),
        ("CDAB", "0708 0506 0304 0102"),
        ("BADC", "0201 0403 0605 0807"),
        ("DCBA", "0807 0605 0403 0201"),
    ],
)
def test_four_registers_in_each_byte_order(order: str, registers: str) -> None:
    words = [int(word, 16) for word in registers.split()]
    assert Number("uint64", order).decode(words) == 0x0102030405060708
    assert Number("uint64", order).encode(0x0102030405060708) == tuple(words)


@given(st.sampled_from(TYPES), st.sampled_from(ORDERS), st.binary(min_size=8, max_size=8))
def test_what_is_encoded_is_what_is_decoded(kind: str, order: str, data: bytes) -> None:
    number = Number(kind, order)
    words = struct.unpack(f">{number.registers}H", data[: 2 * number.registers])
    value = number.decode(words)
    if value is None:
        assert not number.is_whole
    else:
        assert number.encode(value) == words


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("float32 CDAB", Number("float32", "CDAB")),
        (" FLOAT32   cdab ", Number("float32", "CDAB")),
        ("UINT16", Number("uint16", "ABCD")),
        ("int16 BA", Number("int16", "DCBA")),
        ("int16 AB", Number("int16", "ABCD")),
        ("Int64 dcba", Number("int64", "DCBA")),
    ],
)
def test_types_are_read_in_any_case(text: str, number: Number) -> None:
    assert typed.parse(text) == number


@pytest.mark.parametrize(
    ("grant", "key", "problem"),
    [
        ('values = "0..5", type = "float32"', "type", "names no byte order"),
        ('values = "0..5", type = "float32 AB"', "type", "names no byte order"),
        ('values = "0..5", type = "float32 ABCDE"', "type", "names no byte order"),
        ('values = "0..5", type = "float16 ABCD"', "type", "names no type"),
        ('values = "0..5", type = "CDAB"', "type", "names no type"),
        ('type = "float32 CDAB"', "type", "belongs to limits"),
        ('values = "0..70000", type = "uint16"', "values", "does not fit into uint16"),
        ('values = "-1..5", type = "uint32 ABCD"', "values", "does not fit into uint32"),
        ('values = "-1..5"', "values", "does not fit into uint16"),
        ('values = "0.5..5"', "values", "no whole number"),
        ('values = "0.5..5", type = "int32 ABCD"', "values", "no whole number"),
        (f'values = "0..1{"0" * 39}", type = "float32 ABCD"', "values", "does not fit into float32"),
        (f'values = "0..1{"0" * 400}", type = "float64 ABCD"', "values", "does not fit into float64"),
        ('values = "5..-5", type = "float32 ABCD"', "values", "lowest value comes first"),
        ('values = "nan..5", type = "float32 ABCD"', "values", "is no limit"),
        ('values = "0..inf", type = "float32 ABCD"', "values", "is no limit"),
        ('values = "0", type = "float32 ABCD"', "values", "is no limit"),
        ('values = "0..5", type = "float64 ABCD"', "write", "float64 fills 4 registers"),
    ],
)
def test_a_wrong_type_or_limit_is_refused_with_its_key(grant: str, key: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy({"r": f'{{ units = "1", write = "holding 10-11", {grant} }}'})
    assert caught.value.where == f"p: role.r.grants[0].{key}"
    assert problem in caught.value.problem


@pytest.mark.parametrize("cells", ["holding 10", "holding 10-12", "holding 10-11, holding 14-16"])
def test_cells_are_a_multiple_of_the_type(cells: str) -> None:
    with pytest.raises(ConfigError, match="cannot be whole values"):
        policy({"r": limited(cells, "0..5", "int32 ABCD")})


@pytest.mark.parametrize("cells", ["coils 0-1", "input 0-1", "holding 0-1, input 0-1", "file 4 0-1", "all"])
def test_limits_are_for_holding_registers(cells: str) -> None:
    with pytest.raises(ConfigError, match="belong to a write of holding registers"):
        policy({"r": limited(cells, "0..5", "int32 ABCD")})


# one pair, 10 and 11, float32 CDAB, -0.5 to 50: 12.5 is 0000 4148, 50 is 0000 4248, just above it 0001 4248

PAIR = limited("holding 10-11", "-0.5..50", "float32 CDAB")


@pytest.mark.parametrize(
    ("asked", "passes"),
    [
        ("10 00 0a 00 02 04 00 00 41 48", True),
        ("10 00 0a 00 02 04 00 00 42 48", True),
        ("10 00 0a 00 02 04 00 01 42 48", False),
        ("10 00 0a 00 02 04 00 00 bf 00", True),
        ("10 00 0a 00 02 04 00 01 bf 00", False),
        ("10 00 0a 00 02 04 00 00 80 00", True),
        ("10 00 0a 00 02 04 00 00 7f 80", False),
        ("10 00 0a 00 02 04 00 00 ff 80", False),
        ("10 00 0a 00 02 04 00 00 7f c0", False),
        ("10 00 0a 00 02 04 00 01 7f 80", False),
        ("17 00 00 00 01 00 0a 00 02 04 00 00 41 48", True),
        ("17 00 00 00 01 00 0a 00 02 04 00 01 42 48", False),
        ("06 00 0a 00 00", False),
        ("06 00 0b 41 48", False),
        ("10 00 0a 00 01 02 00 00", False),
        ("10 00 0b 00 01 02 41 48", False),
        ("17 00 00 00 01 00 0b 00 01 02 41 48", False),
        ("16 00 0a ff ff 00 00", False),
        ("16 00 0b 00 00 41 48", False),
        ("10 00 09 00 03 06 00 00 00 00 41 48", False),
        ("10 00 0a 00 03 06 00 00 41 48 00 00", False),
    ],
)
def test_a_pair_is_written_whole_and_within_its_limit(tmp_path: Path, asked: str, passes: bool) -> None:
    box = bench(tmp_path, PAIR)
    refusal = f"{int(asked[:2], 16) | 0x80:02x} 01"
    assert (box.ask(asked, "r") != refusal) is passes
    held = box.ask("03 00 0a 00 02")
    assert held == (f"03 04 {asked[-11:]}" if passes else "03 04 00 05 00 05")
    if passes:
        assert "grant=r[1]" in box.trail()[-1]


def test_a_limit_holds_as_the_type_rounds_it(tmp_path: Path) -> None:
    """0.1 as a float32 is more than 0.1, and it is what a client sends who means 0.1."""
    box = bench(tmp_path, limited("holding 10-11", "0..0.1", "float32 ABCD"))
    nearest = struct.pack(">f", 0.1)
    above = struct.pack(">I", struct.unpack(">I", nearest)[0] + 1)
    assert struct.unpack(">f", nearest)[0] > 0.1
    assert box.ask(f"10 00 0a 00 02 04 {nearest.hex(' ')}", "r") == "10 00 0a 00 02"
    assert box.ask(f"10 00 0a 00 02 04 {above.hex(' ')}", "r") == "90 01"


@pytest.mark.parametrize(("kind", "size"), [("int64 CDAB", 4), ("uint64 ABCD", 4), ("float64 BADC", 4)])
def test_four_registers_are_one_value(tmp_path: Path, kind: str, size: int) -> None:
    number = typed.parse(kind)
    box = bench(tmp_path, limited("holding 8-15", "1..9007199254740993", kind))

    def ask(value: float, first: int, count: int = size) -> str:
        words = [word for _ in range(2) for word in number.encode(value)][:count]
        return box.ask(
            f"10 00 {first:02x} 00 {count:02x} {2 * count:02x} {struct.pack(f'>{count}H', *words).hex()}", "r"
        )

    assert ask(1, 8) == "10 00 08 00 04"
    assert ask(1, 12) == "10 00 0c 00 04"
    assert ask(1, 8, 8) == "10 00 08 00 08"
    assert ask(0, 8) == "90 01"
    assert ask(1, 10) == "90 01", "from the middle of one value to the middle of the next"
    assert ask(1, 8, 2) == "90 01"
    assert ask(1, 8, 6) == "90 01"
    if number.is_whole:
        assert ask(9007199254740993, 8) == "10 00 08 00 04", "exact beyond what a float holds"
        assert ask(9007199254740994, 8) == "90 01"


@pytest.mark.parametrize(
    ("kind", "inside", "outside"),
    [
        ("int16", ["ff f6", "00 00", "00 32"], ["ff f5", "00 33", "80 00"]),
        ("int16 BA", ["f6 ff", "00 00", "32 00"], ["f5 ff", "33 00", "00 32"]),
    ],
)
def test_one_register_may_be_negative(tmp_path: Path, kind: str, inside: list[str], outside: list[str]) -> None:
    box = bench(tmp_path, limited("holding 10-12", "-10..50", kind))
    for word in inside:
        assert box.ask(f"06 00 0b {word}", "r") == f"06 00 0b {word}"
        assert box.ask(f"16 00 0c 00 00 {word}", "r") == f"16 00 0c 00 00 {word}", "judged by what results"
    for word in outside:
        assert box.ask(f"06 00 0b {word}", "r") == "86 01"
        assert box.ask(f"16 00 0c 00 00 {word}", "r") == "96 01"


# several values, and plain cells around them


def test_several_values_and_plain_cells_are_each_judged_by_their_own_grant(tmp_path: Path) -> None:
    around = '{ units = "1", write = "holding 8-9, holding 14-15", values = "0..9" }'
    box = bench(tmp_path, limited("holding 10-13", "0..50", "float32 ABCD"), around)
    good = "00 09 00 09 42 48 00 00 00 00 00 00 00 00 00 09"
    assert box.ask(f"10 00 08 00 08 10 {good}", "r") == "10 00 08 00 08"
    assert "grant=r[2]+r[1]" in box.trail()[-1]
    for at, word in ((0, "00 0a"), (7, "00 0a"), (2, "42 49"), (4, "42 49"), (4, "bf 80")):
        spoiled = f"{good[: 6 * at]}{word}{good[6 * at + 5 :]}"
        assert box.ask(f"10 00 08 00 08 10 {spoiled}", "r") == "90 01", spoiled
    # across two values: the second half of one, the first of the next
    assert box.ask("10 00 0b 00 02 04 00 00 00 00", "r") == "90 01"
    assert box.ask("10 00 0a 00 04 08 42 48 00 00 42 48 00 00", "r") == "10 00 0a 00 04"


def test_where_a_typed_and_a_plain_grant_overlap_any_of_them_will_do(tmp_path: Path) -> None:
    """Register 10 may hold 0 to 9 by itself; 11 only as half of the pair."""
    box = bench(tmp_path, PAIR, '{ units = "1", write = "holding 10", values = "0..9" }')
    assert box.ask("06 00 0a 00 09", "r") == "06 00 0a 00 09"
    assert box.ask("06 00 0a 00 0a", "r") == "86 01"
    assert box.ask("06 00 0b 00 09", "r") == "86 01"
    assert box.ask("10 00 0a 00 02 04 00 00 41 48", "r") == "10 00 0a 00 02"
    assert box.ask("10 00 0a 00 02 04 00 01 42 48", "r") == "90 01", "11 belongs to no value within a limit"
    free = bench(tmp_path, PAIR, '{ units = "1", write = "holding 10-11" }')
    assert free.ask("06 00 0b 00 09", "r") == "06 00 0b 00 09"


def test_values_of_two_grants_that_begin_at_different_registers(tmp_path: Path) -> None:
    box = bench(
        tmp_path, limited("holding 10-11", "0..1", "uint32 ABCD"), limited("holding 11-12", "0..2", "uint32 ABCD")
    )
    assert box.ask("10 00 0a 00 02 04 00 00 00 01", "r") == "10 00 0a 00 02"
    assert box.ask("10 00 0b 00 02 04 00 00 00 02", "r") == "10 00 0b 00 02"
    assert box.ask("10 00 0a 00 03 06 00 00 00 00 00 02", "r") == "10 00 0a 00 03", "each cell by one of them"
    assert box.ask("10 00 0a 00 03 06 00 00 00 01 00 02", "r") == "90 01", "register 12: 0001 0002 is too much"


def test_limits_with_a_gap_of_fractions_stay_apart(tmp_path: Path) -> None:
    grants = [limited("holding 10-11", values, "float32 ABCD") for values in ("0..1", "1.5..2")]
    box = bench(tmp_path, *grants)
    for value, passes in ((1.0, True), (1.25, False), (1.5, True), (2.0, True), (2.25, False)):
        asked = f"10 00 0a 00 02 04 {struct.pack('>f', value).hex(' ')}"
        assert (box.ask(asked, "r") == "10 00 0a 00 02") is passes, value


def test_half_a_value_is_refused_before_it_is_seen_that_it_is_not_there(tmp_path: Path) -> None:
    box = bench(tmp_path, limited("holding 100-103", "0..50", "float32 ABCD"))
    assert box.ask("06 00 64 00 00", "r") == "86 01"
    assert box.ask("16 00 64 00 00 00 00", "r") == "96 01"
    assert box.ask("10 00 64 00 02 04 00 00 00 00", "r") == "90 02"
    assert box.ask("10 00 64 00 02 04 7f c0 00 00", "r") == "90 01"


def test_a_value_at_the_end_of_the_addresses(tmp_path: Path) -> None:
    box = bench(tmp_path, limited("holding 65534-65535", "0..50", "float32 ABCD"))
    assert box.ask("10 ff fe 00 02 04 00 00 00 00", "r") == "90 02"
    assert box.ask("10 ff fe 00 03 06 00 00 00 00 00 00", "r") == "90 02", "past the end counts as covered"
    assert box.ask("10 ff ff 00 02 04 00 00 00 00", "r") == "90 01"


# overlaid units: a pair is 32 coils

BITS = '{ units = "1", write = "coils all, discrete all, input all" }'


@pytest.mark.parametrize(
    ("asked", "passes"),
    [
        ("0f 00 a0 00 20 04 00 00 48 41", True),
        ("0f 00 a0 00 20 04 01 00 48 42", False),
        ("05 00 a0 ff 00", False),
        ("05 00 b0 00 00", False),
        ("0f 00 af 00 02 01 00", False),
        ("0f 00 a0 00 1f 04 00 00 48 41", False),
        ("0f 00 a1 00 1f 04 00 00 48 41", False),
        ("0f 00 a0 00 10 02 00 00", False),
        ("0f 00 b0 00 10 02 48 41", False),
        ("10 00 0a 00 02 04 00 00 41 48", True),
        ("06 00 0b 41 48", False),
    ],
)
def test_a_pair_of_an_overlaid_unit_is_written_as_all_of_its_coils(tmp_path: Path, asked: str, passes: bool) -> None:
    box = bench(tmp_path, PAIR, BITS, layout="overlaid")
    refusal = f"{int(asked[:2], 16) | 0x80:02x} 01"
    assert (box.ask(asked, "r") != refusal) is passes
    assert (box.ask("03 00 0a 00 02") == "03 04 00 05 00 05") is not passes


def test_a_limit_on_one_typed_register_holds_for_what_a_coil_makes_of_it(tmp_path: Path) -> None:
    box = bench(tmp_path, limited("holding 10", "-3..5", "int16"), BITS, layout="overlaid")
    assert box.ask("05 00 a0 00 00", "r") == "05 00 a0 00 00", "5 becomes 4"
    assert box.ask("05 00 a1 ff 00", "r") == "85 01", "4 would become 6"
    assert box.ask("05 00 af ff 00", "r") == "85 01", "4 would become -32764"


def test_nan_is_no_value_whatever_the_limit() -> None:
    number = Number("float64", "ABCD")
    for word in (0x7FF8, 0x7FF0, 0xFFF0):
        assert number.decode((word, 0, 0, 0)) is None
    assert number.decode((0x7FEF, 0xFFFF, 0xFFFF, 0xFFFF)) == math.nextafter(math.inf, 0)
