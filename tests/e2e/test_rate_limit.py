"""Requests a second of one identity, through real doors: beyond its rate 06, for all its sessions, and it recovers."""

from __future__ import annotations

import asyncio
import getpass
from pathlib import Path

from support.asking import READ, READ_REPLY, WRITE, WRITE_REFUSED, ask, line_with
from support.scrape import metered_site, scrape, value
from support.site import Pki, running_site

BUSY = bytes.fromhex("000100000003018306")
SELDOM = "max_requests_per_second = 0.1"
"""One at once, and one every ten seconds."""


async def test_beyond_its_rate_an_identity_gets_06_through_every_session(site_pki: Pki, tmp_path: Path) -> None:
    async with metered_site(site_pki, tmp_path, extra=SELDOM) as site:
        async with site.stream("tls") as one, site.stream("tls") as two, site.stream("tls", "viewer") as other:
            await ask(one, READ, READ_REPLY)
            await ask(one, READ, BUSY)
            await ask(two, READ, BUSY)
            # another identity has its own, and what is refused for want of a right is said first
            await ask(other, READ, READ_REPLY)
            await ask(other, READ, BUSY)
            await ask(other, WRITE, WRITE_REFUSED)
        await line_with(site, "event=refused", "exception=06", 'why="over its rate"')
        samples = await scrape(site)
        assert value(samples, "fieldgate_refusals_total", step="rate") == 3
        assert value(samples, "fieldgate_requests_total", function="3", outcome="06") == 3


async def test_it_recovers(site_pki: Pki, tmp_path: Path) -> None:
    extra = "max_requests_per_second = 1"
    async with running_site(site_pki, tmp_path, extra=extra) as site, site.stream("tls") as (reader, writer):
        await ask((reader, writer), READ * 2, READ_REPLY + BUSY)
        writer.write(READ)
        while (reply := await reader.readexactly(len(BUSY))) == BUSY:
            await asyncio.sleep(0.02)
            writer.write(READ)
        assert reply + await reader.readexactly(len(READ_REPLY) - len(BUSY)) == READ_REPLY


async def test_a_new_connection_gives_no_new_rate(site_pki: Pki, tmp_path: Path) -> None:
    async with running_site(site_pki, tmp_path, user=getpass.getuser(), extra=SELDOM) as site:
        async with site.stream("modbus") as stream:
            await ask(stream, READ, READ_REPLY)
        async with site.stream("modbus") as stream:
            await ask(stream, READ, BUSY)


async def test_no_rate_is_the_default(site_pki: Pki, tmp_path: Path) -> None:
    async with running_site(site_pki, tmp_path) as site, site.stream("tls") as (reader, writer):
        writer.write(READ * 2000)
        assert await reader.readexactly(2000 * len(READ_REPLY)) == READ_REPLY * 2000


async def test_a_reload_changes_the_rate_of_who_is_connected(site_pki: Pki, tmp_path: Path) -> None:
    from fieldgate_core import settings
    from fieldgate_server.app import App
    from fieldgate_server.settings import Settings
    from support.site import Site

    async with running_site(site_pki, tmp_path) as first:
        file = first.folder / "server.toml"
    app = App(settings.load(file, Settings), load=lambda: settings.load(file, Settings))
    async with app.running():
        site = Site(app, site_pki, tmp_path)
        async with site.stream("tls") as stream:
            await ask(stream, READ * 20, READ_REPLY * 20)
            file.write_text(f"{SELDOM}\n{file.read_text()}")
            await app.reload()
            await ask(stream, READ, READ_REPLY)
            await ask(stream, READ, BUSY)
