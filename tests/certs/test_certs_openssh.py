"""The OpenSSH certificates, judged by OpenSSH itself: ssh-keygen reads them, ssh trusts them (pitfalls 5 and 7)."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import asyncssh
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

from fieldgate_certs import cli, layout
from fieldgate_certs.authority import Authority, Identity, load
from fieldgate_certs.disk import CURRENT
from fieldgate_certs.layout import File, Files
from fieldgate_certs.openssh import fingerprint, private_key_file, public_key_line
from fieldgate_certs.store import Store
from fieldgate_certs.subjects import Client, Server

TOOLS = ("openssl", "ssh", "ssh-keygen")
"""Stock tools that these tests need (conftest.py)."""


def ssh_keygen(*args: str | Path) -> str:
    return subprocess.run(["ssh-keygen", *args], capture_output=True, text=True, check=True).stdout


def sections(listing: str) -> dict[str, list[str]]:
    """Read the indented listing of `ssh-keygen -L`: each heading with the lines below it."""
    found: dict[str, list[str]] = {}
    for line in listing.splitlines()[1:]:
        heading, colon, value = line.strip().partition(":")
        if line.startswith("        ") and not line.startswith("         ") and colon:
            found[heading] = [value.strip()] if value.strip() else []
        else:
            found[list(found)[-1]].append(line.strip())
    return found


def listing(tmp_path: Path, identity: Identity, file: File) -> dict[str, list[str]]:
    path = tmp_path / file.path
    path.write_bytes(identity.files[file])
    return sections(ssh_keygen("-L", "-f", path))


def certificate(identity: Identity, file: File) -> SSHCertificate:
    loaded = load_ssh_public_identity(identity.files[file])
    assert isinstance(loaded, SSHCertificate)
    return loaded


def test_ssh_keygen_reads_the_user_certificate(tmp_path: Path, ca: Authority, ana: Identity) -> None:
    seen = listing(tmp_path, ana, layout.SSH_KEY_CERT)
    assert seen["Type"] == ["ssh-ed25519-cert-v01@openssh.com user certificate"]
    assert seen["Signing CA"] == [f"ED25519 {fingerprint(ca.user_ca.public_key())} (using ssh-ed25519)"]
    assert seen["Key ID"] == ['"ana"']
    assert seen["Principals"] == ["operator"]
    assert seen["Critical Options"] == ["force-command /usr/sbin/nologin"]
    assert seen["Extensions"] == ["permit-port-forwarding"]


def test_ssh_keygen_reads_the_host_certificate(tmp_path: Path, ca: Authority, box: Identity) -> None:
    seen = listing(tmp_path, box, layout.SSH_HOST_KEY_CERT)
    assert seen["Type"] == ["ssh-ed25519-cert-v01@openssh.com host certificate"]
    assert seen["Signing CA"] == [f"ED25519 {fingerprint(ca.host_ca.public_key())} (using ssh-ed25519)"]
    assert seen["Key ID"] == ['"box-1"']
    assert seen["Principals"] == ["localhost", "box-1.example.com", "127.0.0.1", "2001:db8::17"]
    assert seen["Critical Options"] == ["(none)"]
    assert seen["Extensions"] == ["(none)"]


def test_a_pki_whose_ssh_cas_are_ecdsa_still_issues(tmp_path: Path, pki_files: Files, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    line = public_key_line(key.public_key(), "older")
    older = load({**pki_files, layout.USER_CA: private_key_file(key), layout.USER_CA_PUB: line}.__getitem__)
    seen = listing(tmp_path, older.issue(Client("ana", "operator"), 1, now), layout.SSH_KEY_CERT)
    assert seen["Type"] == ["ssh-ed25519-cert-v01@openssh.com user certificate"]
    assert seen["Signing CA"] == [f"ECDSA {fingerprint(key.public_key())} (using ecdsa-sha2-nistp256)"]


def test_both_certificates_of_an_identity_live_equally_long(box: Identity, ana: Identity, now: datetime) -> None:
    for identity, file in ((box, layout.SSH_HOST_KEY_CERT), (ana, layout.SSH_KEY_CERT)):
        ours = certificate(identity, file)
        assert ours.valid_after == int((now - timedelta(hours=1)).timestamp())
        assert ours.valid_before == int(identity.not_after.timestamp())


def test_serials_differ_and_use_64_bits(ca: Authority, now: datetime) -> None:
    issued = [ca.issue(Client("ana", "operator"), 1, now) for _ in range(20)]
    serials = {certificate(identity, layout.SSH_KEY_CERT).serial for identity in issued}
    assert len(serials) == 20
    assert max(serials) >= 2**56  # each of the 20 would be smaller in one of 2**160 runs


def test_the_fingerprint_is_the_one_that_ssh_keygen_prints(store: Store, ca: Authority) -> None:
    for key, file in ((ca.user_ca, layout.USER_CA_PUB), (ca.host_ca, layout.HOST_CA_PUB)):
        printed = ssh_keygen("-l", "-f", store.folder / file.path).split()
        assert printed == ["256", fingerprint(key.public_key()), f"plant-{Path(file.path).stem}", "(ED25519)"]


def test_the_public_files_belong_to_the_private_ones(store: Store, box: Identity, ana: Identity) -> None:
    server = store.add(Server("box-1", ("localhost",)), box.files)
    client = store.add(Client("ana", "operator"), ana.files)
    for private in (store.folder / "ssh/user-ca", store.folder / "ssh/host-ca", server / "ssh-host-key"):
        assert ssh_keygen("-y", "-f", private).split()[:2] == Path(f"{private}.pub").read_text().split()[:2]
    assert ssh_keygen("-y", "-f", client / "ssh-key").split()[:2] == (client / "ssh-key.pub").read_text().split()[:2]


def test_tls_and_ssh_never_share_a_key(ana: Identity, box: Identity) -> None:
    for identity, key, line in (
        (ana, layout.TLS_KEY, layout.SSH_KEY_PUB),
        (box, layout.TLS_KEY, layout.SSH_HOST_KEY_PUB),
    ):
        tls_key = asyncssh.import_private_key(identity.files[key]).export_public_key().split()[1]
        assert tls_key != identity.files[line].split()[1]


class Door(asyncssh.SSHServer):
    """Notes who has logged in."""

    def __init__(self, logins: asyncio.Queue[str]) -> None:
        self.logins = logins
        self.login = ""

    def begin_auth(self, username: str) -> bool:
        self.login = username
        return True

    def auth_completed(self) -> None:
        self.logins.put_nowait(self.login)


async def log_in(box: Path, command: list[str]) -> tuple[str, str]:
    """Run an ssh command against a server with the identity `box`; return the login let in, or ssh's complaint.

    In the command PORT becomes the server's port.
    """
    logins: asyncio.Queue[str] = asyncio.Queue()
    door = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: Door(logins),
        server_host_keys=[(str(box / "ssh-host-key"), str(box / "ssh-host-key-cert.pub"))],
        authorized_client_keys=asyncssh.import_authorized_keys(
            "cert-authority " + (box / "ssh-user-ca.pub").read_text()
        ),
    )
    options = ["BatchMode=yes", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "GlobalKnownHostsFile=/dev/null"]
    unattended = ["-F", "none", "-o", "AddressFamily=inet", *(f"-o{option}" for option in options)]
    words = [str(door.get_port()) if word == "PORT" else word for word in command]
    ssh = await asyncio.create_subprocess_exec(words[0], *unattended, *words[1:], stderr=asyncio.subprocess.PIPE)
    let_in = asyncio.create_task(logins.get())
    ended = asyncio.create_task(ssh.communicate())
    await asyncio.wait({let_in, ended}, return_when=asyncio.FIRST_COMPLETED)
    if not ended.done():
        ssh.kill()
    _, complaint = await ended
    login = let_in.result() if let_in.done() else ""
    let_in.cancel()
    door.close()
    await door.wait_closed()
    return login, complaint.decode()


async def stock_ssh(store: Store, server: Identity, client: Identity, target: str) -> tuple[str, str]:
    """Log in with stock ssh as a user would, with two identities that were issued."""
    box = store.add(Server("box-1", ("localhost",)), server.files)
    ana = store.add(Client("ana", "operator"), client.files)
    trust = f"UserKnownHostsFile={ana / 'known_hosts'}"
    return await log_in(box, ["ssh", "-N", "-p", "PORT", "-i", str(ana / "ssh-key"), "-o", trust, target])


async def test_the_ssh_command_that_issue_prints_logs_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for args in (("init",), ("issue", "server", "box-1", "--dns", "localhost", "--dir")):
        assert cli.main([*args, "a b"]) == 0
    capsys.readouterr()
    assert cli.main(["issue", "client", "ana", "--role", "operator", "--dir", "a b"]) == 0
    printed = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("  ssh "))
    command = shlex.split(printed.replace("-p 2222", "-p PORT").replace("HOST", "localhost"))
    forward = command.index("-L")
    del command[forward : forward + 2]  # port 5021 may be taken here
    login, complaint = await log_in(tmp_path / "a b/issued/server/box-1" / CURRENT, command)
    assert login == "operator", complaint


async def test_stock_ssh_logs_in_as_the_role(store: Store, box: Identity, ana: Identity) -> None:
    login, complaint = await stock_ssh(store, box, ana, "operator@localhost")
    assert login == "operator", complaint


async def test_stock_ssh_may_not_log_in_as_another_role(store: Store, box: Identity, ana: Identity) -> None:
    login, complaint = await stock_ssh(store, box, ana, "engineer@localhost")
    assert login == ""
    assert "Permission denied" in complaint


async def test_a_user_of_another_ca_may_not_log_in(
    store: Store, other_ca: Authority, box: Identity, ana: Identity, now: datetime
) -> None:
    stranger = other_ca.issue(Client("ana", "operator"), 90, now)
    files = {**stranger.files, layout.KNOWN_HOSTS: ana.files[layout.KNOWN_HOSTS]}
    login, complaint = await stock_ssh(store, box, Identity(files, stranger.not_after), "operator@localhost")
    assert login == ""
    assert "Permission denied" in complaint


async def test_stock_ssh_refuses_a_host_of_another_ca(
    store: Store, other_ca: Authority, box: Identity, ana: Identity, now: datetime
) -> None:
    stranger = other_ca.issue(Server("box-1", ("localhost",)), 90, now)
    login, complaint = await stock_ssh(store, stranger, ana, "operator@localhost")
    assert login == ""
    assert "Host key verification failed" in complaint


async def test_stock_ssh_refuses_a_host_that_the_certificate_does_not_name(
    store: Store, ca: Authority, ana: Identity, now: datetime
) -> None:
    elsewhere = ca.issue(Server("box-2", ("box-2.example.com",)), 90, now)
    login, complaint = await stock_ssh(store, elsewhere, ana, "operator@localhost")
    assert login == ""
    assert "Host key verification failed" in complaint
