"""SSH without an identity folder: the user's own `~/.ssh` is used, and a URL's port goes before its Port."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fieldgate_client import connect
from fieldgate_core.errors import ConfigError, NotTrustedError, RejectedError, UnreachableError
from support.site import Site


@pytest.fixture
def home(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose `~/.ssh` holds the operator's key and certificate, and knows the test's host CA."""
    folder = tmp_path / "home/.ssh"
    folder.mkdir(parents=True, mode=0o700)
    identity = site.pki.client("operator")
    shutil.copy(identity / "ssh-key", folder / "id_ecdsa")
    shutil.copy(identity / "ssh-key-cert.pub", folder / "id_ecdsa-cert.pub")
    shutil.copy(identity / "known_hosts", folder / "known_hosts")
    (folder / "config").write_text(f"Host 127.0.0.1\n  Port {site.app.ports['ssh']}\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return folder


async def test_port_key_and_known_hosts_of_the_user_are_used(home: Path) -> None:
    async with connect("modbus+ssh://operator@127.0.0.1") as client:
        assert await client.read_holding(0) == [17]


async def test_a_port_in_the_url_goes_before_the_configured_one(home: Path, site: Site) -> None:
    (home / "config").write_text("Host 127.0.0.1\n  Port 1\n")
    async with connect(f"modbus+ssh://operator@127.0.0.1:{site.app.ports['ssh']}") as client:
        assert await client.read_holding(0) == [17]
    with pytest.raises(UnreachableError):
        async with connect("modbus+ssh://operator@127.0.0.1"):
            pass


async def test_a_host_that_known_hosts_does_not_name_is_not_trusted(home: Path) -> None:
    (home / "known_hosts").write_text("")
    with pytest.raises(NotTrustedError):
        async with connect("modbus+ssh://operator@127.0.0.1"):
            pass


async def test_a_login_that_is_no_principal_is_rejected(home: Path) -> None:
    with pytest.raises(RejectedError):
        async with connect("modbus+ssh://viewer@127.0.0.1"):
            pass


@pytest.mark.parametrize("port", ["", ":1"])
@pytest.mark.parametrize("fault", ["damaged", "another's certificate"])
async def test_a_key_that_cannot_be_used_is_named_before_anything_is_sent(
    site: Site, tmp_path: Path, fault: str, port: str
) -> None:
    folder = tmp_path / "identity"
    shutil.copytree(site.pki.client("operator").resolve(), folder)
    if fault == "damaged":
        (folder / "ssh-key").write_text("no key at all")
    else:
        shutil.copyfile(site.pki.client("viewer") / "ssh-key-cert.pub", folder / "ssh-key-cert.pub")
    with pytest.raises(ConfigError) as caught:
        async with connect(f"modbus+ssh://operator@127.0.0.1{port}", identity=folder):
            pass
    assert caught.value.where == str(folder / "ssh-key")
