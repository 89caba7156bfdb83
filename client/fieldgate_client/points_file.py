"""A file of points: TOML, read strictly with all that is wrong at once, and written."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from fieldgate_client.points import WORD_OF_TABLE, Point, table_of
from fieldgate_client.values import Encoding
from fieldgate_core.errors import ConfigError
from fieldgate_core.settings import examine, read_toml
from fieldgate_core.sites import together


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A [[point]] as it is written."""

    name: str
    table: str
    address: int
    type: str = ""
    byte_order: str = "ABCD"
    length: int = 1
    bit: int = 0
    unit_id: int | None = None
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    low: float | None = None
    high: float | None = None
    precision: int | None = None
    writable: bool = False
    description: str = ""

    def __post_init__(self) -> None:
        self.point()

    def point(self) -> Point:
        table = table_of(self.table)
        if not self.type and not table.is_bits:
            raise ValueError('type is missing: say what the registers hold, as in type = "UINT16"')
        return Point(
            name=self.name,
            table=table,
            address=self.address,
            encoding=Encoding(self.type or "BOOL", self.byte_order, self.length, self.bit),
            unit_id=self.unit_id,
            scale=self.scale,
            offset=self.offset,
            unit=self.unit,
            low=self.low,
            high=self.high,
            precision=self.precision,
            writable=self.writable,
            description=self.description,
        )


@dataclasses.dataclass(frozen=True)
class _File:
    point: tuple[_Entry, ...]


def load(file: Path) -> tuple[Point, ...]:
    """Read the points of a file, in its order. Raises ConfigError that names all that is wrong."""
    built, faults = examine(read_toml(file), _File, where=str(file), base=file.resolve().parent)
    if built is None:
        raise together(str(file), faults)
    points = tuple(entry.point() for entry in built.point)
    twice = [name for name, count in Counter(point.name for point in points).items() if count > 1]
    if twice:
        raise ConfigError(str(file), f"has several points of one name: {', '.join(twice)}")
    return points


def dump(points: Iterable[Point]) -> str:
    """Write points as the text of such a file; what has its default is not written."""
    return "\n".join("\n".join(_lines(point)) + "\n" for point in points)


def find(points: Sequence[Point], names: Sequence[str], where: str) -> list[Point]:
    """Give points by their names. Raises ConfigError that names near matches for those that are not known."""
    known = {point.name: point for point in points}
    for name in names:
        if name not in known:
            import difflib

            near = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(where, f"has no point {name!r}", hint=hint)
    return [known[name] for name in names]


def _lines(point: Point) -> list[str]:
    encoding = point.encoding
    written: dict[str, object] = {"name": point.name, "table": WORD_OF_TABLE[point.table], "address": point.address}
    if encoding.type != "BOOL":
        written["type"] = encoding.type
    if encoding.order not in {"ABCD", "AB"}:
        written["byte_order"] = encoding.order
    written |= {
        key: value
        for key, value, default in (("length", encoding.length, 1), ("bit", encoding.bit, 0))
        if value != default
    }
    plain = ("unit_id", "scale", "offset", "unit", "low", "high", "precision", "writable", "description")
    defaults = {field.name: field.default for field in dataclasses.fields(Point)}
    written |= {key: getattr(point, key) for key in plain if getattr(point, key) != defaults[key]}
    # what JSON writes for a text, a truth or a finite number, TOML reads
    return ["[[point]]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in written.items())]
