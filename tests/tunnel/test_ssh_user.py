"""The user's own `~/.ssh`: configuration, keys, agent and known_hosts are honoured, and nothing weakens trust."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
from cryptography.hazmat.primitives.serialization import SSHCertificateType

from fieldgate_client import connect
from fieldgate_core.errors import ConfigError, NotTrustedError, RejectedError, UnreachableError
from support.asking import line_with
from support.box import Box, fieldgate
from support.mint import Ssh
from support.site import Pki, Site
from support.stock_sshd import keygen
from support.tools import run, tool

TOOLS = ("ssh-keygen", "ssh-agent", "ssh-add")
"""Stock tools that these tests need (conftest.py)."""


@pytest.fixture
def home(site_pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `~/.ssh` with the operator's key and certificate under names that only a configuration tells."""
    folder = tmp_path / "home/.ssh"
    folder.mkdir(parents=True, mode=0o700)
    identity = site_pki.client("operator")
    shutil.copy(identity / "ssh-key", folder / "box-key")
    shutil.copy(identity / "ssh-key-cert.pub", folder / "box-key-cert.pub")
    shutil.copy(identity / "known_hosts", folder / "known_hosts")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return folder


def configure(home: Path, port: int, *lines: str) -> None:
    """Write a block for the alias `box`; what is said first holds."""
    block = [*lines, "HostName localhost", f"Port {port}", "User operator", f"IdentityFile {home}/box-key"]
    (home / "config").write_text("Host box\n" + "".join(f"  {line}\n" for line in block))


async def reads(url: str = "modbus+ssh://box", identity: Path | None = None) -> bool:
    """Tell whether a register can be read through this URL."""
    async with connect(url, identity=identity) as client:
        return await client.read_holding(0) == [17]


def public(folder: Path, name: str = "ssh-host-key") -> str:
    """Give the type and the base64 of a key's public half."""
    return asyncssh.read_private_key(folder / name).export_public_key().decode().strip()


async def test_an_alias_stands_for_host_port_login_and_key(home: Path, site: Site) -> None:
    configure(home, site.app.ports["ssh"])
    assert await reads()
    (home / "config").rename(home / "boxes")
    (home / "config").write_text("Include boxes\n")
    assert await reads()
    (home / "boxes").write_text("Host other\n")
    with pytest.raises(UnreachableError, match="no such host"):
        await reads()


def test_the_command_reads_through_an_alias(home: Path, box: Box) -> None:
    configure(home, box.ports["ssh"])
    done = fieldgate("client", "read", "modbus+ssh://box", HOME=str(home.parent))
    assert (done.returncode, done.stdout) == (0, "[1]: \t17\n")


async def test_what_a_url_says_goes_before_the_configuration(home: Path, site: Site) -> None:
    configure(home, site.app.ports["ssh"], "User nobody")
    assert await reads("modbus+ssh://operator@box")
    with pytest.raises(RejectedError):
        await reads()
    configure(home, 1)
    assert await reads(f"modbus+ssh://box:{site.app.ports['ssh']}")


async def test_an_identity_folder_goes_with_the_way_that_the_configuration_tells(home: Path, site: Site) -> None:
    configure(home, site.app.ports["ssh"], "User nobody", "UserKnownHostsFile none", "CertificateFile /nowhere")
    assert await reads(identity=site.pki.client("operator"))
    with pytest.raises(NotTrustedError):
        await reads()


@pytest.mark.parametrize("mode", ["640", "604", "600"])
@pytest.mark.parametrize("name", ["box-key", "id_ed25519"])
async def test_a_key_that_others_can_read_is_refused(home: Path, site: Site, name: str, mode: str) -> None:
    configure(home, site.app.ports["ssh"])
    if name == "id_ed25519":
        (home / "box-key").rename(home / name)
        (home / "box-key-cert.pub").rename(home / "id_ed25519-cert.pub")
    (home / name).chmod(int(mode, 8))
    if mode == "600":
        assert await reads()
        return
    with pytest.raises(ConfigError, match="others can read this private key") as caught:
        await reads()
    assert caught.value.where == str(home / name)
    assert caught.value.hint == f"chmod 600 {home / name}"


async def test_a_configuration_that_others_can_write_is_refused(home: Path, site: Site) -> None:
    configure(home, site.app.ports["ssh"])
    (home / "config").chmod(0o620)
    with pytest.raises(ConfigError, match="others can write this file"):
        await reads()
    (home / "config").chmod(0o640)
    assert await reads()


@pytest.mark.parametrize("line", ["Port many", "ProxyJump http://elsewhere", "Match exec"])
async def test_a_configuration_that_is_wrong_is_named(home: Path, line: str) -> None:
    (home / "config").write_text(f"{line}\n")
    with pytest.raises(ConfigError) as caught:
        await reads()
    assert caught.value.where == "~/.ssh/config"


WEAKENING = (
    "StrictHostKeyChecking no",
    "StrictHostKeyChecking accept-new",
    "UserKnownHostsFile none",
    "CheckHostIP no",
)


@pytest.mark.parametrize("line", WEAKENING)
async def test_no_option_makes_an_unknown_host_trusted(home: Path, site: Site, line: str) -> None:
    configure(home, site.app.ports["ssh"], line)
    (home / "known_hosts").write_text("")
    with pytest.raises(NotTrustedError, match=r"known_hosts holds no such key|does not trust the CA"):
        await reads()
    assert (home / "known_hosts").read_text() == ""
    await line_with(site, "event=refused", "not authenticated")


