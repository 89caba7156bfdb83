"""`fieldgate tunnel forward` at work: its links and local ports together, told in plain lines, until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from pathlib import Path

from fieldgate_core import logs
from fieldgate_core.url import SiteUrl, parse
from fieldgate_tunnel import forward_settings, status
from fieldgate_tunnel.dialers import check_identity
from fieldgate_tunnel.forward import Forward
from fieldgate_tunnel.forward_settings import Address, ForwardSettings, TcpAddress
from fieldgate_tunnel.keepalive import PRESETS, Probe
from fieldgate_tunnel.link import Link, to_site
from fieldgate_tunnel.own_identity import default_identity
from fieldgate_tunnel.peer import PeerUsers
from fieldgate_tunnel.running import runner, say
from fieldgate_tunnel.teller import Teller

log = logging.getLogger("fieldgate.forward")


def run(forwards: tuple[ForwardSettings, ...], base: Path) -> int:
    """Forward until SIGTERM or Ctrl-C, and give the exit code; paths are relative to `base`.

    Raises ConfigError, before a port is open, for anything that is wrong in the settings or in identity folders.
    """
    logs.set_up()
    addresses = forward_settings.addresses(forwards, base)
    needs_users = any(isinstance(one, TcpAddress) for several in addresses for one in several)
    users = PeerUsers() if needs_users else None
    try:
        prepared = [(*_prepare(one, users), where) for one, where in zip(forwards, addresses, strict=True)]
        with runner() as work:
            work.run(_serve(prepared))
    finally:
        if users is not None:
            users.close()
    return 0


def _prepare(settings: ForwardSettings, users: PeerUsers | None) -> tuple[Link, Forward]:
    url: SiteUrl = parse(settings.url)._replace(domain=settings.domain)
    identity = settings.identity or default_identity()
    check_identity(url, identity)
    link = Link(
        str(url),
        to_site(url, identity),
        keepalive=PRESETS[settings.keepalive],
        waits=settings.while_down == "wait",
        probe=Probe(settings.probe_unit, settings.probe_address),
        in_flight=settings.in_flight,
        bytes_per_day=settings.bytes_per_day or None,
    )
    admitted = forward_settings.uids(settings.allow_users)
    return link, Forward(str(url), link.carrier, admitted=admitted, users=users, deadline=settings.deadline)


async def _serve(prepared: list[tuple[Link, Forward, tuple[Address, ...]]]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)

    def report() -> list[status.Reported]:
        return [
            (link.status(), {"listen": forward.listening_on, "clients": forward.clients})
            for link, forward, _ in prepared
        ]

    tasks: list[asyncio.Task[None]] = []
    try:
        async with contextlib.AsyncExitStack() as stack:
            for _, forward, where in prepared:
                for one in where:
                    await stack.enter_async_context(forward.listening(one))
                for one_open in forward.listening_on:
                    say(f"listening: modbus {one_open}")
                    log.info("listening: modbus %s for %s", one_open, forward.target)
            await stack.enter_async_context(status.answering(report))
            for link, _, _ in prepared:
                link.subscribe(Teller(link.target).tell)
                tasks.append(asyncio.create_task(link.run()))
            say("ready")
            waiting = asyncio.create_task(stopped.wait())
            await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for failure in ended:
        if isinstance(failure, Exception):
            raise failure
