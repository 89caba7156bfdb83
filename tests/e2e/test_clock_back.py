"""A clock that was set back while the server was down revives no grant that had ended."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from support.asking import READ, READ_REFUSED, READ_REPLY, ask
from support.site import Pki, running_site

GRANTS = {"viewer": '[{ units = "1", read = "all", until = "2090-01-01" }]'}


async def read_as_viewer(pki: Pki, folder: Path, reply: bytes) -> None:
    site = running_site(pki, folder, user=getpass.getuser(), grants=GRANTS)
    async with site as running, running.stream("tls", "viewer") as stream:
        await ask(stream, READ, reply)


async def test_what_the_trail_has_seen_the_next_starts_know(
    site_pki: Pki, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await read_as_viewer(site_pki, tmp_path, READ_REPLY)
    trail = tmp_path / "audit.log"
    with trail.open("a") as file:
        file.write("2091-01-01T00:00:00.000+00:00 clock=synced seq=1000 event=session state=closed\n")
    await read_as_viewer(site_pki, tmp_path, READ_REFUSED)
    assert "the clock is behind the trail" in caplog.text
    assert " latest=2091-01-01T00:00:00.000+00:00" in trail.read_text()
    # the lines since are all of this year
    await read_as_viewer(site_pki, tmp_path, READ_REFUSED)


async def test_a_reload_forgets_nothing_of_it(site_pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_text("2091-01-01T00:00:00.000+00:00 clock=synced seq=1 event=session state=closed\n")
    site = running_site(site_pki, tmp_path, user=getpass.getuser(), grants=GRANTS)
    async with site as running, running.stream("tls", "viewer") as stream:
        await ask(stream, READ, READ_REFUSED)
        await running.app.reload()
        await ask(stream, READ, READ_REFUSED)
