"""A PKI with a hub and boxes behind it, a hub in the test's own event loop, and boxes that dial in to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from fieldgate_core import settings
from fieldgate_core.sites import ListedSite
from fieldgate_core.url import SiteUrl
from fieldgate_tunnel import hub_settings
from fieldgate_tunnel.hub import Hub
from fieldgate_tunnel.hub_settings import HubSettings
from support.site import Pki, make_pki

DOMAIN = "acme.example"
PATIENCE = 20.0
BOX, OTHER = "box-7", "box-8"
POLICY = f"""
[[box]]
name = "{BOX}"
offered_by = ["{BOX}"]
reached_by = ["operator", "viewer"]
[[box]]
name = "{OTHER}"
offered_by = ["{OTHER}"]
reached_by = ["operator"]
"""


def make_hub_pki(folder: Path, *hosts: str) -> Pki:
    """Make a PKI with a hub at these addresses, and two boxes: each is a server, and a client of the hub's."""
    from fieldgate_certs.cli import main

    pki = make_pki(folder)
    at = ["--dir", str(folder)]
    ips = [word for host in hosts for word in ("--ip", host)]
    assert main(["issue", "server", "hub", *ips, *at]) == 0
    for box in (BOX, OTHER):
        assert main(["issue", "server", box, "--dns", f"{box}.{DOMAIN}", *at]) == 0
        assert main(["issue", "client", box, "--role", box, *at]) == 0
    return pki


def identity_of(pki: Pki, server: str) -> Path:
    """Give the identity folder of the hub, or of a box as a server."""
    return pki.folder / f"issued/server/{server}/current"


@dataclass
class RunningHub:
    """A hub in this process, and the file of its settings."""

    hub: Hub
    pki: Pki
    file: Path
    log: list[str] = field(default_factory=list)

    def url(self, box: str = BOX, login: str = "") -> str:
        """Give the URL of a box here."""
        return f"modbus+tls+ssh://{f'{login}@' if login else ''}127.0.0.1:{self.hub.port}/{box}"

    def site(self, box: str = BOX, domain: str = DOMAIN) -> SiteUrl:
        """Give a box as a site list has it."""
        return ListedSite(self.url(box), domain=domain).address

    def dial_settings(self, box: str = BOX, login: str = "") -> str:
        """Give the [[dial]] of a box's server."""
        identity = self.pki.client(login or box)
        return f'\n[[dial]]\nurl = "{self.url(box, login or box)}"\nidentity = "{identity}"\n'

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is true. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            while not true():
                await asyncio.sleep(0.01)

    async def until_offered(self, box: str = BOX) -> None:
        """Wait until a box has dialled in."""
        await self.until(lambda: box in self.hub.offers)


def hub_file(pki: Pki, folder: Path, policy: str = POLICY, more: str = "", *, host: str = "127.0.0.1") -> Path:
    """Write the settings of a hub on a free port."""
    file = folder / "hub.toml"
    file.write_text(f'identity = "{identity_of(pki, "hub")}"\nhost = "{host}"\nport = 0\n{more}\n{policy}')
    return file


@contextlib.asynccontextmanager
async def running_hub(pki: Pki, folder: Path, policy: str = POLICY, more: str = "") -> AsyncIterator[RunningHub]:
    """Run a hub until the block ends."""
    file = hub_file(pki, folder, policy, more)
    hub = Hub(hub_settings.read(settings.load(file, HubSettings)))
    await hub.start()
    try:
        yield RunningHub(hub, pki, file)
    finally:
        await hub.close()


def box_folder(folder: Path, box: str) -> Path:
    """Make the folder of a box's server."""
    made = folder / box
    made.mkdir()
    return made


def as_box(pki: Pki, box: str) -> Pki:
    """Give the PKI as a box has it: the server's identity is the box's."""
    from support.site import Elsewhere

    return Elsewhere(pki.folder, pki.issuers, identity_of(pki, box))
