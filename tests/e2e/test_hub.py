"""A box that dials in to a hub is reached there by name, by TLS from end to end, and by nobody whom the hub refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fieldgate_client.connection import connect
from fieldgate_core.errors import ConfigError, NotTrustedError, RejectedError, UnreachableError
from fieldgate_core.modbus import Table
from support.asking import line_with
from support.hubs import BOX, OTHER, POLICY, RunningHub, as_box, box_folder, make_hub_pki, running_hub
from support.site import TABLES_OF_THE_VECTORS, Pki, running_site


@pytest.fixture(scope="session")
def hub_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_hub_pki(tmp_path_factory.mktemp("hub-pki") / "pki", "127.0.0.1")


@pytest.fixture
async def hub(hub_pki: Pki, tmp_path: Path) -> AsyncIterator[RunningHub]:
    async with running_hub(hub_pki, tmp_path) as running:
        yield running


async def test_a_box_that_dials_in_is_reached_by_its_name(hub: RunningHub, tmp_path: Path) -> None:
    pki = hub.pki
    async with running_site(as_box(pki, BOX), box_folder(tmp_path, BOX), units=TABLES_OF_THE_VECTORS + hub.dial_settings()) as site:
        await hub.until_offered()
        async with connect(hub.site(), identity=pki.client("operator")) as client:
            assert await client.read_cells(Table.HOLDING, 0, 2) == [17, 17]
        line = await line_with(site, "event=session", "door=tls")
        assert 'peer="via 127.0.0.1"' in line
