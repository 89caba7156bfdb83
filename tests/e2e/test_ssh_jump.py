"""ProxyJump: a site behind a real sshd is reached through it, each host verified by itself and named when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldgate_client import connect
from fieldgate_core.errors import ConfigError, NotTrustedError, RejectedError, UnreachableError
from support.box import FIELDGATE
from support.site import Site
from support.stock_sshd import TOOLS as SSHD_TOOLS
from support.stock_sshd import keygen, linux_user, open_folder, sshd
from support.tools import run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make Linux users and run an sshd for them")

TOOLS = SSHD_TOOLS
"""Stock tools that these tests need (conftest.py)."""


@dataclasses.dataclass
class Way:
    """An `~/.ssh`, and the jump host that it knows."""

    home: Path
    jump: int
    user: str
    sshd_log: Path
    site: int = 0

    def configure(self, *, jumps: str = "bastion", more: str = "", bastion: str = "") -> None:
        (self.home / "config").write_text(
            f"{more}\nHost box\n HostName localhost\n Port {self.site}\n ProxyJump {jumps}\n"
            f"Host bastion\n {bastion}\n HostName 127.0.0.1\n Port {self.jump}\n User {self.user}\n"
            f" IdentityFile {self.home}/jump-key\n"
            f"Host direct\n HostName localhost\n Port {self.site}\n"
        )

    async def left(self) -> None:
        """Wait until nobody is logged in at the jump host any more."""
        async with asyncio.timeout(10):
            while any(f"sshd: {self.user}".encode() in line for line in _command_lines()):
                await asyncio.sleep(0.01)

    def logins(self) -> int:
        """Count the logins at the jump host."""
        return self.sshd_log.read_text().count("Accepted publickey")


def _command_lines() -> Iterator[bytes]:
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            yield (process / "cmdline").read_bytes()


@pytest.fixture(scope="module")
def bastion() -> Iterator[tuple[Path, int, str]]:
    """A jump host as it is usual: its folder, its port, and a user there."""
    with open_folder() as folder, linux_user() as user:
        (folder / f"{user}.keys").write_text(keygen(folder / "jump-key"))
        # uncounted penalties: many tests log in from one address
        with sshd(folder, "AllowTcpForwarding yes\nMaxStartups 100\n") as port:
            yield folder, port, user


@pytest.fixture
def way(site: Site, bastion: tuple[Path, int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Way:
    folder, port, user = bastion
    home = tmp_path / "home/.ssh"
    home.mkdir(parents=True, mode=0o700)
    shutil.copy(folder / "jump-key", home / "jump-key")
    line = (folder / "host-key.pub").read_text()
    (home / "known_hosts").write_text(f"[127.0.0.1]:{port} {line}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    found = Way(home, port, user, folder / "sshd.log", site.app.ports["ssh"])
    found.configure()
    return found


async def reads(site: Site, url: str = "modbus+ssh://operator@box") -> bool:
    async with connect(url, identity=site.pki.client("operator")) as client:
        return await client.read_holding(0) == [17]


async def test_a_site_is_reached_through_a_jump_host_with_its_own_key_there(site: Site, way: Way) -> None:
    before = way.logins()
    assert await reads(site)
    assert way.logins() == before + 1
    await way.left()
    assert await reads(site, "modbus+ssh://operator@direct")
    assert way.logins() == before + 1


async def test_two_hosts_on_the_way(site: Site, way: Way) -> None:
    before = way.logins()
    way.configure(jumps=f"bastion,ssh://{way.user}@127.0.0.1:{way.jump}", more=f"IdentityFile {way.home}/jump-key")
    assert await reads(site)
    assert way.logins() == before + 2


async def test_a_pattern_that_names_the_jump_host_itself_does_not_go_round(site: Site, way: Way) -> None:
    way.configure(more="Host b*\n ProxyJump bastion\n")
    assert await reads(site)
    way.configure(bastion="ProxyJump box")
    with pytest.raises(ConfigError, match="more than 8 hosts on the way"):
        await reads(site)


async def test_a_jump_host_that_is_not_known_is_not_used_and_named(site: Site, way: Way) -> None:
    before = way.logins()
    (way.home / "known_hosts").write_text("")
    with pytest.raises(NotTrustedError, match=r"jump host bastion: .*known_hosts holds no such key"):
        await reads(site)
    # asyncssh by itself takes this for no check at all
    way.configure(bastion="UserKnownHostsFile none")
    with pytest.raises(NotTrustedError, match="jump host bastion: "):
        await reads(site)
    assert way.logins() == before


async def test_a_jump_host_cannot_stand_for_the_site(site: Site, way: Way) -> None:
    """The one key that known_hosts holds for it, is for its own name and no other."""
    way.site = way.jump
    way.configure()
    with pytest.raises(NotTrustedError) as caught:
        async with connect("modbus+ssh://operator@box"):
            pass
    assert "jump host" not in str(caught.value)
    # and to whom only a CA is known, it has nothing to show
    with pytest.raises(UnreachableError) as lost:
        await reads(site)
    assert "as known_hosts asks for" in lost.value.hint


async def test_a_jump_host_that_does_not_let_us_in_or_on_is_named(site: Site, way: Way) -> None:
    way.configure(bastion="User nobody")
    with pytest.raises(RejectedError, match="jump host bastion: it does not accept our key"):
        await reads(site)
    way.configure(bastion="Port 1")
    with pytest.raises(UnreachableError, match="jump host bastion: connection refused"):
        await reads(site)
    way.site = 1
    way.configure()
    with pytest.raises(RejectedError, match="jump host bastion: it does not lead on to the site"):
        await reads(site)
    await way.left()


async def checked(site: Site, way: Way) -> tuple[int, dict[str, tuple[str, str]]]:
    """Run `fieldgate client check`: its exit code, and outcome and text of each step."""
    identity = str(site.pki.client("operator"))
    command = (*FIELDGATE, "client", "check", "modbus+ssh://operator@box", "--identity", identity, "--json")
    ended = await run(*command, HOME=str(way.home.parent))
    return ended.code, {step["name"]: (step["outcome"], step["text"]) for step in json.loads(ended.out)["steps"]}


async def test_a_check_begins_at_the_jump_host_and_knocks_there_once(site: Site, way: Way) -> None:
    before = way.logins()
    code, steps = await checked(site, way)
    assert code == 0
    assert steps["name"] == ("ok", "the way begins at the jump host bastion: 127.0.0.1 is an address")
    assert steps["tcp"] == ("ok", f"127.0.0.1 port {way.jump} answers")
    assert steps["read"] == ("ok", "holding register 1 is 17")
    assert way.logins() == before + 1


async def test_a_check_does_not_take_a_jump_hosts_refusal_for_the_sites(site: Site, way: Way) -> None:
    keygen(way.home / "another")
    shutil.copy(way.home / "another", way.home / "jump-key")
    code, steps = await checked(site, way)
    assert code == 3
    assert steps["ssh"][0] == "failed"
    assert "jump host bastion: it does not accept our key" in steps["ssh"][1]
