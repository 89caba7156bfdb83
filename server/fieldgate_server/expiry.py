"""From when until when the certificates hold that a server shows and trusts, at its doors and to a remote syslog."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

from fieldgate_core import identity_folder as names
from fieldgate_tunnel import identity_files as files

_FOREVER = 0xFFFF_FFFF_FFFF_FFFF


class Expiry(NamedTuple):
    """A certificate, by its file and its name, and its life in seconds since 1970; `ends` None: it has no end."""

    file: str
    name: str
    ends: float | None
    begins: float = 0.0


def of(tls: Path | None, ssh: Path | None) -> tuple[Expiry, ...]:
    """Give the ends of the certificates in the identity folders of the two doors; what can't be read is left out."""
    found: list[Expiry] = []
    if tls is not None:
        # the door's own is the first of its chain
        found += _x509(tls / names.TLS_CHAIN)[:1] + _x509(tls / names.TLS_CLIENT_CA)
    if ssh is not None:
        for _, certificate in files.host_keys(ssh):
            found += _ssh(ssh / certificate)
    return tuple(found)


def own(found: Iterable[Expiry]) -> tuple[Expiry, ...]:
    """Give those that the server shows as its own."""
    return tuple(one for one in found if Path(one.file).name in {names.TLS_CHAIN, names.SSH_HOST_CERTIFICATE})


def of_client(trust: Path, identity: Path | None) -> tuple[Expiry, ...]:
    """Give the ends of the CAs that a client trusts, and of the certificate that it shows, if it does."""
    shown = _x509(identity / names.TLS_CHAIN)[:1] if identity is not None else []
    return (*shown, *_x509(trust))


def _x509(file: Path) -> list[Expiry]:
    try:
        found = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError):
        return []
    return [
        Expiry(
            str(file),
            one.subject.rfc4514_string(),
            one.not_valid_after_utc.timestamp(),
            one.not_valid_before_utc.timestamp(),
        )
        for one in found
    ]


def _ssh(file: Path) -> list[Expiry]:
    try:
        found = load_ssh_public_identity(file.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm):
        return []
    if not isinstance(found, SSHCertificate):
        return []
    ends = None if found.valid_before == _FOREVER else float(found.valid_before)
    return [Expiry(str(file), found.key_id.decode(errors="replace"), ends, float(found.valid_after))]
