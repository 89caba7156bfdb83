"""The person at the terminal: a line from them, without holding up the event loop."""

from __future__ import annotations

import asyncio
import os
import sys

_LONGEST = 4096


async def read_line() -> str:
    """Wait for a line on standard input, a terminal, so that a signal can end the waiting; "" at its end."""
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str] = loop.create_future()
    descriptor = sys.stdin.fileno()

    def readable() -> None:
        # a terminal gives a whole line at once
        if not line.done():
            line.set_result(os.read(descriptor, _LONGEST).decode(errors="replace"))

    loop.add_reader(descriptor, readable)
    try:
        return await line
    finally:
        loop.remove_reader(descriptor)
