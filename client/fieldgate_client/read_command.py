"""`fieldgate client read`: open the tunnel, ask, print."""

from __future__ import annotations

import argparse
import sys

from fieldgate_client.arguments import LOGIN, add_place, add_site, base_of, new_parser, site_of
from fieldgate_client.cells import TYPES, Cells, to_read
from fieldgate_client.site import Site
from fieldgate_core.errors import EXIT_OK

_READ = (
    """\
Reads cells with one request (function 1, 2, 3 or 4) and prints a line for each:
its reference, and its value. A register of 32768 or more is followed by its
value as a signed number. Nothing else is printed on stdout."""
    + LOGIN
)

_EXAMPLE = """\
examples:
  fieldgate client read modbus+ssh://viewer@box-1.example.com
  fieldgate client read modbus+tls://192.0.2.17 -a 3 -t 3 -r 100 -c 20
  fieldgate client read modbus://127.0.0.1 -0 -r 0 -c 125 --timeout 1

what is printed, for -r 1 -c 2:
  [1]:    17
  [2]:    65535 (-1)"""


def parser() -> argparse.ArgumentParser:
    """Build the command's parser."""
    made = new_parser("read", _READ, _EXAMPLE)
    add_site(made)
    add_place(made)
    made.add_argument("-c", type=int, default=1, metavar="COUNT", help="number of cells (default: 1)")
    kinds = "0 coil, 1 discrete input, 3 input register, 4 holding register (default: 4)"
    made.add_argument("-t", choices=tuple(TYPES), default="4", help=kinds)
    return made


def main(args: list[str]) -> int:
    """Run the command and return its exit code. Raises FieldgateError."""
    options = parser().parse_args(args)
    site = site_of(options)
    work = _read(site, to_read(options.a, TYPES[options.t], options.r, options.c, base=base_of(options)))
    # the arguments hold: now asyncio is worth its import
    from fieldgate_client import stopping

    return stopping.run(work)


async def _read(site: Site, cells: Cells) -> int:
    async with site.open() as client:
        values = await client.read_cells(cells.table, cells.range.start, cells.range.count, unit=cells.unit)
    sys.stdout.write("".join(f"{line}\n" for line in cells.lines(values)))
    return EXIT_OK
