"""`fieldgate client write`: open the tunnel, write once, say so."""

from __future__ import annotations

import argparse
import sys

from fieldgate_client import requests
from fieldgate_client.arguments import LOGIN, add_place, add_site, base_of, new_parser, site_of
from fieldgate_client.cells import TYPES, Cells, to_write
from fieldgate_client.site import Site
from fieldgate_core.errors import EXIT_OK, OutcomeUnknownError

_WRITE = (
    """\
Writes values to cells with one request: function 5 or 6 for one value, 15 or 16
for several, from the start reference on. The values are numbers, 0 to 65535 for
registers, 0 or 1 for coils; 0x0f is understood.

The request is sent once. If its answer does not come, the exit code is 5: the
write may have taken effect or not; read back before you write again."""
    + LOGIN
)

_EXAMPLE = """\
examples:
  fieldgate client write modbus+ssh://operator@box-1.example.com -r 10 250
  fieldgate client write modbus+tls://192.0.2.17 -a 3 -r 100 1 2 3
  fieldgate client write modbus://127.0.0.1 -t 0 -r 5 1"""


def parser() -> argparse.ArgumentParser:
    """Build the command's parser."""
    made = new_parser("write", _WRITE, _EXAMPLE)
    add_site(made)
    add_place(made)
    kinds = "0 coil, 4 holding register (default: 4)"
    made.add_argument("-t", choices=tuple(TYPES), default="4", help=kinds)
    values = "0 to 65535; 0 or 1 for coils"
    made.add_argument("values", type=_number, nargs="+", metavar="VALUE", help=values)
    return made


def main(args: list[str]) -> int:
    """Run the command and return its exit code. Raises FieldgateError."""
    options = parser().parse_args(args)
    site = site_of(options)
    cells = to_write(options.a, TYPES[options.t], options.r, options.values, base=base_of(options))
    work = _write(site, cells, options.values)
    # the arguments hold: now asyncio is worth its import
    from fieldgate_client import stopping

    return stopping.run(work)


async def _write(site: Site, cells: Cells, values: list[int]) -> int:
    import asyncio

    async with site.open() as client:
        try:
            await client.write_cells(cells.table, cells.range.start, values, unit=cells.unit)
        except asyncio.CancelledError:
            raise OutcomeUnknownError(
                requests.write_function(cells.table, len(values)), "stopped before its answer came"
            ) from None
    sys.stderr.write(f"Written {len(values)} references.\n")
    return EXIT_OK


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
