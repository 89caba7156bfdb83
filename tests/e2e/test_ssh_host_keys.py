"""Several host keys at once, and their change: who knows one of them is served, and stock ssh learns the next one."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest
from cryptography.hazmat.primitives.serialization import SSHCertificateType

from support.asking import DENIED, READ, READ_REPLY, ask, ssh_connection, stock_ssh
from support.mint import Ssh
from support.operating import command, operated
from support.site import Pki, Site
from support.stock_sshd import keygen
from support.tools import run, running

TOOLS = ("ssh", "ssh-keygen")
"""Stock tools that these tests need (conftest.py)."""

one_loop = pytest.mark.asyncio(loop_factories=["uvloop"])


@dataclasses.dataclass(frozen=True)
class Elsewhere(Pki):
    """A PKI whose server has its identity elsewhere."""

    at: Path = dataclasses.field(default=Path())

    @property
    def server(self) -> Path:
        return self.at


@contextlib.asynccontextmanager
async def own_identity(pki: Pki, folder: Path) -> AsyncIterator[tuple[Site, Path]]:
    """Run a site whose doors have a copy of the server's identity with a second host key, of another kind."""
    copy = folder / "identity"
    shutil.copytree(pki.server, copy)
    keygen(copy / "ssh-host-key-ecdsa", "ecdsa")
    certify(pki, copy / "ssh-host-key-ecdsa")
    async with operated(Elsewhere(pki.folder, pki.issuers, copy), folder) as site:
        yield site, copy


def certify(pki: Pki, key: Path) -> None:
    """Give a host key a certificate, beside it."""
    ca = asyncssh.read_private_key(pki.folder / "ssh/host-ca")
    certificate = ca.generate_host_certificate(asyncssh.read_private_key(key), "box", principals=["127.0.0.1"])
    certificate.write_certificate(key.with_name(f"{key.name}-cert.pub"))


def public(key: Path) -> str:
    return asyncssh.read_private_key(key).export_public_key().decode().strip()


def knowing(pki: Pki, folder: Path, *lines: str) -> Path:
    """Write a viewer's identity that knows the host by these lines alone."""
    if not folder.exists():
        shutil.copytree(pki.client("viewer"), folder)
    (folder / "known_hosts").write_text("".join(f"{line}\n" for line in lines))
    return folder


@one_loop
@pytest.mark.parametrize("known", ["ssh-host-key", "ssh-host-key-ecdsa", "its certificate", "another"])
async def test_who_knows_one_of_the_keys_is_served(site_pki: Pki, tmp_path: Path, known: str) -> None:
    async with own_identity(site_pki, tmp_path) as (site, folder):
        line = f"@cert-authority * {public(site_pki.folder / 'ssh/host-ca')}"
        if known == "another":
            line = "* " + keygen(tmp_path / "other")
        elif known != "its certificate":
            line = f"* {public(folder / known)}"
        identity = knowing(site_pki, tmp_path / "who", line)
        command_line = stock_ssh(site, identity, "viewer", "-W", "localhost:502", "127.0.0.1")
        if known == "another":
            with pytest.raises(asyncssh.HostKeyNotVerifiable):
                async with ssh_connection(site, identity, "viewer"):
                    pass
            assert "Host key verification failed" in (await run("ssh", *command_line)).err
            return
        async with ssh_connection(site, identity, "viewer") as connection:
            await ask(await connection.open_connection("localhost", 502), READ, READ_REPLY)
        assert (await run("ssh", *command_line)).code == 0


@one_loop
async def test_a_stock_ssh_learns_the_next_key_of_the_same_kind_and_lives_through_its_change(
    site_pki: Pki, tmp_path: Path
) -> None:
    async with own_identity(site_pki, tmp_path) as (site, folder):
        keygen(folder / "ssh-host-key-next")
        assert (await command(site, "reload"))["ok"]
        port = site.app.ports["ssh"]
        first, after = public(folder / "ssh-host-key"), public(folder / "ssh-host-key-next")
        # as OpenSSH writes it itself, the host's name and nothing more
        learns = knowing(site_pki, tmp_path / "learns", f"[127.0.0.1]:{port} {first}")
        stays = knowing(site_pki, tmp_path / "stays", f"[127.0.0.1]:{port} {first}")

        async def reads(identity: Path, update: str) -> str:
            options = ["-o", f"UpdateHostKeys={update}"]
            ended = await run("ssh", *stock_ssh(site, identity, "viewer", *options, "-W", "localhost:502", "127.0.0.1"))
            assert DENIED not in ended.err
            return ended.err

        # ssh takes keys over between login and the end of its session, so it needs one that lasts
        forward = stock_ssh(site, learns, "viewer", "-o", "UpdateHostKeys=yes", "-v", "-N", "127.0.0.1")
        await _until_learnt(forward, learns / "known_hosts", after)
        assert "verification failed" not in await reads(stays, "no")
        for end in ("", ".pub"):
            (folder / f"ssh-host-key-next{end}").rename(folder / f"ssh-host-key{end}")
        certify(site_pki, folder / "ssh-host-key")
        assert (await command(site, "reload"))["ok"]
        assert "verification failed" not in await reads(learns, "no")
        assert "verification failed" in await reads(stays, "no")


async def _until_learnt(arguments: list[str], known_hosts: Path, key: str) -> None:
    async with running("ssh", *arguments) as process:
        assert process.stderr is not None
        said = b""
        while not await asyncio.to_thread(lambda: key in known_hosts.read_text()):
            line = await process.stderr.readline()
            assert line, said.decode()
            said += line


@one_loop
@pytest.mark.parametrize("fault", ["readable by others", "junk", "expired certificate", "another's certificate"])
async def test_a_second_key_that_is_wrong_is_named_and_all_stays_as_it_was(
    site_pki: Pki, tmp_path: Path, fault: str
) -> None:
    async with own_identity(site_pki, tmp_path) as (site, folder):
        key, certificate = folder / "ssh-host-key-ecdsa", folder / "ssh-host-key-ecdsa-cert.pub"
        wrong = key
        if fault == "readable by others":
            key.chmod(0o640)
        elif fault == "junk":
            key.write_text("junk")
        else:
            ends = -60 if fault == "expired certificate" else 3600
            made = Ssh("host-ca", SSHCertificateType.HOST, ("127.0.0.1",), ends=ends)
            certificate.write_bytes(made.line(site_pki))
            wrong = certificate if fault == "expired certificate" else folder / "ssh-host-key"
        answer = await command(site, "reload")
        assert (answer["ok"], answer["code"]) == (False, 2)
        assert str(wrong) in answer["error"]
        async with site.stream("ssh", "viewer") as stream:
            await ask(stream, READ, READ_REPLY)
