"""Start-up takes the last whole generation of an identity, and says when that is not the newest (pitfall 15)."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fieldgate_tunnel.generations import last_whole
from support.site import Pki


@pytest.fixture(params=["server", "client"])
def identity(request: pytest.FixtureRequest, site_pki: Pki, other_pki: Pki, tmp_path: Path) -> Path:
    """Three generations, each with keys of its own."""
    for number, pki in enumerate((site_pki, other_pki, site_pki), 1):
        source = pki.server if request.param == "server" else pki.client("operator" if number < 3 else "viewer")
        shutil.copytree(source, tmp_path / f"{number:06}")
    (tmp_path / "current").symlink_to("000003")
    return tmp_path / "current"


def breaks(name: str, *, by: Callable[[Path], object]) -> Callable[[Path], None]:
    def one(folder: Path) -> None:
        for path in folder.glob(name):
            by(path)

    return one


FAULTS: dict[str, Callable[[Path], None]] = {
    "no folder": shutil.rmtree,
    "empty folder": breaks("*", by=Path.unlink),
    "no TLS key": breaks("tls-key.pem", by=Path.unlink),
    "empty TLS key": breaks("tls-key.pem", by=lambda path: path.write_bytes(b"")),
    "half a chain": breaks("tls-chain.pem", by=lambda path: path.write_bytes(path.read_bytes()[:100])),
    "no trust": breaks("tls-*-ca.pem", by=Path.unlink),
    "no SSH key": breaks("ssh-*key", by=Path.unlink),
    "half an SSH certificate": breaks("ssh-*-cert.pub", by=lambda path: path.write_bytes(path.read_bytes()[:100])),
}
"""What can be wrong with the newest generation."""


def test_the_one_in_force_is_taken_when_it_is_whole(identity: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert last_whole(identity) == identity.parent / "000003"
    assert caplog.records == []


@pytest.mark.parametrize("fault", FAULTS)
def test_the_one_before_stands_in_for_one_that_is_not_whole(
    identity: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    FAULTS[fault](identity.parent / "000003")
    assert last_whole(identity) == identity.parent / "000002"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "000003 is not whole: " in caplog.text
    assert "; starting with 000002" in caplog.text


@pytest.mark.parametrize("file", ["tls-key.pem", "tls-chain.pem", "ssh-key", "ssh-host-key"])
def test_a_key_that_is_not_the_certificates_is_not_whole(identity: Path, file: str) -> None:
    folders = [identity.parent / name for name in ("000003", "000002")]
    if not (folders[0] / file).exists():
        assert file.startswith("ssh")
        return
    shutil.copy(folders[1] / file, folders[0] / file)
    assert last_whole(identity) == folders[1]


def test_it_goes_back_as_far_as_it_has_to(identity: Path) -> None:
    for number in ("000003", "000002"):
        (identity.parent / number / "tls-key.pem").unlink()
    assert last_whole(identity) == identity.parent / "000001"


def test_what_none_can_stand_in_for_comes_back_for_its_own_error(identity: Path) -> None:
    for number in ("000003", "000002", "000001"):
        (identity.parent / number / "tls-key.pem").unlink()
    assert last_whole(identity) == identity.parent / "000003"


def test_a_later_one_that_is_not_in_force_is_not_taken(identity: Path) -> None:
    identity.unlink()
    identity.symlink_to("000002")
    (identity.parent / "000002/tls-key.pem").unlink()
    assert last_whole(identity) == identity.parent / "000001"


def test_an_error_of_another_kind_is_no_reason_to_go_back(identity: Path) -> None:
    """A key that others can read is to be mended, not hidden by an older one."""
    (identity.parent / "000003/tls-key.pem").chmod(0o644)
    assert last_whole(identity) == identity.parent / "000003"


def test_a_folder_that_no_link_names_is_taken_as_it_is(identity: Path) -> None:
    folder = identity.parent / "000003"
    (folder / "tls-key.pem").unlink()
    assert last_whole(folder) == folder


def test_ssh_alone_is_whole(identity: Path) -> None:
    for path in (identity.parent / "000003").glob("tls-*"):
        path.unlink()
    assert last_whole(identity) == identity.parent / "000003"
