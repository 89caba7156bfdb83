"""What `fieldgate client read` and `write` do once their arguments hold: open the tunnel, ask, print."""

from __future__ import annotations

import sys

from fieldgate_client import exchange
from fieldgate_client.cells import Cells
from fieldgate_client.site import Site
from fieldgate_core.errors import EXIT_OK, OutcomeUnknownError


async def read(site: Site, cells: Cells) -> int:
    """Read cells and print a line for each. Returns the exit code."""
    async with site.open() as client:
        values = await exchange.read(client, cells)
    sys.stdout.write("".join(f"{line}\n" for line in cells.lines(values)))
    return EXIT_OK


async def write(site: Site, cells: Cells, values: list[int]) -> int:
    """Write values and say so on stderr. Returns the exit code."""
    import asyncio

    async with site.open() as client:
        try:
            await exchange.write(client, cells, values)
        except asyncio.CancelledError:
            raise OutcomeUnknownError(exchange.write_function(cells), "stopped before its answer came") from None
    sys.stderr.write(f"Written {len(values)} references.\n")
    return EXIT_OK
