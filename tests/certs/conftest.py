"""A PKI in memory and one on disk, for the tests of certs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fieldgate_certs import authority
from fieldgate_certs.authority import Authority, Identity
from fieldgate_certs.layout import Files
from fieldgate_certs.store import Store
from fieldgate_certs.subjects import Client, Server

BOX = Server.parse("box-1", ["localhost", "box-1.example.com"], ["127.0.0.1", "2001:db8::17"])
ANA = Client("ana", "operator")


@pytest.fixture(scope="session")
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="session")
def pki_files(now: datetime) -> Files:
    return authority.create("plant", now)


@pytest.fixture(scope="session")
def ca(pki_files: Files) -> Authority:
    return authority.load(pki_files.__getitem__)


@pytest.fixture(scope="session")
def other_ca(now: datetime) -> Authority:
    """A stranger's CA of the same name."""
    return authority.load(authority.create("plant", now).__getitem__)


@pytest.fixture(scope="session")
def box(ca: Authority, now: datetime) -> Identity:
    return ca.issue(BOX, 90, now)


@pytest.fixture(scope="session")
def ana(ca: Authority, now: datetime) -> Identity:
    return ca.issue(ANA, 90, now)


@pytest.fixture
def store(tmp_path: Path, pki_files: Files) -> Store:
    return Store.create(tmp_path / "pki", pki_files)
