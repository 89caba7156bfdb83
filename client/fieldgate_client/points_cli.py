"""`fieldgate client points`: import and export register maps of other tools, and list points."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fieldgate_client.arguments import new_parser
from fieldgate_core.errors import EXIT_OK, ConfigError

if TYPE_CHECKING:
    from fieldgate_client.maps.model import Exported, Imported
    from fieldgate_client.points import Point

FORMATS = ("telegraf", "home-assistant", "modpoll", "modbus-exporter")
_BASES = ("0", "1", "modicon")
_AS_WRITTEN = argparse.RawDescriptionHelpFormatter

_POINTS = """\
Points are names for what registers and coils mean. They are in a TOML file;
other tools' register maps become such a file, and such a file becomes theirs."""
_IMPORT = """\
Reads the register map of another tool and prints it as a file of points. What
points have no place for is said on stderr, a line each."""
_IMPORT_EXAMPLE = """\
examples:
  fieldgate client points import --format telegraf telegraf.conf >pump.toml
  fieldgate client points import --format modpoll \\
      --address-base modicon meter.csv
  fieldgate client points import --format modbus-exporter \\
      --device em24 modbus.yml"""
_EXPORT = """\
Prints a file of points as the register map of another tool. What the format has
no place for is said on stderr, a line each."""
_EXPORT_EXAMPLE = """\
example:
  fieldgate client points export --format home-assistant pump.toml >modbus.yaml"""
_LIST = """\
Lists the points of a file, or of a site that names one. Points whose registers
overlap in part are told on stderr: one of the two is likely to be wrong."""
_LIST_EXAMPLE = """\
examples:
  fieldgate client points list pump.toml
  fieldgate client points list pump-7 --json"""


def main(args: list[str]) -> int:
    """Run the command and return its exit code. Raises FieldgateError."""
    options = parser().parse_args(args)
    code: int = options.carry_out(options)
    return code


def parser() -> argparse.ArgumentParser:
    """Build the command's parser."""
    points = new_parser("points", _POINTS, "")
    kinds = points.add_subparsers(metavar="COMMAND", required=True)
    texts = {
        "import": ("make points of another tool's register map", _IMPORT, _IMPORT_EXAMPLE, _import),
        "export": ("write points as another tool's register map", _EXPORT, _EXPORT_EXAMPLE, _export),
        "list": ("list the points of a file or site", _LIST, _LIST_EXAMPLE, _list),
    }
    leaves = {}
    for name, (line, description, epilog, run) in texts.items():
        leaf = kinds.add_parser(name, help=line, description=description, epilog=epilog, formatter_class=_AS_WRITTEN)
        leaf.set_defaults(carry_out=run)
        leaves[name] = leaf
    for name in ("import", "export"):
        leaves[name].add_argument(
            "--format", choices=FORMATS, required=True, metavar="F", help=f"the other tool: {', '.join(FORMATS)}"
        )
        leaves[name].add_argument("file", type=Path, metavar="FILE")
    base = (
        "what the file calls the first address of a table: 0, 1, or 40001 and so on; for modpoll, which leaves it open"
    )
    leaves["import"].add_argument("--address-base", choices=_BASES, help=base)
    device = "only this device: Telegraf's plugin, Home Assistant's hub, modpoll's device, the exporter's module"
    leaves["import"].add_argument("--device", metavar="NAME", help=device)
    leaves["list"].add_argument("points_of", metavar="SITE|FILE", help="a file of points, or a site's name")
    leaves["list"].add_argument("--json", action="store_true", help="print the points as JSON")
    return points


def _import(options: argparse.Namespace) -> int:
    from fieldgate_client import points_file

    found = _imported(options)
    sys.stdout.write(points_file.dump(found.points))
    _warn(found.warnings)
    return EXIT_OK


