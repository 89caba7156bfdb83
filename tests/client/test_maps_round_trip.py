"""Register maps of other tools: what is exported is imported again, and what a format loses is said by name."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fieldgate_client import points_file
from fieldgate_client.maps import home_assistant, modbus_exporter, modpoll, telegraf
from fieldgate_client.maps.model import Exported, Imported
from fieldgate_client.maps.modpoll import AddressBase
from fieldgate_client.points import Point
from fieldgate_client.values import TYPES, Encoding
from fieldgate_core.modbus import Table
from support.counts import rounds


class Format(NamedTuple):
    read: Callable[[str], Imported]
    write: Callable[[Sequence[Point]], Exported]
    carried: Callable[[Point], frozenset[str]]
    """The fields that the format has a place for."""
    can_say: Callable[[Point], bool]
    """Whether it can say name, type and unit of a point."""


def metric_name(point: Point) -> bool:
    return point.name.isascii() and point.name.replace("_", "a").isalnum() and not point.name[0].isdigit()


FORMATS = {
    "telegraf": Format(
        lambda text: telegraf.read(text, "map"), telegraf.write, lambda point: telegraf.CARRIED, lambda point: True
    ),
    "home-assistant": Format(
        lambda text: home_assistant.read(text, "map"),
        home_assistant.write,
        home_assistant.carried,
        lambda point: (
            "8" not in point.encoding.type and (point.encoding.type != "BIT" or point.encoding == Encoding("BIT"))
        ),
    ),
    "modpoll": Format(
        lambda text: modpoll.read(text, "map", base=AddressBase.ZERO),
        modpoll.write,
        lambda point: modpoll.CARRIED,
        lambda point: (
            "8" not in point.encoding.type
            and (point.encoding.type != "STRING" or point.encoding.order == "AB")
            and point.unit_id is not None
        ),
    ),
    "modbus-exporter": Format(
        lambda text: modbus_exporter.read(text, "map"),
        modbus_exporter.write,
        lambda point: modbus_exporter.CARRIED,
        lambda point: (
            "8" not in point.encoding.type
            and point.encoding.type != "STRING"
            and (point.encoding.type != "BIT" or point.encoding.order == "AB")
            and metric_name(point)
        ),
    ),
}

finite = st.floats(allow_nan=False, allow_infinity=False)
lines = st.text("abz09 _-:#,'\"\\{}[]%=°³é€\U0001f50b", max_size=8).map(str.strip)
names = st.text("abzA09_", min_size=1, max_size=8) | lines.map(
    lambda text: text.replace("=", "").lstrip("- ").strip() or "-".join("xy")
)


@st.composite
def points(draw: st.DrawFn) -> Point:
    table = draw(st.sampled_from(list(Table)))
    kind = "BOOL" if table.is_bits else draw(st.sampled_from([kind for kind in TYPES if kind != "BOOL"]))
    encoding = Encoding(
        kind,
        draw(st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"])),
        draw(st.integers(1, 125)) if kind == "STRING" else 1,
        draw(st.integers(0, 15)) if kind == "BIT" else 0,
    )
    is_number = kind not in {"STRING", "BIT", "BOOL"}
    low, high = sorted(draw(st.tuples(finite, finite))) if is_number else (0.0, 0.0)
    return Point(
        name=draw(names),
        table=table,
        address=draw(st.integers(0, 65536 - encoding.registers)),
        encoding=encoding,
        unit_id=draw(st.none() | st.integers(0, 255)),
        scale=draw(finite.filter(bool)) if is_number and draw(st.booleans()) else 1.0,
        offset=draw(finite) if is_number and draw(st.booleans()) else 0.0,
        unit=draw(lines),
        low=low if is_number and draw(st.booleans()) else None,
        high=high if is_number and draw(st.booleans()) else None,
        precision=draw(st.none() | st.integers(0, 15)) if is_number else None,
        writable=draw(st.booleans()) and table in {Table.COILS, Table.HOLDING} and encoding.is_writable,
        description=draw(lines),
    )


maps = st.lists(points(), min_size=1, max_size=5, unique_by=lambda point: point.name)


def carried(name: str, point: Point) -> Point:
    """Give a point with the defaults in the fields that a format does not carry."""
    kept = FORMATS[name].carried(point)
    lost = {field.name: field.default for field in dataclasses.fields(Point) if field.name not in kept}
    return dataclasses.replace(point, **lost)  # type: ignore[arg-type]  # each default has its field's type


def by_name(found: Sequence[Point]) -> dict[str, Point]:
    return {point.name: point for point in found}


@pytest.mark.long
@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=rounds(25, 300))
@given(chosen=maps)
def test_what_a_format_can_say_comes_back_as_it_was(name: str, chosen: list[Point]) -> None:
    form = FORMATS[name]
    said = [carried(name, point) for point in chosen if form.can_say(point)]
    assume(said)
    exported = form.write(said)
    imported = form.read(exported.text)
    assert exported.warnings == ()
    assert by_name(imported.points) == by_name(said)
    assert len(imported.points) == len(said)


@pytest.mark.long
@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=rounds(25, 300))
@given(chosen=maps)
def test_what_a_format_cannot_say_is_said_by_name(name: str, chosen: list[Point]) -> None:
    form = FORMATS[name]
    assume(any(map(form.can_say, chosen)))
    exported = form.write(chosen)
    back = by_name(form.read(exported.text).points)
    for point in chosen:
        if back.get(point.name) != point:
            assert any(point.name in line for line in exported.warnings), point.name


@pytest.mark.long
@given(maps)
@settings(max_examples=rounds(25, 300))
def test_our_own_file_says_everything(chosen: list[Point]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "points.toml"
        file.write_text(points_file.dump(chosen))
        assert points_file.load(file) == tuple(chosen)
