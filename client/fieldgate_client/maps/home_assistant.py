"""Home Assistant's modbus integration: sensors, binary sensors and switches of its YAML, read and written; pure.

Source: the integration's documentation. Addresses count from 0. It has no place for limits and description, and
says only of a switch that it can be written; climates, covers, fans and lights are more than one point each.
"""

from __future__ import annotations

from collections.abc import Sequence

from fieldgate_client import yaml_text
from fieldgate_client.maps.entries import Entry
from fieldgate_client.maps.model import Exported, Gathering, Imported, listed, located, lost
from fieldgate_client.points import Point
from fieldgate_client.values import Encoding
from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import Table

_CARRIED = frozenset({"name", "table", "address", "encoding", "unit_id"})
_CARRIED_BY = {
    "sensors": _CARRIED | {"scale", "offset", "unit", "precision"},
    "binary_sensors": _CARRIED,
    "switches": _CARRIED | {"writable"},
}
_SWAPS = {"none": "ABCD", "byte": "BADC", "word": "CDAB", "word_byte": "DCBA"}
_SWAP_OF_ORDER = {"AB": "none", "BA": "byte"} | {order: swap for swap, order in _SWAPS.items()}
_INPUTS = {
    "coil": Table.COILS,
    "discrete_input": Table.DISCRETE,
    "holding": Table.HOLDING,
    "input": Table.INPUT,
    "coils": Table.COILS,
    "holdings": Table.HOLDING,
}
_WORD_OF_TABLE = {table: word for word, table in reversed(_INPUTS.items())}
_TYPES = ("int16", "int32", "int64", "uint16", "uint32", "uint64", "float16", "float32", "float64", "string")
_STRUCTURES = {
    ">h": "INT16",
    ">i": "INT32",
    ">l": "INT32",
    ">q": "INT64",
    ">H": "UINT16",
    ">I": "UINT32",
    ">L": "UINT32",
    ">Q": "UINT64",
    ">e": "FLOAT16",
    ">f": "FLOAT32",
    ">d": "FLOAT64",
}


def read(text: str, where: str, *, device: str | None = None) -> Imported:
    """Read the points of all hubs, or of the one named `device`. Raises ConfigError."""
    data = yaml_text.load(text, where)
    root = Entry({"modbus": data} if isinstance(data, list) else data, where)
    found = Gathering()
    for hub in root.entries("modbus"):
        name = hub.text("name", "modbus_hub")
        if device in {None, name}:
            _hub(hub, name, found)
    return found.result(where)


def write(points: Sequence[Point]) -> Exported:
    """Write points as one hub."""
    platforms: dict[str, list[dict[str, object]]] = {platform: [] for platform in _CARRIED_BY}
    written, unsaid = [], []
    for point in points:
        if _is_said(point.encoding):
            written.append(point)
            platforms[_platform(point)].append(_written(point))
        else:
            unsaid.append(point)
    hub: dict[str, object] = {"name": "fieldgate", "type": "tcp", "host": "127.0.0.1", "port": 5020}
    hub |= {key: entries for key, entries in platforms.items() if entries}
    warnings = [f"left out, for it has no {point.encoding}: {point.name}" for point in unsaid]
    for platform, fields in _CARRIED_BY.items():
        warnings += lost([point for point in written if _platform(point) == platform], fields)
    return Exported(yaml_text.dump({"modbus": [hub]}), tuple(warnings))


def carried(point: Point) -> frozenset[str]:
    """Give the fields of a point that Home Assistant has a place for."""
    return _CARRIED_BY[_platform(point)]


def _is_said(encoding: Encoding) -> bool:
    if encoding.type == "BIT":
        return encoding == Encoding("BIT")
    return encoding.type == "BOOL" or encoding.type.lower() in _TYPES


def _platform(point: Point) -> str:
    if point.encoding.type == "BOOL":
        return "switches" if point.writable else "binary_sensors"
    return "binary_sensors" if point.encoding.type == "BIT" else "sensors"


