"""A supervised link that runs for a test, and what it has told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

from fieldgate_core.url import parse
from fieldgate_tunnel.backoff import Backoff
from fieldgate_tunnel.keepalive import Keepalive
from fieldgate_tunnel.link import Link, to_site
from fieldgate_tunnel.link_events import LinkEvent

E = TypeVar("E")

QUICK = Keepalive(0.2, 2, 0.2)
PATIENCE = 20.0


class Watch:
    """The events of a link, in their order."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.events: list[LinkEvent] = []
        self._came = asyncio.Event()
        self._seen = 0
        link.subscribe(self._take)

    def _take(self, event: LinkEvent) -> None:
        self.events.append(event)
        self._came.set()

    async def next(self, kind: type[E], wanted: Callable[[E], bool] = lambda _: True) -> E:
        """Wait for the next event of a kind, past those that were waited for before. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            while True:
                while self._seen < len(self.events):
                    event = self.events[self._seen]
                    self._seen += 1
                    if isinstance(event, kind) and wanted(event):
                        return event
                self._came.clear()
                await self._came.wait()


@contextlib.asynccontextmanager
async def watched(url: str, identity: Path | None = None, **given: Any) -> AsyncIterator[Watch]:
    """Run a link until the block ends, with a quick pulse unless told otherwise."""
    options: dict[str, Any] = {"keepalive": QUICK, "backoff": Backoff(0.2, base=0.05), **given}
    link = Link(url, to_site(parse(url), identity), **options)
    async with running(link) as watch:
        yield watch


@contextlib.asynccontextmanager
async def running(link: Link) -> AsyncIterator[Watch]:
    """Run this link until the block ends; it must end clean, and leave no task behind."""
    before = asyncio.all_tasks()
    watch = Watch(link)
    task = asyncio.create_task(link.run())
    try:
        yield watch
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    left = {one for one in asyncio.all_tasks() - before if not one.done() and "fieldgate_tunnel" in repr(one)}
    assert not left, left
