"""What we show a site, and what it shows us: who, in which role, and until when."""

from __future__ import annotations

import getpass
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity
from cryptography.x509.oid import NameOID

from fieldgate_core import identity_folder as names
from fieldgate_core.errors import ConfigError
from fieldgate_core.url import Scheme, SiteUrl
from fieldgate_tunnel import identity_files as files
from fieldgate_tunnel import tls
from fieldgate_tunnel.generations import last_whole

_DER = serialization.Encoding.DER
_FOR_EVER = 2**64 - 1


class Proof(NamedTuple):
    """What was shown: in words, the role or None where only the site knows it, and its end or None."""

    text: str
    role: str | None
    ends: datetime | None


def own(url: SiteUrl, folder: Path | None) -> Proof:
    """Read who we are for a site, checked as for connecting to it. Raises ConfigError."""
    match url.scheme:
        case Scheme.PLAIN:
            return Proof(f"you are the local user {getpass.getuser()}; no certificate is asked for", None, None)
        case Scheme.TLS | Scheme.HUB:
            return _tls(url, folder and last_whole(folder))
        case _:
            return _ssh(url, folder and last_whole(folder))


def _tls(url: SiteUrl, folder: Path | None) -> Proof:
    if folder is None:
        hint = "name the folder that `fieldgate certs issue client` made: --identity DIR"
        raise ConfigError("--identity", f"{url} asks for a certificate, and none was given", hint=hint)
    tls.client_context(folder)
    leaf = x509.load_pem_x509_certificate(files.file(folder, names.TLS_CHAIN).read_bytes())
    claim = tls.credentials(leaf.public_bytes(_DER), "").claim
    role = f"INVALID ({claim.fault})" if claim.fault else claim.role or "NULL (the certificate names none)"
    text = f"{_name(leaf)} of {_issuer(leaf)}, role {role}, until {day(leaf.not_valid_after_utc)}"
    return Proof(text, claim.role, leaf.not_valid_after_utc)


def _ssh(url: SiteUrl, folder: Path | None) -> Proof:
    if folder is None:
        user = f"login {url.user}" if url.user else "the login of ~/.ssh/config, or your own name"
        return Proof(f"{user}, with your SSH agent and the keys of ~/.ssh", url.user, None)
    files.private(folder, names.SSH_KEY)
    path = files.file(folder, names.SSH_CERTIFICATE)
    files.check_ssh_certificate(path)
    certificate = load_ssh_public_identity(path.read_bytes())
    assert isinstance(certificate, SSHCertificate)  # noqa: S101 - checked the line before
    principals = [principal.decode("utf-8", "replace") for principal in certificate.valid_principals]
    role = url.user or (principals[0] if len(principals) == 1 else None)
    ends = datetime.fromtimestamp(certificate.valid_before, UTC) if certificate.valid_before < _FOR_EVER else None
    until = f"until {day(ends)}" if ends else "for ever"
    key_id = certificate.key_id.decode("utf-8", "replace")
    return Proof(f"{key_id}, for the login {', '.join(principals)}, {until}", role, ends)


def server(facts: ssl.SSLObject | None) -> Proof | None:
    """Give what a TLS server has shown and we have verified; None where the door is another."""
    shown = facts.getpeercert(binary_form=True) if facts is not None else None
    if facts is None or shown is None:
        return None
    leaf = x509.load_der_x509_certificate(shown)
    until = day(leaf.not_valid_after_utc)
    return Proof(f"{facts.version()}, {_name(leaf)} of {_issuer(leaf)}, until {until}", None, leaf.not_valid_after_utc)


def _name(certificate: x509.Certificate) -> str:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else "a certificate without a name"


def _issuer(certificate: x509.Certificate) -> str:
    return certificate.issuer.rfc4514_string()


def day(moment: datetime) -> str:
    """Write a moment to the minute, in UTC."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"