def _written(point: Point) -> dict[str, object]:
    entry: dict[str, object] = {"name": point.name, "address": point.address}
    if point.unit_id is not None:
        entry["slave"] = point.unit_id
    platform = _platform(point)
    entry["write_type" if platform == "switches" else "input_type"] = _WORD_OF_TABLE[point.table]
    if platform != "sensors":
        return entry
    entry["data_type"] = point.encoding.type.lower()
    if point.encoding.type == "STRING":
        entry["count"] = point.encoding.length
    if point.encoding.order not in {"ABCD", "AB"}:
        entry["swap"] = _SWAP_OF_ORDER[point.encoding.order]
    said = {
        "scale": (point.scale, 1),
        "offset": (point.offset, 0),
        "precision": (point.precision, None),
        "unit_of_measurement": (point.unit, ""),
    }
    return entry | {key: value for key, (value, default) in said.items() if value != default}


def _hub(hub: Entry, name: str, found: Gathering) -> None:
    for entry in hub.entries("sensors"):
        _sensor(entry, name, found)
    for entry in hub.entries("binary_sensors"):
        table = _table(entry, "input_type", "coil")
        # of a register, Home Assistant looks at the lowest bit
        encoding = Encoding("BOOL") if table.is_bits else Encoding("BIT")
        _add(entry, name, found, table, encoding)
    for entry in hub.entries("switches"):
        table = _table(entry, "write_type", "coil")
        _add(entry, name, found, table, Encoding("BOOL" if table.is_bits else "UINT16"), writable=True)
    if ignored := hub.ignored():
        found.leave_out(hub.where, f"left out: {listed(ignored)}")


def _sensor(entry: Entry, hub: str, found: Gathering) -> None:
    table = _table(entry, "input_type", "holding")
    name = entry.text("name")
    with located(entry.where):
        encoding = _encoding(entry)
    if encoding is None:
        found.leave_out(entry.where, f"{name} is left out: its registers are no plain number or text")
        return
    is_number = encoding.type != "STRING"
    _add(
        entry,
        hub,
        found,
        table,
        encoding,
        scale=entry.number("scale", 1) if is_number else 1,
        offset=entry.number("offset", 0) if is_number else 0,
        unit=entry.text("unit_of_measurement", ""),
        precision=entry.whole("precision") if is_number and "precision" in entry else None,
    )


def _encoding(entry: Entry) -> Encoding | None:
    """Give the encoding of a sensor; None for what points have no type for. Raises ValueError for wrong words."""
    kind = entry.text("data_type", "int16").lower()
    swap = entry.text("swap", "none")
    if swap not in _SWAPS:
        raise ValueError(f"{swap!r} is no swap; known are {', '.join(_SWAPS)}")
    if kind == "custom":
        structure = _STRUCTURES.get(entry.text("structure", ""))
        entry.take("count")
        return None if structure is None else Encoding(structure, _SWAPS[swap])
    if kind not in _TYPES:
        raise ValueError(f"{kind!r} is no data_type; known are {', '.join(_TYPES)}")
    if kind != "string":
        return Encoding(kind, _SWAPS[swap])
    # word swap turns the registers of a text around, which is no text of ours
    return None if "word" in swap else Encoding(kind, _SWAPS[swap], entry.whole("count", 1))


def _table(entry: Entry, key: str, default: str) -> Table:
    word = entry.text(key, default)
    if word not in _INPUTS:
        raise ConfigError(f"{entry.where}: {key}", f"{word!r} is no table of Home Assistant's")
    return _INPUTS[word]


def _add(  # noqa: PLR0913
    entry: Entry,
    hub: str,
    found: Gathering,
    table: Table,
    encoding: Encoding,
    *,
    scale: float = 1.0,
    offset: float = 0.0,
    unit: str = "",
    precision: int | None = None,
    writable: bool = False,
) -> None:
    key = next((key for key in ("slave", "device_address") if key in entry), None)
    with located(entry.where):
        point = Point(
            name=entry.text("name"),
            table=table,
            address=entry.whole("address"),
            encoding=encoding,
            unit_id=None if key is None else entry.whole(key),
            scale=scale,
            offset=offset,
            unit=unit,
            precision=precision,
            writable=writable,
        )
    found.add(entry.where, point, [hub])
    if ignored := entry.ignored():
        found.leave_out(f"{entry.where} ({point.name})", f"left out: {listed(ignored)}")
