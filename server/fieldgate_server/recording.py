"""A recording: the values of cells, tick by tick, from a CSV file."""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Sequence
from pathlib import Path

from fieldgate_core.errors import ConfigError
from fieldgate_server.signals import Playback


def read_recording(file: Path, columns: Sequence[str], highest: int) -> list[Playback]:
    """Read a CSV file: a first line that names the columns, then a line a tick of whole numbers, 0 to `highest`.

    Columns that were not asked for are left alone. Raises ConfigError that names file, line and column.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            lines = csv.reader(text, strict=True)
            names = [" ".join(name.split()) for name in next(lines, [])]
            places = [_place(file, names, column) for column in columns]
            values = [array("H") for _ in columns]
            for line in lines:
                if not line:
                    continue
                where = f"{file}: line {lines.line_num}"
                if len(line) != len(names):
                    raise ConfigError(where, f"has {len(line)} columns where the first line names {len(names)}")
                for column, place, series in zip(columns, places, values, strict=True):
                    series.append(_number(line[place], highest, f"{where}, column {column}"))
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(str(file), "is not UTF-8 text") from None
    except csv.Error as error:
        raise ConfigError(f"{file}: line {lines.line_num}", f"is not CSV: {error}") from None
    if not values[0]:
        raise ConfigError(str(file), "holds no values", hint="below the line of names goes one line for each tick")
    return [Playback(series) for series in values]


def _place(file: Path, names: Sequence[str], column: str) -> int:
    if names.count(column) == 1:
        return names.index(column)
    fault = f"names the column {column!r} twice" if column in names else f"has no column {column!r}"
    hint = 'the first line names each column by its cell, with commas between: "input 0,input 1"'
    raise ConfigError(f"{file}: line 1", fault, hint=hint)


def _number(text: str, highest: int, where: str) -> int:
    if not re.fullmatch(r"\s*[0-9]{1,5}\s*", text) or int(text) > highest:
        raise ConfigError(where, f"{text!r} is not a whole number from 0 to {highest}")
    return int(text)
