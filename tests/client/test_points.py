"""Points: engineering values to and from registers, exactly; limits; their file; few reads for many."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldgate_client import points_file
from fieldgate_client.grouping import plan
from fieldgate_client.points import Point, overlaps
from fieldgate_client.values import Encoding, Value
from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import Table


def point(kind: str = "int16", address: int = 0, *, name: str = "setpoint", **more: object) -> Point:
    encoding = Encoding.parse(kind)
    table = Table.COILS if kind == "bool" else Table.HOLDING
    return Point(name, **({"table": table, "address": address, "encoding": encoding} | more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "scale", "offset", "words", "value"),
    [
        ("int16", 0.1, 0, [425], 42.5),
        ("int16", 0.1, 0, [0xFFFF], -0.1),
        ("int16", 0.1, -40, [425], 2.5),
        ("uint16", 10, 0, [425], 4250),
        ("uint16", 1, 0, [65535], 65535),
        ("uint16", -1, 100, [30], 70),
        ("int32 CDAB", 0.001, 0, [0xD687, 0x0012], 1234.567),
        ("uint64", 1, 0, [0xFFFF] * 4, 2**64 - 1),
        ("int64", 2, 1, [0x7FFF, 0xFFFF, 0xFFFF, 0xFFFF], 2 * (2**63 - 1) + 1),
        ("float32", 1, 0, [0x42F6, 0xE979], 123.456),
        ("float32", 0.1, 0, [0x42F6, 0xE979], 12.3456),
        ("float32", 1.8, 32, [0x42C8, 0x0000], 212.0),
        ("string 2", 1, 0, [0x5075, 0x6D70], "Pump"),
        ("bool", 1, 0, [1], 1),
    ],
)
def test_a_value_and_its_registers(kind: str, scale: float, offset: float, words: list[int], value: Value) -> None:
    made = point(kind, scale=float(scale), offset=float(offset))
    assert (made.decode(words), type(made.decode(words))) == (value, type(value))
    assert made.encode(value) == words
    assert made.encode(made.parse(str(value))) == words


@given(
    st.integers(-32768, 32767), st.sampled_from([0.1, 0.01, 0.001, 0.5, 3.0, 1 / 3]), st.sampled_from([0, -273.15, 7])
)
def test_every_register_comes_back(raw: int, scale: float, offset: float) -> None:
    made = point("int16", scale=scale, offset=float(offset))
    words = Encoding("INT16").encode(raw)
    assert made.encode(made.decode(words)) == words


def test_a_sum_of_floats_is_what_it_is_meant_to_be() -> None:
    assert point(scale=0.1).encode(0.1 + 0.2) == [3]
    assert point(scale=0.1).encode(Decimal("42.5")) == [425]


@pytest.mark.parametrize(
    ("kind", "more", "value", "problem"),
    [
        ("int16", {"scale": 0.1}, 42.53, "42.53 lies between two steps of 0.1: write 42.5 or 42.6"),
        ("int16", {"scale": 0.1}, -42.53, "write -42.6 or -42.5"),
        ("int16", {}, 1.5, "1.5 lies between two steps of 1: write 1 or 2"),
        ("int16", {"low": 0.0, "high": 100.0, "unit": "°C"}, 101, "101 is outside the limits 0 to 100 °C"),
        ("int16", {"low": 0.0}, -1, "-1 is outside the limits 0 to inf"),
        ("float32", {"high": 1.0}, 1.0001, "outside the limits"),
        ("int16", {"scale": 0.1}, 3276.8, "32768 does not fit into INT16"),
        ("float32", {}, math.nan, "nan is no value to write"),
        ("float32", {}, math.inf, "inf is no value to write"),
        ("float32", {}, 1e39, "does not fit into FLOAT32"),
        ("int16", {}, "12", "is text"),
    ],
)
def test_a_value_that_is_not_written(kind: str, more: dict[str, object], value: Value, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        point(kind, **more).encode(value)  # type: ignore[arg-type]


def test_a_limit_itself_is_written() -> None:
    made = point("int16", scale=0.1, low=0.1, high=0.3)
    assert [made.encode(value) for value in (0.1, 0.2, 0.3)] == [[1], [2], [3]]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int16", "-12", Decimal(-12)),
        ("float32", "4.2e1", Decimal(42)),
        ("uint16", "0x10", Decimal(16)),
        ("string 4", "a = b", "a = b"),
        ("bool", "ON", 1),
        ("bool", "0", 0),
    ],
)
def test_a_value_is_read_as_it_is_written(kind: str, text: str, value: object) -> None:
    assert point(kind).parse(text) == value


@pytest.mark.parametrize(
    ("kind", "text"), [("int16", "ten"), ("int16", ""), ("int16", "nan"), ("bool", "2"), ("float32", "0xg")]
)
def test_what_is_no_value_is_refused(kind: str, text: str) -> None:
    with pytest.raises(ValueError):
        point(kind).parse(text)


def test_values_are_shown_with_the_decimals_of_the_point() -> None:
    assert point("float32", precision=1).text(42.46) == "42.5"
    assert point("float32").text(123.456) == "123.456"
    assert point("int16", precision=0).text(5) == "5"
    assert point("float32", precision=2).text(math.nan) == "nan"


def test_not_available_stays_what_it_is() -> None:
    assert math.isnan(float(point("float32", scale=0.1).decode([0x7FC0, 0])))


@pytest.mark.parametrize(
    ("kind", "more", "problem"),
    [
        ("int16", {"name": "a=b"}, "holds no '='"),
        ("int16", {"name": "-a"}, "does not begin with '-'"),
        ("int16", {"name": " a"}, "without spaces at its ends"),
        ("int16", {"name": "a\x1b[2J"}, "printable"),
        ("int16", {"unit": "a\nb"}, "printable"),
        ("int32", {"address": 65535}, "address 65535 does not lie within 0 to 65534"),
        ("int16", {"address": -1}, "address -1"),
        ("int16", {"unit_id": 256}, "0 to 255"),
        ("int16", {"scale": 0.0}, "scale is not 0"),
        ("int16", {"offset": math.inf}, "finite"),
        ("int16", {"low": 2.0, "high": 1.0}, "low 2 is above high 1"),
        ("int16", {"precision": 16}, "precision is 0 to 15"),
        ("int16", {"table": Table.INPUT, "writable": True}, "never written"),
        ("bit 3", {"writable": True}, "part of a register"),
        ("uint8h", {"writable": True}, "part of a register"),
        ("string 2", {"scale": 2.0}, "STRING has no scale"),
        ("bit 3", {"low": 0.0}, "BIT has no scale, offset, limits"),
        ("bool", {"precision": 1}, "BOOL has no scale"),
        ("bool", {"table": Table.HOLDING}, "coils and discrete inputs are BOOL"),
        ("int16", {"table": Table.COILS}, "coils and discrete inputs are BOOL"),
    ],
)
def test_what_cannot_be_a_point(kind: str, more: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        point(kind, **more)  # type: ignore[arg-type]


def test_points_that_overlap_in_part() -> None:
    first, second = point("int32", 0, name="first"), point("int32", 1, name="second")
    same, bit = point("float32", 0, name="same"), point("bit 3", 1, name="bit")
    other = point("int32", 1, name="other", unit_id=9)
    assert overlaps([second, first, other]) == [(first, second)]
    assert overlaps([first, same, bit, other]) == []


# the file

FILE = """[[point]]
name = "flow"
table = "input"
address = 10
type = "float"
byte_order = "big endian word swap"
unit = "m³/h"
precision = 1

