"""A stock sshd with what we make for it: RevokedKeys, and a cert-authority line in authorized_keys."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.pki import certs
from support.tools import tool

TOOLS = ("ssh", "sshd", "ssh-keygen")
"""Stock tools that these tests need (conftest.py)."""
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sshd lets root alone log others in")
USER = getpass.getuser()


class Sshd:
    """A running sshd, its log, and the identities of its PKI."""

    def __init__(self, pki: Path, port: int, log: Path) -> None:
        self.pki, self.port, self.log = pki, port, log

    def ssh(self, name: str, *words: str) -> str:
        """Log in as a client of the PKI; gives what it said."""
        identity = self.pki / "issued/client" / name / "current"
        options = ["BatchMode=yes", "IdentitiesOnly=yes", f"UserKnownHostsFile={identity / 'known_hosts'}"]
        command = ["ssh", "-F", "none", "-p", str(self.port), "-i", str(identity / "ssh-key")]
        command += [word for option in options for word in ("-o", option)]
        done = subprocess.run(
            [*command, *words, f"{USER}@localhost"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        return done.stdout + done.stderr


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    certs("init", tmp_path / "pki")
    certs("issue", "server", "box", "--dns", "localhost", "--dir", tmp_path / "pki")
    return tmp_path / "pki"


@contextlib.contextmanager
def sshd(pki: Path, folder: Path, *settings: str) -> Iterator[Sshd]:
    """Run sshd with the PKI's host certificate until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # which on Debian its service makes
    host = pki / "issued/server/box/current"
    common = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {host / 'ssh-host-key'}",
        f"HostCertificate {host / 'ssh-host-key-cert.pub'}",
        "PermitRootLogin yes",
        "PidFile none",
        "StrictModes no",
        "UsePAM no",
    ]
    (folder / "sshd_config").write_text("\n".join([*common, *settings]) + "\n")
    log = folder / "sshd.log"
    command = [tool("sshd"), "-D", "-e", "-f", str(folder / "sshd_config")]
    server = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert server.stderr is not None
    copy = None
    try:
        # the first line says that it listens, or why not
        first = server.stderr.readline()
        assert b"Server listening" in first, first
        with log.open("wb") as errors:
            copy = subprocess.Popen(["cat"], stdin=server.stderr, stdout=errors)
        yield Sshd(pki, port, log)
    finally:
        server.terminate()
        server.wait()
        server.stderr.close()
        if copy is not None:
            copy.wait()


def test_who_is_on_the_krl_is_refused_and_nobody_else(pki: Path, tmp_path: Path) -> None:
    for name in ("me", "other"):
        certs("issue", "client", name, "--role", USER, "--dir", pki)
    certs("crl", "--dir", pki)
    settings = f"TrustedUserCAKeys {pki}/ssh/user-ca.pub", f"RevokedKeys {pki}/published/revoked.krl"
    with sshd(pki, tmp_path, *settings) as server:
        assert "This account is currently not available" in server.ssh("me")  # let in, and no shell
    certs("revoke", "me", "--dir", pki)
    with sshd(pki, tmp_path, *settings) as server:
        assert "Permission denied (publickey" in server.ssh("me")
    assert "revoked" in server.log.read_text()
    with sshd(pki, tmp_path, *settings) as server:
        assert "This account is currently not available" in server.ssh("other")


def test_the_printed_line_lets_its_role_forward_to_the_modbus_port_and_nothing_else(pki: Path, tmp_path: Path) -> None:
    certs("issue", "client", "ana", "--role", "operator", "--dir", pki)
    certs("issue", "client", "bob", "--role", "viewer", "--dir", pki)
    line = certs("export", "trust", "authorized-keys", "--role", "operator", "--dir", pki)
    (tmp_path / "authorized_keys").write_text(line)
    with sshd(pki, tmp_path, f"AuthorizedKeysFile {tmp_path}/authorized_keys") as server:
        assert "This account is currently not available" in server.ssh("ana")
        # nothing listens there here: it was permitted, and tried
        assert "Connection refused" in server.ssh("ana", "-W", "127.0.0.1:502")
        assert "administratively prohibited" in server.ssh("ana", "-W", "127.0.0.1:22")
        assert "Permission denied (publickey" in server.ssh("bob")


def test_a_certificate_with_a_source_address_is_refused_from_elsewhere(pki: Path, tmp_path: Path) -> None:
    for name, source in (("here", "127.0.0.0/8"), ("away", "192.0.2.0/24")):
        certs("issue", "client", name, "--role", USER, "--source-address", source, "--dir", pki)
    with sshd(pki, tmp_path, f"TrustedUserCAKeys {pki}/ssh/user-ca.pub") as server:
        assert "This account is currently not available" in server.ssh("here")
        assert "Permission denied (publickey" in server.ssh("away")
