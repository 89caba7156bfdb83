"""Read what lies in a file: certificates, CRLs, requests and keys of X.509 and OpenSSH, and say what each is."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from fieldgate_certs import issued, openssh
from fieldgate_certs.constraints import Constraints
from fieldgate_core.logs import printable

_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
# before the key may stand @cert-authority and hosts, as in known_hosts, or options, as in authorized_keys
_SSH_LINE = re.compile(rb"(?:[^#].*\s)?((?:ssh-|ecdsa-|sk-)\S+\s+[A-Za-z0-9+/]+=*)(?:\s|$)")
_FOREVER = 0xFFFF_FFFF_FFFF_FFFF
_PURPOSES = {ExtendedKeyUsageOID.SERVER_AUTH: "server", ExtendedKeyUsageOID.CLIENT_AUTH: "client"}
_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_PKCS12_OID = bytes.fromhex("2a864886f70d0107")
"""The stem of every content type of PKCS#7, which a PKCS#12 file begins with."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing of a file: what it is, whom or what it names, from when until when, and more facts, ready to show."""

    kind: str
    name: str
    not_before: datetime | None = None
    not_after: datetime | None = None
    facts: dict[str, str] = field(default_factory=dict)


def read(data: bytes) -> list[Item]:
    """Give everything that a file holds and that is not secret; what it does not know it leaves out."""
    if _PEM.search(data):
        return [item for found in _PEM.finditer(data) if (item := _pem(found[1].decode(), found[0]))]
    if data[:1] == b"\x30":
        return _der(data)
    return list(_ssh_lines(data))


def _pem(label: str, block: bytes) -> Item | None:
    readers: dict[str, Callable[[bytes], Item]] = {
        "CERTIFICATE": lambda data: _certificate(x509.load_pem_x509_certificate(data)),
        "X509 CRL": lambda data: _crl(x509.load_pem_x509_crl(data)),
        "CERTIFICATE REQUEST": lambda data: _request(x509.load_pem_x509_csr(data)),
    }
    if label.endswith("PRIVATE KEY"):
        return Item("private key", "", facts={"note": "not shown"})
    if label not in readers:
        return None
    return _tried(lambda: readers[label](block), label.lower())


def _der(data: bytes) -> list[Item]:
    readers: tuple[Callable[[], Item], ...] = (
        lambda: _certificate(x509.load_der_x509_certificate(data)),
        lambda: _crl(x509.load_der_x509_crl(data)),
        lambda: _request(x509.load_der_x509_csr(data)),
    )
    for parse in readers:
        with contextlib.suppress(ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
            return [parse()]
    if _PKCS12_OID in data[:64]:
        return [Item("PKCS#12", "", facts={"note": "cannot be looked into without its password"})]
    return []


def _ssh_lines(data: bytes) -> Iterator[Item]:
    for line in data.splitlines():
        found = _SSH_LINE.match(line.strip())
        if found:
            yield _tried(partial(_ssh, found[1]), "OpenSSH key")


def _tried(parse: Callable[[], Item], what: str) -> Item:
    try:
        return parse()
    except _UNREADABLE:
        return Item(what, "", facts={"note": "cannot be read"})


def _certificate(found: x509.Certificate) -> Item:
    facts = {
        "subject": printable(found.subject.rfc4514_string()),
        "issuer": printable(found.issuer.rfc4514_string()),
        "serial": f"{found.serial_number:X}",
        "key": _key(found.public_key()),
        "sha256": found.fingerprint(hashes.SHA256()).hex(":").upper(),
    }
    try:
        kind, more = _extensions(found)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        kind, more = "X.509 certificate", {"role": "INVALID: its extensions cannot be read"}
    facts |= more
    if found.issuer != found.subject:
        facts["identity"] = printable(issued.tls_name(found), 2000)
    name = issued.common_name(found.subject) or found.subject.rfc4514_string()
    return Item(kind, printable(name), found.not_valid_before_utc, found.not_valid_after_utc, facts)


def _extensions(found: x509.Certificate) -> tuple[str, dict[str, str]]:
    """Give the kind of a certificate, and what its extensions say."""
    try:
        ca = found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        ca = False
    facts = {}
    if ca:
        limits = Constraints.of(found)
        facts["vouches for"] = str(limits) if limits else "every name"
        facts["policy issuer"] = printable(f"x509:{found.subject.rfc4514_string()}")
        return "X.509 root" if found.issuer == found.subject else "X.509 issuing CA", facts
    purposes = _purposes(found)
    claim = issued.role(found)
    if claim.role or claim.fault:
        facts["role"] = printable(claim.role) if claim.role else f"INVALID: {claim.fault}"
    elif "client" in purposes:
        facts["role"] = "NULL (it names none)"
    if hosts := issued.hosts(found):
        facts["hosts"] = printable(", ".join(map(str, hosts)), 2000)
    return f"X.509 {' and '.join(purposes)} certificate" if purposes else "X.509 certificate", facts


def _purposes(found: x509.Certificate) -> list[str]:
    try:
        usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return []
    return [_PURPOSES.get(one, one.dotted_string) for one in usage]


def _crl(found: x509.CertificateRevocationList) -> Item:
    facts = {"issuer": printable(found.issuer.rfc4514_string()), "revoked": str(len(found))}
    with contextlib.suppress(x509.ExtensionNotFound):
        facts["number"] = str(found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number)
    return Item(
        "X.509 CRL", printable(found.issuer.rfc4514_string()), found.last_update_utc, found.next_update_utc, facts
    )


def _request(found: x509.CertificateSigningRequest) -> Item:
    facts = {"key": _key(found.public_key()), "proof": "holds" if found.is_signature_valid else "DOES NOT HOLD"}
    return Item("certificate request", printable(issued.common_name(found.subject)), facts=facts)


def _ssh(line: bytes) -> Item:
    found = load_ssh_public_identity(line)
    if not isinstance(found, SSHCertificate):
        name = openssh.blob_fingerprint(base64.b64decode(line.split()[1]))
        return Item("OpenSSH key", name, facts={"identity": f"key:{name}"})
    user = found.type is SSHCertificateType.USER
    principals = ", ".join(one.decode(errors="replace") for one in found.valid_principals)
    facts = {
        "role" if user else "hosts": printable(principals, 2000) or "ANY",
        "serial": str(found.serial),
        "issuer": f"ssh-ca:{openssh.fingerprint(found.signature_key())}",
        "key": openssh.fingerprint(found.public_key()),
        "identity": printable(issued.ssh_name(found), 2000),
    }
    for option, value in sorted(found.critical_options.items()):
        facts[printable(option.decode(errors="replace"))] = printable(value.decode(errors="replace"), 2000)
    if user:
        facts["permits"] = printable(", ".join(one.decode(errors="replace") for one in sorted(found.extensions)))
    kind = f"OpenSSH {'user' if user else 'host'} certificate"
    name = printable(found.key_id.decode(errors="replace"))
    return Item(kind, name, _moment(found.valid_after), _moment(found.valid_before), facts)


def _moment(seconds: int) -> datetime | None:
    # PROTOCOL.certkeys: all ones mean for ever; what datetime cannot hold is as good as that
    return None if seconds >= min(_FOREVER, 253402300800) else datetime.fromtimestamp(seconds, UTC)


def _key(key: object) -> str:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECDSA {key.curve.name}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return type(key).__name__
