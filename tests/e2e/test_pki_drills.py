"""The drills of docs/pki.md, by their own commands, on a live server: a new root without a gap, and a stolen CA."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from fieldgate_certs import authority
from fieldgate_certs.layout import Files
from fieldgate_certs.store import Store
from fieldgate_certs.subjects import Client, Server
from support.operating import command, operated, rewrite_policy
from support.pki import certs, openssl_verify
from support.served import SERVED, outcomes
from support.site import Pki, Site, make_pki

TOOLS = ("openssl",)
"""Stock tools that these tests need (conftest.py)."""


def issuers_of(said: str) -> tuple[str, ...]:
    """The issuers for the policy, as a command printed them."""
    return tuple(re.findall(r'^  "((?:x509|ssh-ca):.*)",$', said, re.MULTILINE))


async def reload(site: Site, *issuers: str, server: Path | None = None) -> None:
    """Give the server other issuers and another identity, as an operator would."""
    site.pki = replace(site.pki, issuers=issuers)
    rewrite_policy(site)
    if server is not None:
        settings = site.folder / "server.toml"
        settings.write_text(re.sub('identity = ".*"', f'identity = "{server}"', settings.read_text()))
    reply = await command(site, "reload")
    assert "closed" in reply, reply


async def test_a_root_is_rolled_over_without_a_gap(tmp_path: Path) -> None:
    old_pki = make_pki(tmp_path / "old", "old")
    old, new = old_pki.folder, tmp_path / "new"
    async with operated(old_pki, tmp_path) as site:
        never_renewed = shutil.copytree(old_pki.client("operator"), tmp_path / "never-renewed")
        # 1. the new PKI; whoever is in the old one learns to trust it
        new_issuers = issuers_of(certs("init", new, "--name", "new"))
        assert len(new_issuers) == 2
        certs("trust", new, "--dir", old)
        certs("renew", "--all", "--dir", old)
        await reload(site, *old_pki.issuers, *new_issuers)
        both_trusted = old_pki.client("operator")
        assert await outcomes(site, both_trusted) == {SERVED}
        assert await outcomes(site, never_renewed) == {SERVED}
        # 2. identities of the new PKI, which trust the old one for as long as it lasts
        certs("trust", old, "--dir", new)
        certs("issue", "server", "box", "--dns", "localhost", "--ip", "127.0.0.1", "--dir", new)
        certs("issue", "client", "operator", "--role", "operator", "--dir", new)
        moved = new / "issued/client/operator/current"
        assert await outcomes(site, moved) == {SERVED}  # the server has not moved yet
        # 3. the server moves
        await reload(site, *old_pki.issuers, *new_issuers, server=new / "issued/server/box/current")
        assert await outcomes(site, both_trusted) == {SERVED}  # the client has not moved yet
        assert await outcomes(site, moved) == {SERVED}
        assert await outcomes(site, never_renewed) == {"NotTrustedError"}
        # 4. the old root's end
        certs("distrust", "old-issuing-1", "--dir", new)
        certs("renew", "--all", "--dir", new)
        await reload(site, *new_issuers)
        assert await outcomes(site, moved) == {SERVED}
        assert await outcomes(site, both_trusted) == {"RejectedError"}
        for holder, purpose in (("server/box", "sslserver"), ("client/operator", "sslclient")):
            chain = new / "issued" / holder / "current/tls-chain.pem"
            assert openssl_verify(chain, new / "x509/root/cert.pem", purpose) == "ok"
            assert openssl_verify(chain, old / "x509/root/cert.pem", purpose) != "ok"


async def test_a_stolen_issuing_ca_is_replaced_and_its_thief_shut_out(tmp_path: Path) -> None:
    pki = tmp_path / "pki"
    limits = ("--permit-dns", "localhost", "--permit-ip", "127.0.0.0/8")
    certs("init", pki, "--name", "plant")
    issuers = issuers_of(certs("issuing", "site-1", *limits, "--dir", pki))
    certs("issue", "server", "box", "--dns", "localhost", "--ip", "127.0.0.1", "--ca", "site-1", "--dir", pki)
    certs("issue", "client", "operator", "--role", "operator", "--ca", "site-1", "--dir", pki)
    async with operated(Pki(pki, issuers), tmp_path) as site:
        thief = thieves_identity(pki, tmp_path / "thief")
        honest = pki / "issued/client/operator/current"
        assert await outcomes(site, honest) == {SERVED}
        assert await outcomes(site, thief) == {SERVED}  # this is what a CA's key is worth
        # the drill
        new_issuers = issuers_of(certs("issuing", "site-2", *limits, "--dir", pki))
        certs("renew", "--all", "--ca", "site-1", "--to", "site-2", "--dir", pki)
        certs("revoke", "--file", pki / "x509/issuing/site-1/cert.pem", "--reason", "ca-compromise", "--dir", pki)
        await reload(site, *new_issuers)
        assert await outcomes(site, honest) == {SERVED}
        shutil.copy(honest / "known_hosts", thief)  # a thief may trust whom he likes
        assert await outcomes(site, thief) == {"RejectedError"}
    # a server of the thief: by SSH no longer, and by TLS not for who reads the root's list
    fake = Store(pki)
    ca = authority.load(fake.read, "site-1")
    (tmp_path / "fake.pem").write_bytes(_chain(ca.issue(Server("box", ("localhost",)), 90, datetime.now(UTC)).files))
    lists = tmp_path / "lists.pem"
    lists.write_bytes(b"".join(path.read_bytes() for path in (pki / "published").glob("*.crl.pem")))
    root, check = pki / "x509/root/cert.pem", ("-crl_check_all", "-CRLfile", lists)
    assert "certificate revoked" in openssl_verify(tmp_path / "fake.pem", root, "sslserver", *check)
    chain = pki / "issued/server/box/current/tls-chain.pem"
    assert openssl_verify(chain, root, "sslserver", *check) == "ok"
    assert (pki / "ssh/site-1/host-ca.pub").read_text() not in (honest / "known_hosts").read_text()


def thieves_identity(pki: Path, folder: Path) -> Path:
    """Make an identity by a stolen CA's keys, elsewhere."""
    stolen = authority.load(lambda file: (pki / file.path).read_bytes(), "site-1")
    folder.mkdir()
    for file, data in stolen.issue(Client("thief", "operator"), 90, datetime.now(UTC)).files.items():
        (folder / file.path).touch(0o600)
        (folder / file.path).write_bytes(data)
    return folder


def _chain(files: Files) -> bytes:
    return next(data for file, data in files.items() if file.path == "tls-chain.pem")


async def test_a_lost_laptop_is_shut_out_by_what_revoke_publishes(tmp_path: Path) -> None:
    pki = make_pki(tmp_path / "pki")
    async with operated(pki, tmp_path) as site, site.stream("tls") as (reader, _):
        assert await outcomes(site, pki.client("operator")) == {SERVED}
        certs("revoke", "operator", "--reason", "key-compromise", "--dir", pki.folder)
        shutil.copy(pki.folder / "published/revoked", site.folder / "revoked")
        assert (await command(site, "reload"))["closed"] == 1
        assert await reader.read() == b""
        assert SERVED not in await outcomes(site, pki.client("operator"))
        assert await outcomes(site, pki.client("viewer")) == {SERVED}
