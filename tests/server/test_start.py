"""Bad input at the start: each is one clear line with what, where and the mend, exit 2, and no socket was opened."""

from __future__ import annotations

import getpass
import itertools
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from support.box import FIELDGATE, Box, clean_environment, fieldgate
from support.mint import Tls, issuing_ca
from support.site import TABLES_OF_THE_VECTORS, Pki, write_files

Spoil = Callable[[Path], None]
"""Spoils one thing in a folder that holds server.toml, policy.toml and an identity folder `id`."""


def edit(name: str, old: str, new: str) -> Spoil:
    def spoil(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return spoil


def chmod(name: str, mode: int) -> Spoil:
    return lambda folder: (folder / name).chmod(mode)


def remove(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


def swap_key(folder: Path) -> None:
    """Put another key where the certificate's own should be."""
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "id/tls-key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@pytest.fixture
def folder(site_pki: Pki, tmp_path: Path) -> Path:
    """A folder that starts as it is: the tests spoil one thing each."""
    (tmp_path / "box").mkdir()
    box = tmp_path / "box"
    write_files(site_pki, box, user=getpass.getuser(), grants=None, units=TABLES_OF_THE_VECTORS, extra="")
    shutil.copytree(site_pki.server.resolve(), tmp_path / "box/id")
    text = (tmp_path / "box/server.toml").read_text().replace(str(site_pki.server), "id")
    (tmp_path / "box/server.toml").write_text(text)
    return tmp_path / "box"


@pytest.mark.parametrize(
    ("spoil", "where", "problem", "mend"),
    [
        (edit("server.toml", "audit =", "audti ="), "server.toml: audti", "unknown key", "did you mean audit?"),
        (edit("server.toml", "port = 0", "port = 70000"), "server.toml: ", "port 70000 is not 0 to 65535", ""),
        (edit("server.toml", "id = 1", "id = 255"), "server.toml: unit[0]", "another name of the default unit", ""),
        (edit("server.toml", "initial = 17", "initial = 65536"), "server.toml: unit[0]", "65536 is not 0 to", ""),
        (edit("server.toml", "[listen]", '[listen]\nhost = "0.0.0.0"'), "server.toml: listen", "not loopback", ""),
        (
            edit("server.toml", "[listen]", '[listen]\nhost = "::"'),
            "server.toml: listen",
            "the two doors, [ssh] and",
            "",
        ),
        (edit("server.toml", 'policy = "policy.toml"', ""), "server.toml", "needs a policy", ""),
        (edit("server.toml", 'policy = "policy.toml"', 'policy = "p.toml"'), "p.toml", "No such file", ""),
        (edit("server.toml", "[tls]", "[tls"), "server.toml", "not valid TOML", ""),
        (
            edit("policy.toml", "grants", "grant"),
            "policy.toml: role.operator.grant",
            "unknown key",
            "did you mean grants?",
        ),
        (edit("policy.toml", '"operator"\n', '"operater"\n'), "identity.unix:", "not declared", "[role.operater]"),
        (edit("server.toml", 'identity = "id"', 'identity = "di"'), "/di", "no such file or folder", "certs issue"),
        (remove("id/tls-client-ca.pem"), "id/tls-client-ca.pem", "no such file", "certs issue"),
        (remove("id/ssh-host-key-cert.pub"), "id/ssh-host-key-cert.pub", "no such file", "certs issue"),
        (chmod("id/tls-key.pem", 0o640), "id/tls-key.pem", "others can read", "chmod 600"),
        (chmod("id/ssh-host-key", 0o604), "id/ssh-host-key", "others can read", "chmod 600"),
        (chmod("policy.toml", 0o666), "policy.toml", "others can write this file", "chmod go-w"),
        (chmod("id/tls-client-ca.pem", 0o664), "id/tls-client-ca.pem", "others can write this file", "chmod go-w"),
        (swap_key, "id/tls-key.pem", "does not fit tls-chain.pem", ""),
        (edit("server.toml", "audit.log", "none/audit.log"), "audit", "cannot be opened for writing", ""),
    ],
)
def test_what_is_wrong_is_one_line_with_its_mend(
    folder: Path, spoil: Spoil, where: str, problem: str, mend: str
) -> None:
    spoil(folder)
    done = fieldgate("server", "run", "--config", str(folder / "server.toml"))
    assert done.returncode == 2
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("fieldgate: error: ")]
    assert len(errors) == 1, done.stderr
    assert where in errors[0]
    assert problem in errors[0]
    assert mend in done.stderr
    assert "Traceback" not in done.stderr


def test_an_expired_server_certificate_is_named(folder: Path, site_pki: Pki, tmp_path: Path) -> None:
    old = Tls(ca=issuing_ca(site_pki), roles=(), ends=-60, purpose=ExtendedKeyUsageOID.SERVER_AUTH, hosts=["localhost"])
    expired = old.identity(site_pki, tmp_path / "expired")
    shutil.copyfile(expired / "tls-chain.pem", folder / "id/tls-chain.pem")
    shutil.copyfile(expired / "tls-key.pem", folder / "id/tls-key.pem")
    done = fieldgate("server", "run", "--config", str(folder / "server.toml"))
    assert done.returncode == 2
    assert "id/tls-chain.pem: the certificate expired on" in done.stderr


def test_a_port_that_is_taken_is_named_for_each_door(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for door in ("listen", "tls", "ssh"):
            text = (folder / "server.toml").read_text()
            head, _, tail = text.partition(f"[{door}]")
            spoiled = folder / f"{door}.toml"
            spoiled.write_text(f"{head}[{door}]{tail.replace('port = 0', f'port = {port}', 1)}")
            done = fieldgate("server", "run", "--config", str(spoiled))
            assert done.returncode == 2, door
            assert f"{door} 127.0.0.1:{port}: cannot listen" in done.stderr
            assert "another program holds the port" in done.stderr


def test_the_same_folder_unspoiled_starts(box: Box) -> None:
    """The peer that passes: what the tests above spoil is otherwise a server that runs and stops cleanly."""
    assert set(box.ports) == {"modbus", "tls", "ssh"}
    assert box.stop() == 0
    assert "Traceback" not in box.log()
    assert "state=stopping" in box.audit_lines()[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is asked for --owner-rights")
def test_root_has_to_ask_for_a_quick_start(tmp_path: Path) -> None:
    for words, code in ((["--owner-rights"], 0), ([], 1)):
        command = [*FIELDGATE, "server", "run", "--port", "0", *words]
        with subprocess.Popen(
            command, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            try:
                assert process.stdout is not None
                lines = list(itertools.takewhile(lambda line: line != "ready\n", process.stdout))
                port = int(next(line for line in lines if line.startswith("listening: modbus ")).rpartition(":")[2])
                done = fieldgate("client", "read", f"modbus://127.0.0.1:{port}", "-r", "1")
                assert done.returncode == code, done.stderr
            finally:
                process.kill()