KNOWN = {
    "by CA": ("@cert-authority localhost {ca}", True),
    "by CA for a port": ("@cert-authority [localhost]:{port} {ca}", True),
    "by CA for a pattern": ("@cert-authority *,!box {ca}", True),
    "by CA but not this host": ("@cert-authority *,!localhost,![localhost]:* {ca}", False),
    "by CA for another port": ("@cert-authority [localhost]:1 {ca}", False),
    "by another CA": ("@cert-authority * {user_ca}", False),
    "by key": ("localhost {key}", True),
    "by key for a port": ("[localhost]:{port} {key}", True),
    "by key for another port": ("[localhost]:1 {key}", False),
    "by key under another name": ("127.0.0.1,[127.0.0.1]:{port} {key}", False),
    "by another key": ("localhost {other}", False),
    "by a key of another kind": ("localhost {ecdsa}", False),
    "by CA but the key is revoked": ("@cert-authority * {ca}\n@revoked * {key}", False),
    "by key but it is revoked": ("[localhost]:{port} {key}\n@revoked localhost {key}", False),
    "by CA but that is revoked": ("@cert-authority * {ca}\n@revoked * {ca}", False),
    "by key and another is revoked": ("localhost {key}\n@revoked * {other}", True),
}
REASONS = {
    "by another CA": "does not trust the CA of its host certificate",
    "by another key": "known_hosts holds no such key",
    "by a key of another kind": "known_hosts holds no such key",
    "by CA but the key is revoked": "its host key is revoked",
    "by key but it is revoked": "its host key is revoked",
    "by CA but that is revoked": "the CA of its host certificate is revoked",
}


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("known", KNOWN)
async def test_a_host_is_known_by_key_or_by_ca(home: Path, site: Site, known: str, hashed: bool) -> None:
    lines, good = KNOWN[known]
    port = site.app.ports["ssh"]
    configure(home, port)
    facts = {
        "port": port,
        "ca": public(site.pki.folder / "ssh", "host-ca"),
        "user_ca": public(site.pki.folder / "ssh", "user-ca"),
        "key": public(site.pki.server),
        "other": public(site.pki.client("viewer"), "ssh-key"),
        "ecdsa": keygen(home / "ecdsa", "ecdsa").strip(),
    }
    file = home / "known_hosts"
    file.write_text(lines.format(**facts) + "\n")
    if hashed:
        assert (await run("ssh-keygen", "-H", "-f", str(file))).code == 0
        # ssh-keygen hashes names only, and neither patterns nor lines with a marker
        assert ("|1|" in file.read_text()) is any(line[0] != "@" for line in lines.splitlines())
    if good:
        assert await reads()
        return
    with pytest.raises(NotTrustedError, match=REASONS.get(known, "known_hosts")):
        await reads()


SHOWN = {
    "expired": (Ssh("host-ca", SSHCertificateType.HOST, ("localhost",), ends=-60), "has expired"),
    "not valid yet": (Ssh("host-ca", SSHCertificateType.HOST, ("localhost",), starts=60), "is not valid yet"),
    "for others": (Ssh("host-ca", SSHCertificateType.HOST, ("elsewhere",)), "for other names"),
    "a user's": (Ssh("host-ca", SSHCertificateType.USER, ("localhost",)), "a user's certificate"),
    "of another CA": (Ssh("user-ca", SSHCertificateType.HOST, ("localhost",)), "does not trust the CA"),
}


@pytest.mark.parametrize("what", SHOWN)
async def test_each_fault_of_a_host_certificate_has_its_own_message(
    home: Path, site_pki: Pki, tmp_path: Path, what: str
) -> None:
    certificate, said = SHOWN[what]
    host = certificate.identity(site_pki, tmp_path / "host")
    keys = [(str(host / "ssh-key"), str(host / "ssh-key-cert.pub"))]
    async with await asyncssh.listen("127.0.0.1", 0, server_host_keys=keys) as listener:
        configure(home, listener.get_port())
        with pytest.raises(NotTrustedError, match=said) as caught:
            await reads()
        assert caught.value.hint


@contextlib.contextmanager
def agent(folder: Path) -> Iterator[dict[str, str]]:
    """Run an agent of the test's own; gives the environment that names it."""
    address = str(folder / "agent")
    with subprocess.Popen(
        [tool("ssh-agent"), "-D", "-a", address], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield {"SSH_AUTH_SOCK": address}
        finally:
            process.terminate()


@pytest.mark.parametrize("only", [False, True])
async def test_a_locked_key_is_used_through_the_agent_and_nobody_is_asked_for_a_passphrase(
    home: Path, site: Site, monkeypatch: pytest.MonkeyPatch, only: bool
) -> None:
    configure(home, site.app.ports["ssh"], *(["IdentitiesOnly yes"] if only else []))
    (home / "box-key.pub").write_text(public(home, "box-key"))
    with agent(home.parent) as named:
        for name, value in named.items():
            monkeypatch.setenv(name, value)
        assert (await run("ssh-add", str(home / "box-key"), **named)).code == 0
        lock = ["-p", "-q", "-P", "", "-N", "locked", "-f", str(home / "box-key")]
        assert (await run("ssh-keygen", *lock)).code == 0
        assert await reads()
        monkeypatch.delenv("SSH_AUTH_SOCK")
        asked = home / "asked"
        (home / "askpass").write_text(f"#!/bin/sh\ntouch {asked}\n")
        (home / "askpass").chmod(0o700)
        monkeypatch.setenv("SSH_ASKPASS", str(home / "askpass"))
        monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
        with pytest.raises(RejectedError):
            await reads()
        assert not asked.exists()
