"""The SSH door's banner: a stock ssh shows it to whoever connects, known or not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from fieldgate_core import settings
from fieldgate_server.app import App
from fieldgate_server.settings import Settings
from support.asking import DENIED, read_by_ssh
from support.mint import Ssh
from support.site import TABLES_OF_THE_VECTORS, Pki, Site, write_files
from support.tools import run

TOOLS = ("ssh",)
"""Stock tools that these tests need (conftest.py)."""

TEXT = "Pumping station 7: authorised staff only"


@pytest.mark.parametrize("banner", [TEXT, ""])
@pytest.mark.parametrize("known", [True, False])
async def test_whoever_connects_sees_the_banner(site_pki: Pki, tmp_path: Path, banner: str, known: bool) -> None:
    file = write_files(site_pki, tmp_path, user="root", grants=None, units=TABLES_OF_THE_VECTORS, extra="")
    wanted = settings.load(file, Settings)
    assert wanted.ssh is not None
    app = App(dataclasses.replace(wanted, ssh=dataclasses.replace(wanted.ssh, banner=banner)))
    async with app.running():
        site = Site(app, site_pki, tmp_path)
        who = Ssh() if known else Ssh(ca="host-ca")
        ended = await run("ssh", *read_by_ssh(site, who.identity(site_pki, tmp_path / "who")))
    assert (TEXT in ended.err) is bool(banner)
    assert (DENIED in ended.err) is not known
