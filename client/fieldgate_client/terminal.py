"""The person at the terminal: messages to them on stderr, and a line from them."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

_LONGEST = 4096


def say(text: str) -> None:
    """Write to stderr; a reader of it that went away must not stop a write, nor lose its answer."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


async def read_line() -> str:
    """Wait for a line on standard input, a terminal, so that a signal can end the waiting; "" at its end."""
    import asyncio

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
