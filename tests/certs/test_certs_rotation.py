"""Killed at every step of a rotation: the identity loads after it, and the next command works (pitfall 15)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from fieldgate_core.revocation import parse
from fieldgate_tunnel import generations, ssh, tls
from support.counts import LONG
from support.in_process import command
from support.pki import carried, certs


def traces() -> bool:
    strace = shutil.which("strace")
    return strace is not None and subprocess.run([strace, "-o", os.devnull, "true"], check=False).returncode == 0


pytestmark = pytest.mark.skipif(not traces(), reason="needs strace, and the right to trace")
CALLS = ("write", "fsync", "rename", "symlink", "unlink", "unlinkat", "mkdir")
"""Every call of a rotation that changes what is on the disk; test_a_rotation_uses_no_other_call holds that."""
_OTHERS = ("fdatasync", "renameat", "renameat2", "symlinkat", "link", "linkat", "rmdir")


def killed(call: str, number: int, folder: Path, *args: str) -> bool:
    """Run a command that is killed as it enters its n-th call of a kind; false if it ended before."""
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    trace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", inject]
    run = [*trace, sys.executable, "-B", "-m", "fieldgate_core.cli", "certs", *args]
    done = subprocess.run(run, cwd=folder, capture_output=True, check=False)
    assert done.returncode in (0, 137, -9), done
    return done.returncode != 0


def steps(call: str, folder: Path, *args: str) -> int:
    """Count the calls of one kind, or several, of a command that runs to its end."""
    out = folder / "trace"
    trace = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", str(out), "-e", f"trace={call}"]
    run = [*trace, sys.executable, "-B", "-m", "fieldgate_core.cli", "certs", *args]
    subprocess.run(run, cwd=folder, capture_output=True, check=True)
    return len(re.findall(r"^\d+ +\w+\(", out.read_text(), re.MULTILINE))


def numbers(call: str, folder: Path, *args: str) -> list[int]:
    """Give the steps to be killed at: every one in the long run; else each fifth, and the last two."""
    last = steps(call, folder, *args)
    assert last or call not in ("write", "fsync", "rename")
    return [n for n in range(1, last + 1) if LONG or n % 5 == 1 or n > last - 2]


def loads(identity: Path) -> Path:
    """Load an identity as the server or a client does; gives the generation."""
    folder = generations.last_whole(identity)
    if (folder / "tls-client-ca.pem").exists():
        assert tls.server_context(folder)
        assert ssh.server_options(folder, login_deadline=10)
    else:
        assert tls.client_context(folder)
    return folder


@pytest.mark.long
@pytest.mark.parametrize("call", CALLS if LONG else ("fsync", "rename", "symlink"))
def test_a_renewal_that_is_killed(tmp_path: Path, call: str) -> None:
    certs("init", tmp_path / "pki")
    certs("issue", "client", "ana", "--role", "operator", "--dir", tmp_path / "pki")
    identity, renew = tmp_path / "pki/issued/client/ana/current", ("renew", "ana", "--dir", "pki")
    for number in numbers(call, tmp_path, *renew):
        before = loads(identity)
        assert killed(call, number, tmp_path, *renew)
        assert loads(identity) >= before
        certs("renew", "ana", "--dir", tmp_path / "pki")
        assert loads(identity) > before


@pytest.mark.long
@pytest.mark.parametrize("call", CALLS if LONG else ("fsync", "rename", "symlink", "unlinkat"))
def test_an_install_that_is_killed(tmp_path: Path, call: str) -> None:
    pki, box = tmp_path / "pki", tmp_path / "id"
    certs("init", pki)
    carried(pki, box, "box-1", "--dns", "localhost")
    install = ("install", "answer", "--dir", "id")

    def prepare() -> None:
        shutil.rmtree(box / "pending", ignore_errors=True)
        (tmp_path / "answer").unlink(missing_ok=True)
        certs("request", "box-1", "--dir", box)
        words = ("--dns", "localhost", "--out", tmp_path / "answer", "--dir", pki)
        certs("sign", "box-1", box / "pending/box-1.request", *words)

    prepare()
    for number in numbers(call, tmp_path, *install):
        prepare()
        before = loads(box / "current")
        assert killed(call, number, tmp_path, *install)
        after = loads(box / "current")
        assert after >= before
        # the same command again, or the next request: one of the two goes on from here
        again = command("certs", "install", str(tmp_path / "answer"), "--dir", str(box))
        assert again.returncode == 0 or (after > before and "no request waits" in again.stderr)
        certs("request", "box-1", "--dir", box)


@pytest.mark.long
@pytest.mark.parametrize("call", CALLS if LONG else ("write", "rename"))
def test_a_revocation_that_is_killed(tmp_path: Path, call: str) -> None:
    """Who has been revoked stays revoked, and the lists can be read: the old one or the new one, each whole."""
    pki = tmp_path / "pki"
    certs("init", pki)
    for name in ("ana", "bob"):
        certs("issue", "client", name, "--role", "operator", "--dir", pki)
    certs("revoke", "ana", "--dir", pki)
    revoke = ("revoke", "bob", "--dir", "pki")
    shutil.copytree(pki, tmp_path / "copy", symlinks=True)
    for number in numbers(call, tmp_path, *revoke):
        shutil.rmtree(pki)
        shutil.copytree(tmp_path / "copy", pki, symlinks=True)
        assert killed(call, number, tmp_path, *revoke)
        assert len(x509.load_pem_x509_crl((pki / "published/issuing.crl.pem").read_bytes())) in (1, 2)
        for path in (pki / "revoked", pki / "published/revoked"):
            assert parse(path.read_text(), where="list").x509_serials("CN=fieldgate-issuing-1")
        certs("revoke", "bob", "--dir", pki)
        assert len(x509.load_pem_x509_crl((pki / "published/issuing.crl.pem").read_bytes())) == 2


def test_a_rotation_uses_no_other_call(tmp_path: Path) -> None:
    certs("init", tmp_path / "pki")
    certs("issue", "client", "ana", "--role", "operator", "--dir", tmp_path / "pki")
    assert steps(",".join(_OTHERS), tmp_path, "renew", "ana", "--dir", "pki") == 0
