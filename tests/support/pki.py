"""Runs `fieldgate certs` inside the test's process, and asks OpenSSL about what came of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.in_process import command

PASSPHRASE = "four little words here"


def certs(*args: str | Path) -> str:
    """Run a command that succeeds; gives what it printed."""
    done = command("certs", *map(str, args))
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def refused(*args: str | Path) -> str:
    """Run a command that is refused; gives its complaint."""
    done = command("certs", *map(str, args))
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.startswith("fieldgate: error: ")
    return done.stderr


def carried(pki: Path, box: Path, name: str, *said: str | Path, key: str = "ecdsa") -> Path:
    """Make an identity in `box` the long way: request there, sign at the PKI, install; gives its link."""
    certs("request", name, "--dir", box, "--key", key)
    request = box / "pending" / f"{name}.request"
    answer = box.with_name(f"{box.name}.answer")
    answer.unlink(missing_ok=True)
    certs("sign", name, request, "--out", answer, "--dir", pki, *said)
    certs("install", answer, "--dir", box)
    return box / "current"


def openssl_verify(chain: Path, root: Path, purpose: str, *more: str | Path) -> str:
    """Let OpenSSL judge the first certificate of a chain, strictly; gives "ok" or its complaint."""
    words: list[str | Path] = [
        "openssl",
        "verify",
        "-x509_strict",
        "-purpose",
        purpose,
        "-CAfile",
        root,
        "-untrusted",
        chain,
    ]
    done = subprocess.run([*words, *more, chain], capture_output=True, text=True, check=False)
    return "ok" if done.returncode == 0 else done.stderr


def openssl(*args: str | Path, data: bytes = b"") -> str:
    """Run openssl with something to read; gives what it printed."""
    done = subprocess.run(["openssl", *args], input=data, capture_output=True, check=True)
    return done.stdout.decode()


def write_phrase(path: Path, text: str = PASSPHRASE) -> Path:
    """Write a passphrase where only we can read it."""
    path.touch(0o600)
    path.write_text(f"{text}\n")
    return path
