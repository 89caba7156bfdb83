"""Sessions that end by themselves: idle, too old, replaced by a newer one; and grants that end under them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fieldgate_server import app as app_module
from fieldgate_server.policy import Policy
from support.asking import READ, READ_REPLY, WRITE, WRITE_REFUSED, Stream, ask, line_with
from support.operating import OPERATOR, change, command, operated, rewrite_policy, trail_of
from support.site import DOORS, Pki


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the sessions more often than once a second."""
    monkeypatch.setattr(app_module, "_LOOK", 0.02)


async def keep_asking(stream: Stream, until: asyncio.Event) -> None:
    while not until.is_set():
        await ask(stream, READ, READ_REPLY)
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("door", DOORS)
async def test_who_asks_nothing_is_closed_and_who_asks_is_not(site_pki: Pki, tmp_path: Path, door: str) -> None:
    async with operated(site_pki, tmp_path, extra="idle = 0.5\n") as site:
        async with site.stream(door) as idle, site.stream(door, "viewer" if door != "modbus" else "operator") as busy:
            ended = asyncio.Event()
            polling = asyncio.create_task(keep_asking(busy, ended))
            assert await idle[0].read() == b""
            await line_with(site, "event=session", "state=ended", "idle for 0.5 s")
            ended.set()
            await polling
            await ask(busy, READ, READ_REPLY)
        assert len(trail_of(site, "state=ended")) == 1


@pytest.mark.parametrize("door", DOORS)
async def test_no_session_outlives_its_lifetime_be_it_busy(site_pki: Pki, tmp_path: Path, door: str) -> None:
    async with operated(site_pki, tmp_path) as site, site.stream(door) as stream:
        await ask(stream, READ, READ_REPLY)
        change(site.folder / "server.toml", "[listen]\n", "lifetime = 0.5\n[listen]\n")
        assert (await command(site, "reload"))["ok"]
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await keep_asking(stream, asyncio.Event())
        await line_with(site, "event=session", "state=ended", "open for 0.5 s, which is the longest")
        async with site.stream(door) as again:
            await ask(again, READ, READ_REPLY)


async def test_without_limits_nobody_is_closed(site_pki: Pki, tmp_path: Path) -> None:
    async with operated(site_pki, tmp_path, extra="idle = 0\nlifetime = 0\n") as site, site.stream("tls") as stream:
        for account in site.app.accounts:
            account.opened -= 10 * 365 * 86400
            account.active -= 10 * 365 * 86400
        looked = site.app.accounts._looked
        async with asyncio.timeout(10):
            while site.app.accounts._looked == looked:
                await asyncio.sleep(0.01)
        await ask(stream, READ, READ_REPLY)


@pytest.mark.parametrize("door", DOORS)
async def test_a_new_session_of_an_exclusive_role_closes_the_older_one(
    site_pki: Pki, tmp_path: Path, door: str
) -> None:
    async with operated(site_pki, tmp_path) as site:
        rewrite_policy(site, operator=f"{OPERATOR}\nexclusive = true")
        async with site.stream("tls", "viewer") as viewer, site.stream("tls", "viewer") as other_viewer:
            await ask(viewer, READ, READ_REPLY)
            await ask(other_viewer, READ, READ_REPLY)
            # the newer one finds a place, though the older one is still there
            change(site.folder / "server.toml", "[listen]\n", "max_sessions_per_identity = 1\n[listen]\n")
            assert (await command(site, "reload"))["ok"]
            async with site.stream(door) as first:
                await ask(first, WRITE, WRITE)
                for _ in range(4):
                    async with site.stream(door) as newer:
                        await ask(newer, WRITE, WRITE)
                        # what the older one still sends is not carried out
                        assert await first[0].read() == b""
            line = await line_with(site, "state=ended", "a newer session of this identity")
            assert "role=operator" in line
            for each in (viewer, other_viewer):
                await ask(each, READ, READ_REPLY.replace(b"\x00\x11", b"\x01\x00"))


async def test_a_grant_that_ends_ends_under_a_live_session(
    site_pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        operated(site_pki, tmp_path) as site,
        site.stream("tls") as stream,
        site.stream("tls", "viewer") as other,
    ):
        until = datetime.fromtimestamp(time.time() + 3600, UTC).isoformat(timespec="seconds")
        manage = '{ manage = ["status", "reload"] }'
        timed = f'[{{ units = "all", read = "all" }}, {{ units = "all", write = "all", until = "{until}" }}, {manage}]'
        rewrite_policy(site, operator=timed)
        assert (await command(site, "reload"))["ok"]
        await ask(stream, WRITE, WRITE)
        monkeypatch.setattr(Policy, "look_again", lambda _: 0.02)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 7200)
        await line_with(site, "event=server", "rights changed by time", "roles=operator")
        await ask(stream, WRITE, WRITE_REFUSED)
        # a clock that is set back revives nothing, nor does a reload then
        monkeypatch.setattr(time, "time", real)
        await ask(stream, WRITE, WRITE_REFUSED)
        assert (await command(site, "reload"))["ok"]
        await ask(stream, WRITE, WRITE_REFUSED)
        await ask(other, READ, READ_REPLY.replace(b"\x00\x11", b"\x01\x00"))


@pytest.mark.parametrize("door", ["tls", "ssh"])
async def test_a_clock_that_is_set_forward_ends_who_has_run_out_by_then(
    site_pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    """Certificates of these tests live for days, and the timer of a session counts seconds."""
    real = time.time
    async with operated(site_pki, tmp_path) as site, site.stream(door) as ends, site.stream("modbus") as stays:
        await ask(ends, READ, READ_REPLY)
        monkeypatch.setattr(time, "time", lambda: real() + 400 * 86400)
        assert await ends[0].read() == b""
        await line_with(site, "event=session", "state=ended", "credential has run out")
        await ask(stays, READ, READ_REPLY)
        monkeypatch.undo()
