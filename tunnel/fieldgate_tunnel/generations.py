"""Find the generation of an identity to start with: the one in force, or the last whole one before it."""

from __future__ import annotations

import logging
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    SSHCertificate,
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_identity,
)

from fieldgate_core import identity_folder as names

log = logging.getLogger("fieldgate.identity")

_SSH_PAIRS = ((names.SSH_HOST_KEY, names.SSH_HOST_CERTIFICATE), (names.SSH_KEY, names.SSH_CERTIFICATE))


def last_whole(identity: Path) -> Path:
    """Give the folder that an identity's link names, or the newest whole one before it, and then say so in the log.

    Whole means that each key is there and belongs to the certificate beside it, and that TLS knows whom to trust.
    What is wrong in another way (dates, rights to a key) is not looked at here: it is an error, and no older
    generation stands in for it. A folder that no link names, or that none can stand in for, comes back as it is.
    """
    if not identity.is_symlink():
        return identity
    newest = identity.resolve()
    fault = _fault(newest)
    if not fault or not newest.name.isdecimal():
        return newest
    older = [path for path in newest.parent.glob("[0-9]*") if path.name.isdecimal() and path.name < newest.name]
    for path in sorted(older, reverse=True):
        if not _fault(path):
            log.error("identity %s: %s is not whole: %s; starting with %s", identity, newest.name, fault, path.name)
            return path
    return newest


def _fault(folder: Path) -> str:
    """Say what keeps a generation from being whole; empty for nothing."""
    checks = {(names.TLS_KEY, names.TLS_CHAIN): _tls_fault} | dict.fromkeys(_SSH_PAIRS, _ssh_fault)
    pairs = {tuple(folder / name for name in pair): check for pair, check in checks.items()}
    found = {pair: check for pair, check in pairs.items() if any(path.exists() for path in pair)}
    if not found:
        return "it holds no key"
    try:
        return next(filter(None, (check(*pair) for pair, check in found.items())), "")
    except OSError as error:
        return f"{error.filename}: {error.strerror}"


def _tls_fault(key: Path, chain: Path) -> str:
    if not any((key.parent / name).exists() for name in (names.TLS_CLIENT_CA, names.TLS_SERVER_CA)):
        return f"neither {names.TLS_CLIENT_CA} nor {names.TLS_SERVER_CA} is there"
    try:
        public = load_pem_private_key(key.read_bytes(), None).public_key()
        leaf = x509.load_pem_x509_certificates(chain.read_bytes())[0]
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        return "the TLS key or certificate is damaged"
    return "" if public == leaf.public_key() else "the TLS key is not the certificate's"


def _ssh_fault(key: Path, certificate: Path) -> str:
    try:
        public = load_ssh_private_key(key.read_bytes(), None).public_key()
        found = load_ssh_public_identity(certificate.read_bytes())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "the SSH key or certificate is damaged"
    fits = isinstance(found, SSHCertificate) and found.public_key() == public
    return "" if fits else "the SSH key is not the certificate's"
