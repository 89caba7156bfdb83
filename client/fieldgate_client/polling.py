"""Ask for the same items again and again, at a steady rate, through as many tunnels as that takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from fieldgate_client.asking import ask
from fieldgate_client.readings import Reading
from fieldgate_client.selection import Item
from fieldgate_client.site import Site
from fieldgate_core.errors import DeadlineError, FieldgateError, TunnelLostError, UnreachableError

REOPEN_SECONDS = 1.0
"""Least time between two attempts to open a tunnel."""
Show = Callable[[datetime, list[Reading]], None]


async def poll(site: Site, items: Sequence[Item], seconds: float, show: Show) -> None:
    """Ask every so many seconds and show what came, until cancelled. A tunnel that is lost is opened anew.

    Raises what opening the first tunnel raises, and later what opening it again would not mend: NotTrustedError,
    RejectedError, ConfigError.
    """
    loop = asyncio.get_running_loop()
    opened = False
    due = loop.time()
    while True:
        try:
            async with site.open() as client:
                opened = True
                while client.is_open:
                    await _until(due)
                    readings = await ask(client, items)
                    show(datetime.now(UTC), readings)
                    due = _next(due, seconds, loop.time())
        except (TunnelLostError, UnreachableError, DeadlineError) as error:
            if not opened:
                raise
            show(datetime.now(UTC), _failed(items, error))
        due = max(_next(due, seconds, loop.time()), loop.time() + min(seconds, REOPEN_SECONDS))
        await _until(due)


def _failed(items: Sequence[Item], error: FieldgateError) -> list[Reading]:
    return [Reading(item, None, error) for item in items]


def _next(due: float, seconds: float, now: float) -> float:
    """Give the next time of the steady rate; those that were missed are left out."""
    late = max(now - due, 0.0)
    return due + seconds * (int(late / seconds) + 1)


async def _until(due: float) -> None:
    await asyncio.sleep(max(due - asyncio.get_running_loop().time(), 0.0))
