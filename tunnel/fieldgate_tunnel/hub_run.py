"""`fieldgate tunnel hub` at work, until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

from fieldgate_core import logs, settings
from fieldgate_core.errors import ConfigError
from fieldgate_tunnel import hub_settings, status
from fieldgate_tunnel.binding import bind
from fieldgate_tunnel.hub import Hub
from fieldgate_tunnel.hub_settings import HubFiles, HubSettings
from fieldgate_tunnel.running import runner, say

log = logging.getLogger("fieldgate.hub")


def run(file: Path) -> int:
    """Run a hub until SIGTERM or Ctrl-C, and give the exit code. Raises ConfigError."""
    logs.set_up()
    found = _read(file)
    with runner() as work:
        work.run(_serve(file, found))
    return 0


def _read(file: Path) -> HubFiles:
    return hub_settings.read(settings.load(file, HubSettings))


async def _serve(file: Path, found: HubFiles) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    hub = Hub(found)

    def reload() -> None:
        try:
            hub.replace(_read(file))
        except ConfigError as error:
            log.error("the reload failed, and all stays as it was: %s", error)
        else:
            log.info("reloaded")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, reload)
    at = found.settings
    await bind(f"hub {at.host}:{at.port}", hub.start)
    try:
        async with status.answering(hub.status):
            say(f"listening: hub {f'[{at.host}]' if ':' in at.host else at.host}:{hub.port}")
            say("ready")
            await stopped.wait()
    finally:
        await hub.close()
