"""The servers that the conformance tests ask, as processes of their own: one with ECDSA certificates, one with RSA."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.box import Box, running_box
from support.rsa_pki import make_rsa_pki
from support.site import Pki

NO_LOCKOUT = "[limits]\nfailures_before_lockout = 1000000"
"""All peers have one address here, and most of them are to fail."""
UNITS = "[[unit]]\nid = 1\nholding = { size = 200, initial = 17 }\n"


@pytest.fixture(scope="session")
def rsa_pki(site_pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """A PKI of RSA certificates."""
    return make_rsa_pki(tmp_path_factory.mktemp("rsa-pki") / "pki", site_pki)


@pytest.fixture(scope="session")
def ecdsa_box(site_pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A server with ECDSA P-256 certificates."""
    with running_box(site_pki, tmp_path_factory.mktemp("ecdsa"), extra=NO_LOCKOUT, units=UNITS) as running:
        yield running


@pytest.fixture(scope="session")
def rsa_box(rsa_pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A server with RSA certificates."""
    with running_box(rsa_pki, tmp_path_factory.mktemp("rsa"), extra=NO_LOCKOUT, units=UNITS) as running:
        yield running


@pytest.fixture(params=["ecdsa", "rsa"])
def either_box(request: pytest.FixtureRequest) -> Box:
    """Each of the two."""
    box: Box = request.getfixturevalue(f"{request.param}_box")
    return box
