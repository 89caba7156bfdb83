"""Lock-out at the doors: who fails to authenticate too often is kept out, longer each time; others are served."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

import asyncssh
import pytest

from fieldgate_tunnel.limits import Limits
from support.asking import READ, READ_REPLY, ask, line_with, ssh_connection, tls_stream
from support.scrape import metered_site, scrape, value
from support.site import Pki, Site

DOORS = ("tls", "ssh")
STRANGER = "127.0.0.2"
LONG = Limits(failures_before_lockout=2, lockout_first=600, lockout_longest=600)
"""Its lock-outs end in no test."""


async def attempt(site: Site, door: str, identity: Path, source: str = STRANGER) -> bool:
    """Try to be served through a door from an address of this machine; tells whether it was so."""
    with contextlib.suppress(ConnectionError, ssl.SSLError, asyncssh.Error, asyncio.IncompleteReadError):
        if door == "tls":
            async with tls_stream(site, identity, source=source) as stream:
                await ask(stream, READ, READ_REPLY)
                return True
        async with ssh_connection(site, identity, "viewer", source=source) as connection:
            await ask(await connection.open_connection("localhost", 502), READ, READ_REPLY)
            return True
    return False


async def failed(site: Site, door: str, count: int) -> None:
    """Wait until the door has seen so many fail: in TLS 1.3 a client may know before the server does."""
    listener = site.app._tls if door == "tls" else site.app._ssh
    assert listener is not None
    async with asyncio.timeout(20):
        while listener.gate.failed_total < count:
            await asyncio.sleep(0.01)


def foreign(site_pki: Pki, other_pki: Pki, folder: Path) -> Path:
    """Make an identity that trusts the site, with another PKI's certificates."""
    made = folder / "foreign"
    made.mkdir()
    for name in ("tls-chain.pem", "tls-key.pem", "ssh-key", "ssh-key-cert.pub"):
        (made / name).write_bytes((other_pki.client("viewer") / name).read_bytes())
        (made / name).chmod(0o600)
    for name in ("tls-server-ca.pem", "known_hosts"):
        (made / name).write_bytes((site_pki.client("viewer") / name).read_bytes())
    return made


@pytest.mark.parametrize("door", DOORS)
async def test_after_so_many_failures_an_address_is_locked_out_and_no_other(
    site_pki: Pki, other_pki: Pki, tmp_path: Path, door: str
) -> None:
    bad, good = foreign(site_pki, other_pki, tmp_path), site_pki.client("viewer")
    async with metered_site(site_pki, tmp_path, limits=LONG) as site:
        for count in (1, 2, 3):
            assert not await attempt(site, door, bad)
            await failed(site, door, count)
        await line_with(site, "event=refused", f"door={door}", f"{STRANGER} is locked out for 600 s")
        before = lines_of(site, door)
        for _ in range(5):
            assert not await attempt(site, door, good), "its address is locked out, whatever it shows"
        assert await attempt(site, door, good, "127.0.0.3")
        # the other door counts for itself
        assert await attempt(site, "ssh" if door == "tls" else "tls", good)
        samples = await scrape(site)
        assert value(samples, "fieldgate_lockouts_total", door=door) == 1
        assert value(samples, "fieldgate_addresses_locked_out", door=door) == 1
        assert value(samples, "fieldgate_limit_hits_total", door=door, limit="lockout") == 5
        assert value(samples, "fieldgate_handshakes_failed_total", door=door) == 3
        assert lines_of(site, door) == before, "connections during a lock-out leave no line"
        assert sum("locked out" in line for line in before) == 1


def lines_of(site: Site, door: str) -> list[str]:
    """The stranger's lines, but for counts of those that were alike."""
    return [
        line
        for line in site.trail()
        if f"peer={STRANGER}" in line and f"door={door} " in line and "repeated=" not in line
    ]


@pytest.mark.parametrize("door", DOORS)
async def test_a_success_clears_the_failures_before(site_pki: Pki, other_pki: Pki, tmp_path: Path, door: str) -> None:
    bad, good = foreign(site_pki, other_pki, tmp_path), site_pki.client("viewer")
    async with metered_site(site_pki, tmp_path, limits=LONG) as site:
        for turn in range(3):
            for count in (1, 2):
                assert not await attempt(site, door, bad)
                await failed(site, door, 2 * turn + count)
            assert await attempt(site, door, good)
        assert not any("locked out" in line for line in site.trail())


@pytest.mark.parametrize("door", DOORS)
async def test_a_lockout_ends_and_the_next_is_longer(site_pki: Pki, other_pki: Pki, tmp_path: Path, door: str) -> None:
    bad, good = foreign(site_pki, other_pki, tmp_path), site_pki.client("viewer")
    limits = Limits(failures_before_lockout=1, lockout_first=0.25)
    async with metered_site(site_pki, tmp_path, limits=limits) as site:
        count = 0
        for seconds in ("0.25", "0.5", "1"):
            async with asyncio.timeout(20):
                while not any(f"{STRANGER} is locked out for {seconds} s" in line for line in site.trail()):
                    assert not await attempt(site, door, bad)
                    await asyncio.sleep(0.02)
        async with asyncio.timeout(20):
            while not await attempt(site, door, good):
                count += 1
                await asyncio.sleep(0.02)
        assert count


@pytest.mark.parametrize("door", DOORS)
async def test_noise_on_the_port_locks_nobody_out(site_pki: Pki, tmp_path: Path, door: str) -> None:
    async with metered_site(site_pki, tmp_path, limits=LONG) as site:
        for count in range(1, 6):
            reader, writer = await asyncio.open_connection("127.0.0.1", site.app.ports[door], local_addr=(STRANGER, 0))
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                await reader.read()
                while await reader.read():
                    pass
            writer.close()
            await failed(site, door, count)
        assert await attempt(site, door, site_pki.client("viewer"))
        assert value(await scrape(site), "fieldgate_lockouts_total", door=door) == 0


async def test_a_client_without_a_certificate_has_failed_to_authenticate(site_pki: Pki, tmp_path: Path) -> None:
    async with metered_site(site_pki, tmp_path, limits=LONG) as site:
        context = ssl.create_default_context(cafile=str(site_pki.client("viewer") / "tls-server-ca.pem"))
        for count in (1, 2, 3):
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", site.app.ports["tls"], ssl=context, local_addr=(STRANGER, 0)
                )
                assert await reader.read() == b""
                writer.close()
            await failed(site, "tls", count)
        await line_with(site, "event=refused", "door=tls", f"{STRANGER} is locked out")
