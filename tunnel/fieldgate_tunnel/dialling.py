"""Dials at work, within a server or as `fieldgate tunnel dial`: all its hubs together, until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Sequence

from fieldgate_core import logs
from fieldgate_tunnel import status
from fieldgate_tunnel.dial import Dial
from fieldgate_tunnel.dial_settings import DialSettings
from fieldgate_tunnel.dialled import Door
from fieldgate_tunnel.running import runner, say
from fieldgate_tunnel.teller import Teller


@contextlib.asynccontextmanager
async def staying(dials: Sequence[Dial]) -> AsyncIterator[None]:
    """Keep all of them until the block ends. Raises what one of them should not have raised."""
    tasks = [asyncio.create_task(dial.run()) for dial in dials]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for failure in ended:
        if isinstance(failure, Exception):
            raise failure


def made(settings: DialSettings, door: Door) -> Dial:
    """Prepare one that leads to a door at an address, and tells in the log how it fares. Raises ConfigError."""
    return Dial(settings, door, tell=Teller(settings.url).tell)


def run(dials: Sequence[DialSettings], door: Door) -> int:
    """Dial until SIGTERM or Ctrl-C, and give the exit code. Raises ConfigError before anything is dialled."""
    logs.set_up()
    prepared = [made(settings, door) for settings in dials]
    with runner() as work:
        work.run(_serve(prepared))
    return 0


async def _serve(dials: Sequence[Dial]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)

    def report() -> list[status.Reported]:
        return [(dial.status(), {"listen": [], "round_trip": None, "cap": None}) for dial in dials]

    async with status.answering(report), staying(dials):
        say("ready")
        await stopped.wait()
