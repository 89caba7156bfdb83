"""`fieldgate client doctor`: read a few registers and show what they may mean."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
from typing import TYPE_CHECKING

from fieldgate_client.arguments import add_site, new_parser, site_of
from fieldgate_client.site import Site
from fieldgate_core.errors import EXIT_OK, ConfigError, ExceptionReplyError
from fieldgate_core.modbus import ADDRESSES, Table, unit_id

if TYPE_CHECKING:
    from rich.console import Console

    from fieldgate_client import SiteClient
    from fieldgate_client.doctor import Reading
    from fieldgate_client.values import Value

_DOCTOR = """\
Shows registers under every type, byte order and off-by-one, and marks what
looks plausible: for a manual that does not say, or that counts otherwise.
ADDRESS counts from 0, as in the PDU; the registers one below (a manual that
counts from 1) and one above are read too, of both tables. It only reads.

"""
_EXAMPLE = """\
examples:
  fieldgate client doctor pump-7 100
  fieldgate client doctor modbus+tls://192.0.2.17 100 -a 3 --json

exit codes: 0 ok, 1 neither table has such registers, and as for all commands"""
_TABLES = (Table.HOLDING, Table.INPUT)
_WIDE = 12
"""Characters of a float; of what needs more, six digits will do."""
_BEST = 8
"""Plausible readings that are listed at the end."""


def parser() -> argparse.ArgumentParser:
    """Build the command's parser."""
    from fieldgate_client.doctor import RULES

    made = new_parser("doctor", _DOCTOR + RULES, _EXAMPLE)
    add_site(made)
    made.add_argument("address", type=_address, metavar="ADDRESS", help="the register, counted from 0")
    made.add_argument("-a", type=int, metavar="UNIT", help="unit identifier (default: the site's, or 1)")
    made.add_argument("--json", action="store_true", help="print every reading as JSON")
    return made


def _address(text: str) -> int:
    number = int(text, 0)
    if not 0 <= number < ADDRESSES:
        raise argparse.ArgumentTypeError(f"{text} is not 0 to {ADDRESSES - 1}")
    return number


def main(args: list[str]) -> int:
    """Run the command and return its exit code. Raises FieldgateError."""
    options = parser().parse_args(args)
    site = site_of(options)
    unit = site.unit if options.a is None else options.a
    try:
        unit_id(unit)
    except ValueError as error:
        raise ConfigError(f"-a {unit}", str(error)) from None
    address: int = options.address
    from fieldgate_client import doctor, stopping

    registers = stopping.run(_read(site, unit, address))
    found = doctor.readings(address, registers)
    if options.json:
        sys.stdout.write(json.dumps(_as_data(unit, address, registers, found), indent=2) + "\n")
    else:
        _show(address, registers, found)
    return EXIT_OK


async def _read(site: Site, unit: int, address: int) -> dict[Table, dict[int, int]]:
    """Read the registers around an address, of both tables. Raises ExceptionReplyError when there are none at all."""
    refusals: list[ExceptionReplyError] = []
    async with site.open() as client:
        held = {table: await _registers(client, table, unit, address, refusals) for table in _TABLES}
    if not any(held.values()):
        raise refusals[0]
    return held


async def _registers(
    client: SiteClient, table: Table, unit: int, address: int, refusals: list[ExceptionReplyError]
) -> dict[int, int]:
    """Read one table at once or, where the device refuses that, register by register."""
    from fieldgate_client import doctor

    window = doctor.window(address)
    try:
        words = await client.read_cells(table, window.start, window.count, unit=unit)
        return dict(enumerate(words, window.start))
    except ExceptionReplyError as error:
        refusals.append(error)
    held: dict[int, int] = {}
    for cell in range(window.start, window.last + 1):
        with contextlib.suppress(ExceptionReplyError):
            held[cell] = (await client.read_cells(table, cell, unit=unit))[0]
    return held


def _as_data(
    unit: int, address: int, registers: dict[Table, dict[int, int]], found: list[Reading]
) -> dict[str, object]:
    return {
        "unit": unit,
        "address": address,
        "registers": {table.value: held for table, held in registers.items()},
        "readings": [
            {
                "table": reading.table.value,
                "address": reading.address,
                "type": reading.encoding.type,
                "byte_order": reading.encoding.order,
                # JSON has no NaN
                "value": None if _is_odd(reading.value) else reading.value,
                "likely": reading.likely,
                "why": reading.why,
            }
            for reading in found
        ],
    }


def _is_odd(value: Value) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _show(address: int, registers: dict[Table, dict[int, int]], found: list[Reading]) -> None:
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    from fieldgate_client import doctor

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    meant = {0: "the address as given", -1: "if the manual counts from 1", 1: "one further"}
    for table in registers:
        for shift in doctor.SHIFTS:
            part = [reading for reading in found if (reading.table, reading.shift) == (table, shift)]
            if not part:
                continue
            words = " ".join(
                f"{registers[table][cell]:04X}"
                for cell in range(address + shift, address + shift + doctor.WIDEST)
                if cell in registers[table]
            )
            # a line of its own: a grid's title is folded to the grid's width
            console.print(Text(f"{table.value} {address + shift}, {meant[shift]}: {words}"))
            grid = Grid(box=None, pad_edge=False)
            for column in ("", *doctor.ORDERS):
                grid.add_column(column, justify="right" if column else "left", overflow="fold")
            for kind in doctor.TYPES:
                if row := {reading.encoding.order: reading for reading in part if reading.encoding.type == kind}:
                    grid.add_row(kind, *(Text(_cell(row, order)) for order in doctor.ORDERS))
            console.print(grid)
            console.print()
    _conclude(console, address, doctor.plausible(found))


def _cell(row: dict[str, Reading], order: str) -> str:
    """Write one cell; AB and BA of a single register stand under ABCD and DCBA."""
    reading = row.get(order) or row.get({"ABCD": "AB", "DCBA": "BA"}.get(order, ""))
    if reading is None:
        return ""
    shown = reading.encoding.text(reading.value)
    if isinstance(reading.value, float) and len(shown) > _WIDE:
        shown = f"{reading.value:.6g}"
    if isinstance(reading.value, str):
        shown = "".join(character if character.isprintable() else "." for character in shown)
    return f"{shown}{' *' if reading.likely else '  '}"


def _conclude(console: Console, address: int, likely: list[Reading]) -> None:
    from rich.text import Text

    from fieldgate_client import doctor

    lines = [
        f"  {reading.table.value} {reading.address}  {reading.encoding}  "
        f"{reading.encoding.text(reading.value)}  ({reading.why})"
        for reading in likely[:_BEST]
    ]
    more = f" (the {_BEST} best of {len(likely)})" if len(likely) > _BEST else ""
    head = f"* plausible{more}, the most plausible first:" if lines else "Nothing here looks plausible."
    if numbered := doctor.modicon(address):
        lines.append(f"{address} may be Modicon's number of {numbered[0].value} {numbered[1]}: try that address too.")
    console.print(Text("\n".join([head, *lines])))
