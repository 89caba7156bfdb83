"""Before a peer is authenticated: who says nothing is cut off, who comes too often is refused, others are served."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fieldgate_tunnel.limits import Limits
from support.asking import READ, READ_REPLY, Stream, ask, check_serves, line_with, ssh_connection, tls_stream
from support.site import Pki, Site, running_site

DOORS = ("tls", "ssh")
FEW = Limits(handshake_deadline=30, handshakes=4, handshakes_per_address=2)
"""With a deadline that no test reaches: here peers leave by themselves."""


@contextlib.asynccontextmanager
async def mute(site: Site, door: str, source: str) -> AsyncIterator[asyncio.StreamReader]:
    """Connect from an address of this machine, and say nothing; what the door says can be read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.app.ports[door], local_addr=(source, 0))
    try:
        yield reader
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def honest(site: Site, door: str, source: str) -> AsyncIterator[Stream]:
    """Open a door as viewer from an address of this machine."""
    identity = site.pki.client("viewer")
    if door == "tls":
        async with tls_stream(site, identity, source=source) as stream:
            yield stream
    else:
        async with ssh_connection(site, identity, "viewer", source=source) as connection:
            yield await connection.open_connection("localhost", 502)


async def taken(stack: contextlib.AsyncExitStack, site: Site, door: str, source: str) -> asyncio.StreamReader:
    """Hold a place at the gate; connections are accepted in their order, so who comes later finds it taken."""
    reader = await stack.enter_async_context(mute(site, door, source))
    if door == "ssh":
        assert (await reader.readline()).startswith(b"SSH-2.0-")
    return reader


async def end_of(reader: asyncio.StreamReader) -> bytes:
    """Read until the door ends the connection, be it with a reset."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(4096):
            said += data
    return said


@pytest.mark.parametrize("door", DOORS)
async def test_who_says_nothing_is_cut_off(site_pki: Pki, tmp_path: Path, door: str) -> None:
    limits = Limits(handshake_deadline=1, handshakes=4, handshakes_per_address=2)
    async with running_site(site_pki, tmp_path, limits=limits) as site:
        async with mute(site, door, "127.0.0.2") as one, mute(site, door, "127.0.0.2") as two:
            for reader in (one, two):
                await end_of(reader)
        reason = "TLS handshake: no answer within 1 s" if door == "tls" else "not authenticated: Login timeout expired"
        await line_with(site, "event=refused", f"door={door}", "peer=127.0.0.2:", reason)
        # both places are free again, and who has logged in is cut off by no deadline
        async with honest(site, door, "127.0.0.2") as stream, honest(site, door, "127.0.0.2") as other:
            await ask(stream, READ, READ_REPLY)
            await ask(other, READ, READ_REPLY)
        await check_serves(site)


@pytest.mark.parametrize("door", DOORS)
async def test_one_address_holds_so_many_places_and_no_more(site_pki: Pki, tmp_path: Path, door: str) -> None:
    async with running_site(site_pki, tmp_path, limits=FEW) as site:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(2):
                await taken(stack, site, door, "127.0.0.2")
            for _ in range(3):
                async with mute(site, door, "127.0.0.2") as third:
                    assert await end_of(third) == b""
                # each of those who log in gives its place back, so many can come after each other
                async with honest(site, door, "127.0.0.3") as stream:
                    await ask(stream, READ, READ_REPLY)
            await line_with(site, "event=refused", f"door={door}", "peer=127.0.0.2:", "too many")
            assert "127.0.0.3" not in "".join(line for line in site.trail() if "too many" in line)
        await left(site, door, 2)
        async with honest(site, door, "127.0.0.2") as stream, honest(site, door, "127.0.0.2") as other:
            await ask(stream, READ, READ_REPLY)
            await ask(other, READ, READ_REPLY)
        await check_serves(site)


@pytest.mark.parametrize("door", DOORS)
async def test_all_addresses_together_hold_so_many_places_and_who_holds_most_makes_room(
    site_pki: Pki, tmp_path: Path, door: str
) -> None:
    async with running_site(site_pki, tmp_path, limits=FEW) as site:
        for turn in (1, 2):
            async with contextlib.AsyncExitStack() as stack:
                oldest = await taken(stack, site, door, "127.0.0.2")
                for source in ("127.0.0.2", "127.0.0.3", "127.0.0.3"):
                    await taken(stack, site, door, source)
                async with honest(site, door, "127.0.0.4") as stream:
                    await ask(stream, READ, READ_REPLY)
                await end_of(oldest)
                await line_with(site, "event=refused", f"door={door}", "peer=127.0.0.2:", "too many")
                assert not [line for line in site.trail() if "peer=127.0.0.4:" in line and "refused" in line]
                # the other door counts for itself
                other = "ssh" if door == "tls" else "tls"
                async with honest(site, other, "127.0.0.2") as stream:
                    await ask(stream, READ, READ_REPLY)
            await left(site, door, 4 * turn)
            async with honest(site, door, "127.0.0.4") as stream:
                await ask(stream, READ, READ_REPLY)
        await check_serves(site)


async def left(site: Site, door: str, count: int) -> None:
    """Wait until the door has seen so many leave without having authenticated."""
    listener = site.app._tls if door == "tls" else site.app._ssh
    assert listener is not None
    async with asyncio.timeout(10):
        while listener.gate.failed_total < count:
            await asyncio.sleep(0.01)