def _imported(options: argparse.Namespace) -> Imported:
    text, where, device = _text(options.file), str(options.file), options.device
    if options.format == "modpoll":
        from fieldgate_client.maps import modpoll

        if options.address_base is None:
            hint = "modpoll sends addresses as they are written (0), unless the file was made otherwise"
            raise ConfigError("--address-base", f"is needed for modpoll: {', '.join(_BASES)}", hint=hint)
        return modpoll.read(text, where, base=modpoll.AddressBase(options.address_base), device=device)
    if options.address_base not in {None, "0"}:
        raise ConfigError("--address-base", f"addresses of {options.format} count from 0")
    from fieldgate_client.maps import home_assistant, modbus_exporter, telegraf

    readers = {
        "telegraf": telegraf.read,
        "home-assistant": home_assistant.read,
        "modbus-exporter": modbus_exporter.read,
    }
    return readers[options.format](text, where, device=device)


def _export(options: argparse.Namespace) -> int:
    from fieldgate_client import points_file
    from fieldgate_client.maps import home_assistant, modbus_exporter, modpoll, telegraf

    writers = {
        "telegraf": telegraf.write,
        "home-assistant": home_assistant.write,
        "modpoll": modpoll.write,
        "modbus-exporter": modbus_exporter.write,
    }
    made: Exported = writers[options.format](points_file.load(options.file))
    sys.stdout.write(made.text)
    _warn([f"{options.format} {line}" for line in made.warnings])
    return EXIT_OK


def _list(options: argparse.Namespace) -> int:
    from fieldgate_client.points import overlaps

    points = _points_of(options.points_of)
    if options.json:
        sys.stdout.write(json.dumps([_as_data(point) for point in points], indent=2, ensure_ascii=False) + "\n")
    else:
        _show(points)
    pairs = overlaps(points)
    _warn([f"{one.name} ({one.cells}) and {other.name} ({other.cells}) overlap in part" for one, other in pairs])
    return EXIT_OK


def _points_of(text: str) -> tuple[Point, ...]:
    from fieldgate_client import points_file, site_names

    if text.endswith(".toml"):
        return points_file.load(Path(text))
    site = site_names.target(text)
    if site.points is None:
        raise ConfigError(text, "names no file of points", hint='add points = "FILE" to it in the site list')
    return points_file.load(site.points)


def _as_data(point: Point) -> dict[str, object]:
    from fieldgate_client.points import WORD_OF_TABLE

    return {
        "name": point.name,
        "table": WORD_OF_TABLE[point.table],
        "address": point.address,
        "type": point.encoding.type,
        "byte_order": point.encoding.order,
        "length": point.encoding.length,
        "bit": point.encoding.bit,
        "unit_id": point.unit_id,
        "scale": point.scale,
        "offset": point.offset,
        "unit": point.unit,
        "low": point.low,
        "high": point.high,
        "precision": point.precision,
        "writable": point.writable,
        "description": point.description,
    }


def _show(points: Sequence[Point]) -> None:
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    from fieldgate_client.points import WORD_OF_TABLE

    grid = Grid(box=None, pad_edge=False)
    for column in ("name", "table", "address", "type", "scale", "unit", "limits", "", "description"):
        grid.add_column(column, justify="right" if column == "address" else "left", overflow="fold")
    for point in points:
        offset = f" {point.offset:+g}" if point.offset else ""
        limits = ["" if limit is None else f"{limit:g}" for limit in (point.low, point.high)]
        cells = (
            point.name,
            WORD_OF_TABLE[point.table],
            str(point.cells),
            str(point.encoding),
            f"{point.scale:g}{offset}" if point.is_scaled else "",
            point.unit,
            "..".join(limits) if any(limits) else "",
            "rw" if point.writable else "r",
            point.description,
        )
        grid.add_row(*map(Text, cells))
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(grid)


def _warn(lines: Sequence[str]) -> None:
    for line in lines:
        # a file's text may hold what a terminal obeys
        shown = "".join(character if character.isprintable() else "?" for character in line)
        sys.stderr.write(f"fieldgate: warning: {shown}\n")


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(str(file), "is not UTF-8 text") from None
