"""Readings as text: mbpoll's lines, JSON, JSON lines, CSV, or values alone; pure."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from datetime import datetime

from fieldgate_client.readings import Reading
from fieldgate_client.selection import Style
from fieldgate_client.values import Value
from fieldgate_core.logs import printable

FORMATS = ("table", "json", "jsonl", "csv", "plain")
_COLUMNS = (
    *("time", "site", "name", "unit_id", "table", "address", "reference"),
    *("type", "value", "unit", "quality", "error"),
)


def write(style: str, site: str, when: datetime, readings: Sequence[Reading], *, first: bool = True) -> str:
    """Give the text of one poll in one of FORMATS; `first` is False for the polls after the first.

    docs/client-output.schema.json is the schema of the JSON. Values that failed are missing from table and plain.
    """
    match style:
        case "json":
            return json.dumps(document(site, when, readings), indent=2) + "\n"
        case "jsonl":
            return json.dumps(document(site, when, readings), separators=(",", ":")) + "\n"
        case "csv":
            return _csv(site, when, readings, header=first)
        case "plain":
            return " ".join(_plain(reading) for reading in readings if reading.value is not None) + "\n"
        case _:
            return table(readings)


def document(site: str, when: datetime, readings: Sequence[Reading]) -> dict[str, object]:
    """Give one poll as what docs/client-output.schema.json describes."""
    return {"site": site, "time": _time(when), "values": [record(reading) for reading in readings]}


def record(reading: Reading) -> dict[str, object]:
    """Give one reading as an object; NaN and infinities are text, which JSON has no numbers for."""
    point = reading.item.point
    return {
        "name": point.name if reading.item.reference is None else None,
        "unit_id": reading.item.unit,
        "table": str(point.table),
        "address": point.address,
        "reference": reading.item.reference,
        "type": str(point.encoding),
        "value": _json(reading.value),
        "unit": point.unit,
        "quality": reading.quality,
        "error": None if reading.error is None else str(reading.error),
    }


def table(readings: Sequence[Reading]) -> str:
    """Write mbpoll's lines for references (a heading for each of several units), columns for names."""
    several = len({reading.item.unit for reading in readings}) > 1
    width = max((len(reading.item.label) for reading in readings), default=0)
    lines = []
    unit: int | None = None
    for reading in readings:
        item = reading.item
        if several and item.reference is not None and item.unit != unit:
            unit = item.unit
            lines.append(f"-- Polling slave {unit}...")
        if reading.value is None:
            continue
        shown = shown_value(reading)
        lines.append(f"{item.label}: \t{shown}" if item.reference is not None else f"{item.label:<{width}}  {shown}")
    return "".join(f"{line}\n" for line in lines)


def shown_value(reading: Reading) -> str:
    """Write a value for a person, with its unit of measure; a high register by mbpoll's habit signed as well."""
    item, value = reading.item, reading.value
    if value is None:
        return "-"
    text = item.text(value)
    if isinstance(value, str):
        return _text(text)
    if item.style is Style.WORD and value >= 0x8000:
        return f"{text} ({int(value) - 0x10000})"
    return f"{text} {item.point.unit}" if item.point.unit else text


def _plain(reading: Reading) -> str:
    value = reading.value
    return json.dumps(value) if isinstance(value, str) or value is None else reading.item.text(value)


def _csv(site: str, when: datetime, readings: Sequence[Reading], *, header: bool) -> str:
    out = io.StringIO()
    rows = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
    if header:
        rows.writeheader()
    for reading in readings:
        row = {"time": _time(when), "site": site, **record(reading)}
        if isinstance(reading.value, str):
            row["value"] = _text(reading.value)
        rows.writerow(row)
    return out.getvalue()


def _text(value: str) -> str:
    """Escape a device's text; the longest has 250 characters, each of which may take four."""
    return printable(value, limit=1000)


def _json(value: Value | None) -> Value | None:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _time(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
