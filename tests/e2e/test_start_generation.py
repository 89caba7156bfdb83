"""A server and a client whose newest identity is not whole start with the one before, and say so (pitfall 15)."""

from __future__ import annotations

import getpass
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from support.box import running_box
from support.served import SERVED, outcomes
from support.site import Pki, running_site


def half(link: Path, file: str, to: Path) -> Path:
    """Copy an identity twice, the newer one without a file; gives the link to the newer."""
    to.mkdir(parents=True)
    for number in ("000001", "000002"):
        shutil.copytree(link, to / number)
    (to / "000002" / file).unlink()
    (to / "current").symlink_to("000002")
    return to / "current"


@pytest.mark.parametrize("file", ["tls-key.pem", "ssh-host-key"])
async def test_a_server_starts_with_the_last_whole_identity(
    site_pki: Pki, tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str
) -> None:
    half(site_pki.server, file, tmp_path / "issued/server/box")
    pki = replace(site_pki, folder=tmp_path)
    async with running_site(pki, tmp_path, user=getpass.getuser()) as site:
        assert await outcomes(site, site_pki.client("operator")) == {SERVED}
    assert "000002 is not whole: " in caplog.text


def test_the_real_command_says_so_on_stderr(site_pki: Pki, tmp_path: Path) -> None:
    half(site_pki.server, "tls-key.pem", tmp_path / "issued/server/box")
    with running_box(replace(site_pki, folder=tmp_path), tmp_path) as box:
        assert box.ports
        assert "000002 is not whole: " in (tmp_path / "server.log").read_text()
        assert "; starting with 000001" in (tmp_path / "server.log").read_text()


@pytest.mark.parametrize("file", ["tls-key.pem", "ssh-key"])
async def test_a_client_goes_on_with_the_last_whole_identity(
    site_pki: Pki, tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str
) -> None:
    identity = half(site_pki.client("operator"), file, tmp_path / "ana")
    async with running_site(site_pki, tmp_path) as site:
        assert await outcomes(site, identity) == {SERVED}
    assert [record.levelno for record in caplog.records if "not whole" in record.message] == [logging.ERROR] * 2
