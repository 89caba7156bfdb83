"""Many links in one process, each polled; prints what they do, one JSON object a line. Run: URL IDENTITY COUNT."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from functools import partial
from pathlib import Path

from fieldgate_core.errors import FieldgateError
from fieldgate_core.url import parse
from fieldgate_tunnel.keepalive import Keepalive
from fieldgate_tunnel.link import Link, to_site
from fieldgate_tunnel.link_events import LinkDown, LinkEvent, LinkUp

PULSE = Keepalive(1.0, 2)
"""Quick to see a loss; the rest is as users have it."""
READ = b"\x03\0\0\0\1"


def _told(number: int, event: LinkEvent) -> None:
    if isinstance(event, LinkUp | LinkDown):
        line = {"link": number, "event": type(event).__name__, "at": time.monotonic()}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


async def _poll(link: Link) -> None:
    while True:
        with contextlib.suppress(FieldgateError):
            await link.carrier.request(1, READ, deadline=2.0)
        await asyncio.sleep(1.0)


async def _main(url: str, identity: str, count: int) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            link = Link(url, to_site(parse(url), Path(identity)), keepalive=PULSE)
            link.subscribe(partial(_told, number))
            group.create_task(link.run())
            group.create_task(_poll(link))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
