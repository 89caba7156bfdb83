"""A foreign local user who writes and leaves in a hurry changes nothing, though the kernel calls who has left root."""

from __future__ import annotations

import asyncio
import contextlib
import pwd
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fieldgate_server.app import App
from fieldgate_server.guard import Guard
from fieldgate_server.settings import ListenSettings, Settings
from fieldgate_server.unit_settings import UnitSettings
from support.box import fieldgate
from support.counts import rounds
from support.foreign import ENDINGS, foreigner
from support.site import Pki, running_site

NAMELESS = 4242
BATCH = 25


@contextlib.asynccontextmanager
async def serving(kind: str, pki: Pki, folder: Path) -> AsyncIterator[App]:
    """Run a server in which root may write: by its policy, or as the owner of a quick start."""
    if kind == "policy":
        many = "max_sessions = 10000\nmax_sessions_without_rights = 10000\nmax_sessions_per_identity = 10000"
        async with running_site(pki, folder, user="root", units="", extra=many) as site:
            yield site.app
        return
    settings = Settings(listen=ListenSettings(port=0), unit=(UnitSettings(),), audit=folder / "audit.log")
    settings = replace(settings, max_sessions=10000, max_sessions_without_rights=10000, max_sessions_per_identity=10000)
    async with App(settings, owner_rights=True).running() as app:
        yield app


async def honest_write(port: int, value: int) -> None:
    """Write register 90 as root, and read it back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    ask = b"\0\1\0\0\0\6\1\6\0\x5a" + value.to_bytes(2, "big")
    writer.write(ask)
    assert await reader.readexactly(12) == ask
    writer.close()
    await writer.wait_closed()


class Judged:
    """Counts the connections that the server has judged; its trail gathers those that are alike."""

    def __init__(self, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._judge = app._admit_loopback
        monkeypatch.setattr(app, "_admit_loopback", self._counted)

    def _counted(self, *args: Any) -> Guard | None:
        try:
            return self._judge(*args)
        finally:
            self.count += 1


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["policy", "quick start"])
async def test_a_foreign_user_in_a_hurry_changes_nothing(
    kind: str, site_pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uids = {"nobody": pwd.getpwnam("nobody").pw_uid, "daemon": pwd.getpwnam("daemon").pw_uid, "nameless": NAMELESS}
    tries = rounds(200, 2000)
    trail = tmp_path / "audit.log"
    async with contextlib.AsyncExitStack() as stack:
        app = await stack.enter_async_context(serving(kind, site_pki, tmp_path))
        judged = Judged(app, monkeypatch)
        port = app.ports["modbus"]
        unit = app._units.get(1)
        assert unit is not None
        foreigners = [stack.enter_context(foreigner(uid)) for uid in uids.values()]
        plans = [(ending, late) for ending in ENDINGS for late in (True, False)]
        done = honest = 0
        while done < tries:
            for number, (ending, late) in enumerate(plans):
                await foreigners[(done // BATCH + number) % 3].attack(ending, BATCH, port, late=late)
                done += BATCH
                await honest_write(port, done)
                honest += 1
                async with asyncio.timeout(30):
                    while judged.count < done + honest:
                        await asyncio.sleep(0.01)
                # only the honest write has changed anything
                expected = bytearray(200)
                expected[180:182] = done.to_bytes(2, "big")
                assert unit.holding.read(0, 100) == expected  # type: ignore[attr-defined]
                assert unit.coils.read(0, 100) == bytes(13)  # type: ignore[attr-defined]
        assert done >= tries
    writes = [line for line in trail.read_text().splitlines() if "event=write" in line]
    assert writes
    assert all('range="holding 90"' in line for line in writes)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "box.example.com"])
def test_a_plain_listener_beyond_loopback_is_refused_and_told_the_two_doors(host: str) -> None:
    done = fieldgate("server", "run", "--host", host)
    assert done.returncode == 2
    assert done.stdout == ""
    [error] = [line for line in done.stderr.splitlines() if line.startswith("fieldgate: error: ")]
    assert f"--host {host}" in error
    assert "[ssh] and [tls]" in error


def test_a_port_that_is_none_is_refused() -> None:
    done = fieldgate("server", "run", "--port", "99999")
    assert done.returncode == 2
    assert "--port 99999: port 99999 is not 0 to 65535" in done.stderr
