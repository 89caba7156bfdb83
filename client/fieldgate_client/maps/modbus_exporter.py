"""The modules of Prometheus' modbus_exporter, read and written; pure.

Source: its README and its decoding. The first digit of an address is the function that reads it (3 holding, 4
input), the rest counts from 0. The unit is not in the file (it is the sub_target of a scrape); it has no place
for offset, unit, limits, precision, texts, and whether a point can be written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fieldgate_client import yaml_text
from fieldgate_client.maps.entries import Entry
from fieldgate_client.maps.model import Exported, Gathering, Imported, listed, located, lost
from fieldgate_client.points import Point
from fieldgate_client.values import Encoding
from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import Table

CARRIED = frozenset({"name", "table", "address", "encoding", "scale", "description"})
_DIGITS = {"1": Table.COILS, "2": Table.DISCRETE, "3": Table.HOLDING, "4": Table.INPUT}
_DIGIT_OF_TABLE = {table: digit for digit, table in _DIGITS.items()}
_ORDERS = {"big": "ABCD", "little": "DCBA", "mixed": "BADC", "yolo": "CDAB"}
_WORD_OF_ORDER = {"AB": "big", "BA": "little"} | {order: word for word, order in _ORDERS.items()}
_TYPES = ("int16", "uint16", "float16", "int32", "uint32", "float32", "int64", "uint64", "float64")


def read(text: str, where: str, *, device: str | None = None) -> Imported:
    """Read the points of all modules, or of the one named `device`. Raises ConfigError."""
    root = Entry(yaml_text.load(text, where), where)
    found = Gathering()
    for module in root.entries("modules"):
        name = module.text("name")
        if device in {None, name}:
            for metric in module.entries("metrics"):
                _metric(metric, name, found)
            if ignored := module.ignored():
                found.leave_out(module.where, f"left out: {listed(ignored)}")
    return found.result(where)


def write(points: Sequence[Point]) -> Exported:
    """Write points as one module of gauges."""
    warnings, metrics, written = [], [], []
    taken: set[str] = set()
    for point in points:
        if point.encoding.type.lower() not in {*_TYPES, "bool", "bit"} or point.encoding == Encoding(
            "BIT", "BA", bit=point.encoding.bit
        ):
            warnings.append(f"left out, for it has no {point.encoding}: {point.name}")
            continue
        name = _metric_name(point.name, taken)
        if name != point.name:
            warnings.append(f"is named {name} there, for it has no such names: {point.name}")
        taken.add(name)
        written.append(point)
        metrics.append(_written(point, name))
    module = {"name": "fieldgate", "protocol": "tcp/ip", "metrics": metrics}
    return Exported(yaml_text.dump({"modules": [module]}), (*warnings, *lost(written, CARRIED)))


def _metric_name(name: str, taken: set[str]) -> str:
    plain = re.sub(r"[^a-zA-Z0-9_:]", "_", name)
    plain = f"_{plain}" if plain[0].isdigit() else plain
    counted = (f"{plain}_{number}" for number in range(2, len(taken) + 3))
    return next(free for free in (plain, *counted) if free not in taken)


def _written(point: Point, name: str) -> dict[str, object]:
    entry: dict[str, object] = {"name": name, "help": point.description}
    entry["address"] = int(f"{_DIGIT_OF_TABLE[point.table]}{point.address:05}")
    if point.encoding.type in {"BOOL", "BIT"}:
        entry |= {"dataType": "bool", "bitOffset": point.encoding.bit}
    else:
        entry |= {"dataType": point.encoding.type.lower(), "endianness": _WORD_OF_ORDER[point.encoding.order]}
    entry["metricType"] = "gauge"
    if point.scale != 1:
        entry["factor"] = point.scale
    return entry


def _metric(metric: Entry, module: str, found: Gathering) -> None:
    name, address = metric.text("name"), str(metric.whole("address"))
    labels = metric.take("labels")
    values = [str(value) for value in labels.values()] if isinstance(labels, dict) else []
    metric.take("metricType")
    if len(address) < 2 or address[0] not in _DIGITS:
        raise ConfigError(
            f"{metric.where}: address",
            f"{address} does not begin with a function",
            hint="1 coil, 2 discrete input, 3 holding register, 4 input register; then the address from 0",
        )
    table = _DIGITS[address[0]]
    with located(metric.where):
        point = Point(
            name=name,
            table=table,
            address=int(address[1:]),
            encoding=_encoding(metric, table),
            scale=metric.number("factor", 1),
            description="".join(c if c.isprintable() else " " for c in metric.text("help", "")).strip(),
        )
    found.add(metric.where, point, values or [module])
    if ignored := metric.ignored():
        found.leave_out(f"{metric.where} ({name})", f"left out: {listed(ignored)}")


def _encoding(metric: Entry, table: Table) -> Encoding:
    kind = metric.text("dataType").lower()
    word = metric.text("endianness", "big")
    if word not in _ORDERS:
        raise ValueError(f"{word!r} is no endianness; known are {', '.join(_ORDERS)}")
    bit = metric.whole("bitOffset", 0)
    if kind == "bool":
        return Encoding("BOOL") if table.is_bits else Encoding("BIT", bit=bit)
    if kind not in _TYPES:
        raise ValueError(f"{kind!r} is no dataType; known are bool, {', '.join(_TYPES)}")
    # the exporter swaps the bytes of a single register for "little" only
    one = Encoding(kind).registers == 1
    return Encoding(kind, "AB" if one and word != "little" else _ORDERS[word])
