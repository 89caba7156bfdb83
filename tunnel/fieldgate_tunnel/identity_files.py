"""The files that prove who we are and whom we trust, and what is checked before they are used."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

from fieldgate_core import identity_folder as names
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


def check_dates(path: Path) -> None:
    """Check that the first certificate of a PEM file is in force. Raises ConfigError if not, or if it can't be read."""
    try:
        certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
    except (OSError, ValueError, IndexError):
        raise ConfigError(str(path), "holds no certificate that can be read") from None
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc < now:
        when = certificate.not_valid_after_utc.isoformat(" ", "minutes")
        raise ConfigError(
            str(path), f"the certificate expired on {when}", hint="issue a new one: `fieldgate certs issue`"
        )
    if certificate.not_valid_before_utc > now:
        when = certificate.not_valid_before_utc.isoformat(" ", "minutes")
        hint = "is this machine's clock right?"
        raise ConfigError(str(path), f"the certificate is valid from {when} only", hint=hint)


def check_ssh_certificate(path: Path) -> None:
    """Check that an OpenSSH certificate file is in force. Raises ConfigError if not, or if it can't be read."""
    try:
        certificate = load_ssh_public_identity(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm):
        raise ConfigError(str(path), "holds no OpenSSH certificate that can be read") from None
    if not isinstance(certificate, SSHCertificate):
        raise ConfigError(str(path), "is a plain key, not a certificate")
    now = datetime.now(UTC).timestamp()
    if certificate.valid_before <= now:
        raise ConfigError(str(path), "the certificate has expired", hint="issue a new one: `fieldgate certs issue`")
    if certificate.valid_after > now:
        raise ConfigError(str(path), "the certificate is not valid yet", hint="is this machine's clock right?")