[[point]]
name = "pump"
table = "coil"
address = 3
writable = true
"""


def test_a_file_of_points(tmp_path: Path) -> None:
    file = tmp_path / "points.toml"
    file.write_text(FILE)
    flow, pump = points_file.load(file)
    assert flow == Point("flow", Table.INPUT, 10, Encoding("FLOAT32", "CDAB"), unit="m³/h", precision=1)
    assert pump == Point("pump", Table.COILS, 3, Encoding("BOOL"), writable=True)
    assert points_file.find([flow, pump], ["pump", "flow"], "x") == [pump, flow]


def test_all_that_is_wrong_in_a_file_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "points.toml"
    file.write_text(
        FILE.replace('"input"', '"inputs"').replace("writable = true", "writeable = true")
        + '[[point]]\nname = "c"\ntable = "holding"\naddress = "1"\n'
        + '[[point]]\nname = "d"\ntable = "holding"\naddress = 1\n'
    )
    with pytest.raises(ConfigError) as caught:
        points_file.load(file)
    assert caught.value.where == str(file)
    for part in (
        "point[0]: 'inputs' is no table",
        "point[1].writeable: unknown key",
        "point[2].address: must be a whole number",
        "point[3]: type is missing",
    ):
        assert part in caught.value.problem
    assert caught.value.hint == "did you mean writable?"


def test_a_name_is_given_once(tmp_path: Path) -> None:
    file = tmp_path / "points.toml"
    file.write_text(FILE.replace('"pump"', '"flow"'))
    with pytest.raises(ConfigError, match="several points of one name: flow"):
        points_file.load(file)


def test_an_unknown_point_is_told_with_its_likes() -> None:
    with pytest.raises(ConfigError, match="no point 'flwo'") as caught:
        points_file.find([point(name="flow"), point(name="level")], ["flwo"], "pump.toml")
    assert caught.value.hint == "did you mean flow?"


# few reads


def spans(points: list[Point], *, gap: int = 0, most: int = 125) -> list[tuple[int, str, str, list[str]]]:
    reads = plan(points, unit=1, gap=gap, most_registers=most)
    return [(read.unit, read.table.value, str(read.range), [made.name for made in read.points]) for read in reads]


def test_neighbours_are_read_together_and_nothing_else_is() -> None:
    given_points = [
        point("int32", 2, name="b"),
        point("int16", 0, name="a"),
        point("int16", 1, name="a2"),
        point("int16", 5, name="c"),
        point("int16", 4, name="elsewhere", unit_id=7),
        point("int16", 4, name="input", table=Table.INPUT),
    ]
    assert spans(given_points) == [
        (1, "holding", "0-3", ["a", "a2", "b"]),
        (1, "holding", "5", ["c"]),
        (1, "input", "4", ["input"]),
        (7, "holding", "4", ["elsewhere"]),
    ]
    assert spans(given_points, gap=1)[0] == (1, "holding", "0-5", ["a", "a2", "b", "c"])


def test_a_short_value_within_a_long_one() -> None:
    assert spans([point("int64", 0, name="long"), point("int16", 1, name="short")]) == [
        (1, "holding", "0-3", ["long", "short"])
    ]


def test_a_value_is_never_split_and_the_limit_is_kept() -> None:
    many = [point("int32", 2 * number, name=str(number)) for number in range(63)]
    assert [read[2] for read in spans(many)] == ["0-123", "124-125"]
    assert [read[2] for read in spans(many, most=10)][:2] == ["0-9", "10-19"]
    coils = [point("bool", number, name=str(number)) for number in range(2001)]
    assert [read[2] for read in spans(coils)] == ["0-1999", "2000"]


@given(
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["int16", "int32", "int64"])), min_size=1, max_size=40),
    st.integers(0, 30),
)
def test_each_point_is_read_once_from_its_own_registers(chosen: list[tuple[int, str]], gap: int) -> None:
    points = [point(kind, address, name=str(at)) for at, (address, kind) in enumerate(chosen)]
    asked = {cell for made in points for cell in range(made.address, made.cells.last + 1)}
    seen: dict[str, Value] = {}
    for read in plan(points, unit=1, gap=gap):
        assert read.range.count <= 125
        cells = range(read.range.start, read.range.last + 1)
        unasked = "".join("." if cell in asked else "x" for cell in cells)
        assert "x" * (gap + 1) not in unasked
        assert unasked[0] == unasked[-1] == "."
        values = read.values([cell & 0x7FFF for cell in cells])
        assert not seen.keys() & values.keys()
        seen |= values
    for made in points:
        assert seen[made.name] == made.decode([made.address + at for at in range(made.encoding.registers)])
