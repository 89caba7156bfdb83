"""The files that prove who we are and whom we trust, and what is checked before they are used."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

from fieldgate_core import identity_folder as names
from fieldgate_core.clock import Known, clock_floor, complaint, moment, plausible
from fieldgate_core.errors import ConfigError


def file(folder: Path, name: str) -> Path:
    """Give a file of an identity folder. Raises ConfigError if it is not there."""
    path = folder / name
    if not path.is_file():
        missing = path if folder.is_dir() else folder
        raise ConfigError(
            str(missing), "no such file or folder", hint="`fieldgate certs issue` makes a whole identity folder"
        )
    return path


def private(folder: Path, name: str) -> Path:
    """Give a private key's file. Raises ConfigError if others can read it, or it is not ours."""
    path = file(folder, name)
    found = path.stat()
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(str(path), "others can read this private key", hint=f"chmod 600 {path}")
    if found.st_uid not in {os.geteuid(), 0}:
        raise ConfigError(str(path), "this private key belongs to another user", hint=f"chown {os.geteuid()} {path}")
    return path


def host_keys(folder: Path) -> list[tuple[str, str]]:
    """Name the host keys in an identity folder, each with the file of its certificate.

    The first is `ssh-host-key`, which must have one. Those called `ssh-host-key-*`, as there are while keys change, may
    have none, and "" stands for it.
    """
    found = [(names.SSH_HOST_KEY, names.SSH_HOST_CERTIFICATE)]
    for path in sorted(folder.glob(f"{names.SSH_HOST_KEY}-*")):
        if path.suffix != ".pub":
            certificate = f"{path.name}-cert.pub"
            found.append((path.name, certificate if (folder / certificate).exists() else ""))
    return found


def check_dates(path: Path, *, early: bool = False) -> None:
    """Check that the first certificate of a PEM file is in force; `early` lets it be not valid yet.

    Raises ConfigError if not, or if it can't be read. Where that shows that the clock is wrong, it says so.
    """
    try:
        certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
    except (OSError, ValueError, IndexError, x509.InvalidVersion):
        raise ConfigError(str(path), "holds no certificate that can be read") from None
    _check_life(
        path, certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp(), early=early
    )


def check_ssh_certificate(path: Path, *, early: bool = False) -> None:
    """Check that an OpenSSH certificate file is in force, as `check_dates` does. Raises ConfigError."""
    try:
        certificate = load_ssh_public_identity(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm):
        raise ConfigError(str(path), "holds no OpenSSH certificate that can be read") from None
    if not isinstance(certificate, SSHCertificate):
        raise ConfigError(str(path), "is a plain key, not a certificate")
    _check_life(path, certificate.valid_after, certificate.valid_before, early=early)


def check_ssh_identity(folder: Path) -> None:
    """Check that a folder has what an SSH client needs: key, certificate in force, known_hosts. Raises ConfigError."""
    private(folder, names.SSH_KEY)
    check_ssh_certificate(file(folder, names.SSH_CERTIFICATE))
    file(folder, names.KNOWN_HOSTS)


def _check_life(path: Path, begins: float, ends: float, *, early: bool) -> None:
    now = time.time()
    floor = clock_floor(Known(begins, "its certificate begins"))
    if not plausible(now, floor):
        if early:
            return
        hint = "set this machine's clock; if it is right, the certificate was made where it is wrong"
        raise ConfigError(str(path), complaint(now, floor), hint=hint)
    if ends <= now:
        problem = f"the certificate expired on {moment(ends)}, and the clock says {moment(now)}"
        raise ConfigError(str(path), problem, hint="is that right? then issue a new one: `fieldgate certs issue`")
