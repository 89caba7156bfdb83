"""What all formats share: the result of an import or export, and the words for what a format cannot say; pure."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from fieldgate_client.points import Point
from fieldgate_core.errors import ConfigError

_SHOWN = 6
"""Names in one warning; the rest is counted."""
_FIELD_WORDS = {
    "unit_id": "the unit identifier",
    "scale": "the scale",
    "offset": "the offset",
    "unit": "the unit",
    "low": "the low limit",
    "high": "the high limit",
    "precision": "the precision",
    "writable": "the mark of writable",
    "description": "the description",
}


class Imported(NamedTuple):
    """Points, and a line for each thing in the file that points have no place for."""

    points: tuple[Point, ...]
    warnings: tuple[str, ...]


class Exported(NamedTuple):
    """The text of a file, and a line for each thing that the format has no place for."""

    text: str
    warnings: tuple[str, ...]


class Gathering:
    """Collects the points and warnings of an import; a name that is taken becomes another one, and says so."""

    def __init__(self) -> None:
        self._points: dict[str, Point] = {}
        self.warnings: list[str] = []

    def add(self, where: str, point: Point, beside: Sequence[str] = ()) -> None:
        """Add a point; `beside` are words that tell it from others of its name."""
        name = self._free(point.name, beside)
        self._points[name] = dataclasses.replace(point, name=name)
        if name != point.name:
            self.warnings.append(f"{where}: is named {name!r} here, for {point.name!r} is taken")

    def _free(self, name: str, beside: Sequence[str]) -> str:
        wider = "_".join((name, *beside))
        counted = (f"{wider}_{number}" for number in range(2, len(self._points) + 3))
        return next(free for free in (name, wider, *counted) if free not in self._points)

    def leave_out(self, where: str, what: str) -> None:
        """Note something that points have no place for."""
        self.warnings.append(f"{where}: {what}")

    def result(self, where: str) -> Imported:
        """Give what was gathered. Raises ConfigError when that is nothing."""
        if not self._points:
            raise ConfigError(
                where, "holds no points of this format", hint="see --format, and --device if you named it"
            )
        return Imported(tuple(self._points.values()), tuple(self.warnings))


@contextlib.contextmanager
def located(where: str) -> Iterator[None]:
    """Say where in the file it is that a ValueError comes from: it becomes a ConfigError."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(where, str(error)) from None


def lost(points: Iterable[Point], carried: frozenset[str]) -> list[str]:
    """Say which fields of points a format that carries only `carried` has no place for."""
    losing: dict[str, list[str]] = {}
    for point in points:
        for field in dataclasses.fields(Point):
            if field.name in _FIELD_WORDS and field.name not in carried and getattr(point, field.name) != field.default:
                losing.setdefault(field.name, []).append(point.name)
    return [f"has no place for {_FIELD_WORDS[field]} of {listed(names)}" for field, names in losing.items()]


def listed(names: Sequence[str]) -> str:
    """Name all of a few, and count the rest of many."""
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
