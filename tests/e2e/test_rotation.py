"""Certificates, CAs and CRLs that are replaced under load, some of them broken: no request and no session is lost."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from support.asking import READ, READ_REPLY, Stream, ask, line_with, tls_stream
from support.counts import rounds
from support.mint import HOUR, Ca, Tls, crl, issuing_ca, serial_of
from support.operating import change, command, operated
from support.site import Elsewhere, Pki, Site

CONNECTIONS = 32
ROTATIONS = 10

Spoil = Callable[[Path], None]


def _cut(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return spoil


def _emptied(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(b"")

    return spoil


def _for_others(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).chmod(0o666)

    return spoil


def _foreign_key(folder: Path) -> None:
    shutil.copy(folder / "../generation-0/tls-key.pem", folder / "tls-key.pem")


BROKEN: dict[int, tuple[Spoil, str]] = {
    1: (_foreign_key, "does not fit"),
    2: (_cut("tls-chain.pem"), "tls-chain.pem"),
    3: (_emptied("tls-client-ca.pem"), "holds no CA"),
    4: (_for_others("tls-client-ca.pem"), "others can write"),
    6: (_cut("ca.crl"), "whole CRLs"),
    7: (_emptied("ca.crl"), "holds no CRL"),
    8: (_for_others("ca.crl"), "others can write"),
    9: (lambda folder: (folder / "tls-key.pem").unlink(), "no such file"),
}
"""What is wrong with the first attempt of a rotation, and what is said of it."""


class Rotation:
    """Generations of a server's files, and the one link that says which holds."""

    def __init__(self, pki: Pki, folder: Path) -> None:
        self._pki = pki
        self._folder = folder
        self.current = folder / "current"
        self._ca = issuing_ca(pki)
        self._sibling = self._ca.sibling(pki)
        self.revoked: list[int] = []

    def make(self, number: int, spoil: Spoil | None = None) -> Path:
        """Make a generation: a new key and certificate; every other one trusts one CA more."""
        folder = self._folder / f"generation-{number}{'-broken' if spoil else ''}"
        shutil.copytree(self._pki.server, folder)
        leaf = Tls(self._ca, (), purpose=ExtendedKeyUsageOID.SERVER_AUTH, hosts=("localhost", "127.0.0.1"))
        made = leaf.identity(self._pki, self._folder / f"minted-{folder.name}")
        for name in ("tls-key.pem", "tls-chain.pem"):
            shutil.copy(made / name, folder / name)
        trusted: list[Ca] = [self._ca, self._sibling] if number % 2 else [self._ca]
        (folder / "tls-client-ca.pem").write_bytes(b"".join(_pem(ca.certificate) for ca in trusted))
        lists = [crl(ca, *self.revoked, ends=9 * HOUR, number=number + 1) for ca in trusted]
        (folder / "ca.crl").write_bytes(b"".join(lists))
        if spoil is not None:
            spoil(folder)
        return folder

    def swap(self, folder: Path) -> None:
        """Let a generation hold from now on."""
        new = self.current.with_name("current.new")
        new.symlink_to(folder)
        new.rename(self.current)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


class Poller:
    """Asks without a pause for breath, and counts the answers."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.answered = 0
        self.leaves = asyncio.Event()

    async def poll(self) -> None:
        while not self.leaves.is_set():
            await ask(self.stream, READ, READ_REPLY)
            self.answered += 1
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def polling(site: Site, identity: Path) -> AsyncIterator[list[Poller]]:
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        pollers = []
        for _ in range(CONNECTIONS):
            poller = Poller(await stack.enter_async_context(tls_stream(site, identity)))
            pollers.append(poller)
            tasks.create_task(poller.poll())
        yield pollers
        for poller in pollers:
            poller.leaves.set()


async def progress(pollers: list[Poller]) -> None:
    """Wait until each has been answered twice: the second was asked after this began."""
    before = [poller.answered for poller in pollers]
    async with asyncio.timeout(20):
        while any(poller.answered < seen + 2 for poller, seen in zip(pollers, before, strict=True)):
            await asyncio.sleep(0.005)


async def shown(site: Site, identity: Path) -> int:
    """Come in anew, be served, and give the serial of what the door shows."""
    async with tls_stream(site, identity) as stream:
        await ask(stream, READ, READ_REPLY)
        writer: Any = stream[1]
        leaf = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(leaf).serial_number


@pytest.mark.long
async def test_nothing_is_lost_while_everything_is_replaced(site_pki: Pki, tmp_path: Path) -> None:
    rotation = Rotation(site_pki, tmp_path)
    rotation.swap(rotation.make(0))
    viewer = site_pki.client("viewer")
    leaver = Tls(issuing_ca(site_pki), name="leaver").identity(site_pki, tmp_path / "leaver")
    async with operated(Elsewhere(site_pki.folder, site_pki.issuers, rotation.current), tmp_path) as site:
        change(tmp_path / "server.toml", "[tls]\n", f'[tls]\ncrl = "{rotation.current / "ca.crl"}"\n')
        assert (await command(site, "reload"))["ok"]
        async with polling(site, viewer) as pollers, tls_stream(site, leaver) as leaves:
            for number in range(1, rounds(6, 4 * ROTATIONS) + 1):
                before = serial_of(rotation.current)
                if number % ROTATIONS in BROKEN:
                    spoil, told = BROKEN[number % ROTATIONS]
                    good = rotation.current.readlink()
                    rotation.swap(rotation.make(number, spoil))
                    answer = await command(site, "reload")
                    assert answer["ok"] is False
                    assert told in answer["error"]
                    assert await shown(site, viewer) == before, "what was there goes on"
                    rotation.swap(good)
                    await progress(pollers)
                if number == ROTATIONS // 2:
                    await ask(leaves, READ, READ_REPLY)
                    rotation.revoked.append(serial_of(leaver))
                rotation.swap(rotation.make(number))
                answer = await command(site, "reload")
                assert answer == {"ok": True, "waiting": [], "closed": int(number == ROTATIONS // 2)}
                assert await shown(site, viewer) == serial_of(rotation.current) != before
                await progress(pollers)
            assert await leaves[0].read() == b""
            await line_with(site, "event=session", "state=ended", "/leaver", "revoked by its CA")
        lines = site.trail()
        ended = [line for line in lines if "state=ended" in line]
        assert len(ended) == 1, "nobody else was closed"
        assert not [line for line in lines if "event=refused" in line]
