"""Tunnels of one identity share a TLS context, until its files change; then they are read, and checked, anew."""

import shutil
from pathlib import Path

import pytest

from fieldgate_core.errors import ConfigError
from fieldgate_core.url import parse
from fieldgate_tunnel.dialers import check_identity
from fieldgate_tunnel.resumption import sessions_of
from support.site import Pki

URL = parse("modbus+tls://127.0.0.1")


def test_a_renewed_identity_is_used_at_once_and_a_key_that_others_can_read_is_refused(
    site_pki: Pki, tmp_path: Path
) -> None:
    folder = tmp_path / "identity"
    shutil.copytree(site_pki.client("operator"), folder)
    first = sessions_of(folder)
    assert sessions_of(folder) is first
    for name in ("tls-key.pem", "tls-chain.pem"):
        shutil.copy(site_pki.client("viewer") / name, folder)
    assert sessions_of(folder).context is not first.context
    (folder / "tls-key.pem").chmod(0o640)
    with pytest.raises(ConfigError, match="others can read this private key"):
        sessions_of(folder)


def test_an_identity_without_what_its_door_needs_is_refused_before_a_tunnel_is_opened(
    site_pki: Pki, tmp_path: Path
) -> None:
    folder = tmp_path / "identity"
    shutil.copytree(site_pki.client("operator"), folder)
    ssh = parse("modbus+ssh://127.0.0.1")
    for url in (URL, ssh):
        check_identity(url, folder)
    (folder / "known_hosts").unlink()
    with pytest.raises(ConfigError, match="known_hosts"):
        check_identity(ssh, folder)
    check_identity(URL, folder)
    with pytest.raises(ConfigError, match="asks for a certificate"):
        check_identity(URL, None)
