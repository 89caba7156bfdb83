"""A name outside the issuing CA's limits is refused in the handshake, on our server and our client."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fieldgate_certs import authority, keys, layout
from fieldgate_certs.authority import Authority
from fieldgate_certs.subjects import Server
from fieldgate_certs.validity import Validity
from support.asking import line_with
from support.mint import Ca, Tls, root_ca
from support.pki import certs
from support.served import SERVED, outcome
from support.site import Pki, running_site


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    folder = tmp_path / "pki"
    certs("init", folder, "--name", "plant")
    certs("issuing", "site", "--permit-dns", "localhost", "--permit-ip", "10.1.0.0/16", "--dir", folder)
    certs("issue", "server", "box", "--dns", "localhost", "--ca", "site", "--dir", folder)
    certs("issue", "client", "operator", "--role", "operator", "--ca", "site", "--dir", folder)
    return Pki(folder, authority.load(lambda file: (folder / file.path).read_bytes(), "site").policy_issuers)


def site_ca(pki: Pki) -> Authority:
    return authority.load(lambda file: (pki.folder / file.path).read_bytes(), "site")


@pytest.mark.parametrize(("host", "address"), [("localhost", "127.0.0.1"), ("box.elsewhere.example", "10.1.0.17")])
async def test_our_client_refuses_a_server_with_a_name_outside(
    pki: Pki, tmp_path: Path, host: str, address: str
) -> None:
    """It is signed by the CA's own key, and one of its names is all right."""
    ca, key = site_ca(pki), keys.new("ecdsa")
    now = datetime.now(UTC)
    life = Validity(now - timedelta(hours=1), now + timedelta(hours=1))
    outside = Server.parse("box", ["localhost", host], [address])
    files = {**ca._server(outside, key.public_key(), None, life), layout.TLS_KEY: keys.pkcs8(key)}
    honest = pki.server.resolve()
    async with running_site(pki, tmp_path) as site:
        assert await outcome(site, "tls", pki.client("operator")) == SERVED
    copy = shutil.copytree(honest, honest.with_name("000002"))
    for file, data in files.items():
        (copy / file.path).write_bytes(data)
    pki.server.unlink()
    pki.server.symlink_to("000002")
    async with running_site(pki, tmp_path) as site:
        said = await outcome(site, "tls", pki.client("operator"))
        assert said.startswith("NotTrustedError: ")
        assert "permitted subtree violation" in said


@pytest.mark.parametrize(("host", "served"), [("localhost", True), ("box.elsewhere.example", False)])
async def test_our_server_refuses_a_client_with_a_name_outside(
    pki: Pki, tmp_path: Path, host: str, served: bool
) -> None:
    ca = site_ca(pki)
    signer = ca.issuing_key
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    issuing = Ca(ca.issuing, signer, (root_ca(pki).certificate,))
    identity = Tls(ca=issuing, name="odd", hosts=(host,)).identity(pki, tmp_path / "odd")
    async with running_site(pki, tmp_path) as site:
        said = await outcome(site, "tls", identity)
        if served:
            assert said == SERVED
        else:
            assert said.startswith("RejectedError: ")
            await line_with(site, "event=refused", "door=tls", "permitted subtree violation")
