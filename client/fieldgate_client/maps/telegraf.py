"""Telegraf's inputs.modbus: reads its register, request and metric styles, writes the metric style; pure.

Source: the README of the plugin. Addresses count from 0. It has no place for offset, unit, limits, precision,
description, and whether a point can be written.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence

from fieldgate_client.maps.entries import Entry
from fieldgate_client.maps.model import Exported, Gathering, Imported, located, lost
from fieldgate_client.points import WORD_OF_TABLE, Point, table_of
from fieldgate_client.values import Encoding
from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import Table

CARRIED = frozenset({"name", "table", "address", "encoding", "unit_id", "scale"})
_REGISTER_LISTS = {
    "coils": Table.COILS,
    "discrete_inputs": Table.DISCRETE,
    "holding_registers": Table.HOLDING,
    "input_registers": Table.INPUT,
}
_EIGHT_LETTERS = {"ABCDEFGH": "ABCD", "HGFEDCBA": "DCBA", "BADCFEHG": "BADC", "GHEFCDAB": "CDAB"}
_FIXED_POINT = {
    ("FIXED", 1): "INT16",
    ("FIXED", 2): "INT32",
    ("FIXED", 4): "INT64",
    ("UFIXED", 1): "UINT16",
    ("UFIXED", 2): "UINT32",
    ("UFIXED", 4): "UINT64",
}
_HEAD = """\
# Written by `fieldgate client points export`. Telegraf speaks plain Modbus: let controller be a fieldgate server
# on this machine, or a port that you forward.
[[inputs.modbus]]
name = "fieldgate"
controller = "tcp://127.0.0.1:5020"
configuration_type = "metric"
"""


def read(text: str, where: str, *, device: str | None = None) -> Imported:
    """Read the points of all inputs.modbus, or of the one named `device`. Raises ConfigError."""
    try:
        root = Entry(tomllib.loads(text), where)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(where, f"is not valid TOML: {error}") from None
    found = Gathering()
    inputs = Entry(root.take("inputs") or {}, f"{where}: inputs")
    for plugin in inputs.entries("modbus"):
        name = plugin.text("name", "modbus")
        if device in {None, name}:
            _plugin(plugin, name, found)
    return found.result(where)


def write(points: Sequence[Point]) -> Exported:
    """Write points in the metric style, a metric for each unit and byte order."""
    groups: dict[tuple[int | None, str], list[Point]] = {}
    for point in points:
        order = {"AB": "ABCD", "BA": "DCBA"}.get(point.encoding.order, point.encoding.order)
        groups.setdefault((point.unit_id, order), []).append(point)
    parts = [_HEAD]
    for (unit, order), members in groups.items():
        lines = ["", "[[inputs.modbus.metric]]"]
        lines += [] if unit is None else [f"slave_id = {unit}"]
        lines += [f'byte_order = "{order}"', "fields = [", *map(_field_line, members), "]", ""]
        parts.append("\n".join(lines))
    warnings = lost(points, CARRIED)
    return Exported("".join(parts), tuple(warnings))


def _field_line(point: Point) -> str:
    pairs: dict[str, str | int | float] = {"register": WORD_OF_TABLE[point.table], "address": point.address}
    pairs["name"] = point.name
    if not point.table.is_bits:
        pairs["type"] = point.encoding.type
    if point.encoding.type == "STRING":
        pairs["length"] = point.encoding.length
    if point.encoding.type == "BIT":
        pairs["bit"] = point.encoding.bit
    if point.scale != 1:
        pairs["scale"] = point.scale
    # what JSON writes for a text or a finite number, TOML reads
    inner = ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in pairs.items())
    return f"  {{ {inner} }},"


def _plugin(plugin: Entry, name: str, found: Gathering) -> None:
    style = plugin.text("configuration_type", "register")
    match style:
        case "register":
            _registers(plugin, name, found)
        case "request" | "metric":
            for group in plugin.entries(style):
                _group(group, style, name, found)
        case _:
            raise ConfigError(f"{plugin.where}: configuration_type", f"{style!r} is no style of Telegraf's")
    _left_out(plugin, found)


def _group(group: Entry, style: str, name: str, found: Gathering) -> None:
    """Read a [[inputs.modbus.request]], which says the table once, or a metric, whose fields each say it."""
    unit = group.whole("slave_id") if "slave_id" in group else None
    order = group.text("byte_order", "ABCD")
    default = group.text("register", "holding") if style == "request" else None
    measurement = group.text("measurement", "modbus")
    for entry in group.entries("fields"):
        if entry.take("omit") is True:
            continue
        table = _table(entry, default)
        beside = [name, entry.text("measurement", measurement), *([] if unit is None else [str(unit)])]
        kind = "BOOL" if table.is_bits else entry.text("type")
        length, bit = entry.whole("length", 1), entry.whole("bit", 0)
        with located(entry.where):
            point = Point(
                name=entry.text("name"),
                table=table,
                address=entry.whole("address"),
                encoding=Encoding(kind, order, length, bit),
                unit_id=unit,
                scale=1.0 if table.is_bits else entry.number("scale", 0) or 1.0,
            )
        found.add(entry.where, point, beside)
        _left_out(entry, found)
    _left_out(group, found)


def _table(entry: Entry, default: str | None) -> Table:
    try:
        return table_of(default or entry.text("register", "holding"))
    except ValueError as error:
        raise ConfigError(f"{entry.where}: register", str(error)) from None


def _registers(plugin: Entry, name: str, found: Gathering) -> None:
    unit = plugin.whole("slave_id") if "slave_id" in plugin else None
    for key, table in _REGISTER_LISTS.items():
        for entry in plugin.entries(key):
            addresses = _addresses(entry)
            kind = "BOOL" if table.is_bits else _register_type(entry, len(addresses))
            order = "AB" if table.is_bits else entry.text("byte_order")
            with located(entry.where):
                point = Point(
                    name=entry.text("name"),
                    table=table,
                    address=addresses[0],
                    encoding=Encoding(kind, _EIGHT_LETTERS.get(order, order)),
                    unit_id=unit,
                    scale=1.0 if table.is_bits else entry.number("scale", 1.0),
                )
            found.add(entry.where, point, [name, entry.text("measurement", "modbus")])
            _left_out(entry, found)


def _register_type(entry: Entry, registers: int) -> str:
    """Give the type of a register style field, where FLOAT32 is an old word for UFIXED and no float at all."""
    kind = entry.text("data_type")
    if kind in {"BIT", "STRING"}:
        raise ConfigError(f"{entry.where}: data_type", f"{kind} has no place in the register style")
    fixed = {"FLOAT32": "UFIXED"}.get(kind, kind)
    known = _FIXED_POINT.get((fixed, registers), fixed.removesuffix("-IEEE"))
    try:
        fits = Encoding(known).registers == registers
    except ValueError as error:
        raise ConfigError(f"{entry.where}: data_type", str(error)) from None
    if not fits:
        raise ConfigError(f"{entry.where}: address", f"{kind} does not fill {registers} registers")
    return known


def _addresses(entry: Entry) -> list[int]:
    addresses = entry.take("address")
    if not isinstance(addresses, list) or not addresses or not all(type(number) is int for number in addresses):
        raise ConfigError(f"{entry.where}: address", f"must be a list of whole numbers, not {addresses!r}")
    if addresses != list(range(addresses[0], addresses[0] + len(addresses))):
        raise ConfigError(f"{entry.where}: address", f"{addresses} are not consecutive")
    return addresses


def _left_out(entry: Entry, found: Gathering) -> None:
    if ignored := entry.ignored():
        found.leave_out(entry.where, f"left out: {', '.join(ignored)}")
