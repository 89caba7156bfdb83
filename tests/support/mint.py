"""Odd certificates and identity folders, signed with the keys of a test PKI: what `fieldgate certs` never issues."""

from __future__ import annotations

import ipaddress
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
    load_pem_private_key,
    load_ssh_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fieldgate_core.credentials import ROLE_OID, encode_role
from support.site import Pki

HOUR = 3600
_LOOK_ALIKE_OID = ROLE_OID[:-1] + "2"
_OID_STEM = bytes.fromhex("2b0601040183890c8622")
"""The role's object identifier in DER, without its last number."""
_ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


@dataclass(frozen=True)
class Ca:
    """An X.509 CA that signs leaves; `above` are the CAs above it that its leaves show."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    above: tuple[x509.Certificate, ...] = ()

    def sibling(self, pki: Pki, *, network: str | None = None, number: int = 2, ends: float = HOUR) -> Ca:
        """Make another issuing CA, which the same root has signed; `network` is where its leaves' addresses may be."""
        root = root_ca(pki)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test-issuing-{number}")])
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _base(name, key, root, -2 * HOUR, ends).add_extension(x509.BasicConstraints(True, 0), critical=True)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        if network is not None:
            permitted = [x509.IPAddress(ipaddress.ip_network(network))]
            builder = builder.add_extension(x509.NameConstraints(permitted, None), critical=True)
        certificate = builder.add_extension(usage, critical=True).sign(root.key, hashes.SHA256())
        return Ca(certificate, key, (root.certificate,))


def issuing_ca(pki: Pki) -> Ca:
    """Give the CA that issues a PKI's certificates."""
    return _x509_ca(pki.folder / "x509/issuing")


def root_ca(pki: Pki) -> Ca:
    """Give the CA that has signed it; it signs no leaves but here."""
    return _x509_ca(pki.folder / "x509/root")


@dataclass(frozen=True)
class Tls:
    """A TLS certificate: by default one that the site takes for an operator's. Times in seconds from now."""

    ca: Ca | None = None
    roles: Sequence[bytes] = (encode_role("operator"),)
    """The values of its role extensions, none, one or two."""
    name: str = "odd"
    starts: float = -HOUR
    ends: float = HOUR
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH
    hosts: Sequence[str] = ()
    addresses: Sequence[str] = ()

    def identity(self, pki: Pki, folder: Path) -> Path:
        """Write an identity folder with this certificate, for a client or a server; without `ca` it signs itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        builder = _base(subject, key, self.ca, self.starts, self.ends)
        builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([self.purpose]), critical=False)
        names = [*map(_host, self.hosts), *(x509.IPAddress(ipaddress.ip_address(one)) for one in self.addresses)]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        for oid, value in zip((ROLE_OID, _LOOK_ALIKE_OID), self.roles, strict=False):
            extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
            builder = builder.add_extension(extension, critical=False)
        signer = self.ca.key if self.ca else key
        leaf = builder.sign(signer, hashes.SHA256())
        above = [self.ca.certificate, *self.ca.above] if self.ca else []
        chain = [certificate.public_bytes(Encoding.PEM) for certificate in above]
        pem = _role_twice(leaf, signer) if len(self.roles) == 2 else leaf.public_bytes(Encoding.PEM)
        _copy(pki, folder)
        _write(folder / "tls-key.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        _write(folder / "tls-chain.pem", b"".join([pem, *chain]))
        return folder


def crl(  # noqa: PLR0913
    ca: Ca,
    *serials: int,
    starts: float = -HOUR,
    ends: float = HOUR,
    number: int = 1,
    signer: Ca | None = None,
    delta: bool = False,
) -> bytes:
    """Sign a CRL (PEM) of a CA that revokes these serials, with the key of `signer` if that is another."""
    now = int(time.time())
    key = (signer or ca).key
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.certificate.subject)
        .last_update(datetime.fromtimestamp(now + int(starts), UTC))
        .next_update(datetime.fromtimestamp(now + int(ends), UTC))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    if delta:
        builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial)
        entry = entry.revocation_date(datetime.fromtimestamp(now - 60, UTC))
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def serial_of(identity: Path) -> int:
    """Give the serial of an identity folder's TLS certificate."""
    return x509.load_pem_x509_certificates((identity / "tls-chain.pem").read_bytes())[0].serial_number


@dataclass(frozen=True)
class Ssh:
    """An OpenSSH certificate: by default one that the site takes for an operator's. Times in seconds from now."""

    ca: str = "user-ca"
    kind: SSHCertificateType = SSHCertificateType.USER
    principals: Sequence[str] = ("operator",)
    """None at all makes it valid for every login, as OpenSSH sees it."""
    name: str = "odd"
    starts: float = -HOUR
    ends: float = HOUR
    critical: dict[str, bytes] = field(default_factory=dict)
    extensions: Sequence[str] = ("permit-port-forwarding",)

    @cached_property
    def key(self) -> ec.EllipticCurvePrivateKey:
        """The key that is certified."""
        return ec.generate_private_key(ec.SECP256R1())

    def line(self, pki: Pki) -> bytes:
        """Sign, and give the certificate's line."""
        now = int(time.time())
        builder = (
            SSHCertificateBuilder()
            .type(self.kind)
            .public_key(self.key.public_key())
            .serial(17)
            .key_id(self.name.encode())
            .valid_after(now + int(self.starts))
            .valid_before(now + int(self.ends))
        )
        if self.principals:
            builder = builder.valid_principals([principal.encode() for principal in self.principals])
        else:
            builder = builder.valid_for_all_principals()  # type: ignore[no-untyped-call]
        for option, value in sorted(self.critical.items()):
            builder = builder.add_critical_option(option.encode(), value)
        for extension in sorted(self.extensions):
            builder = builder.add_extension(extension.encode(), b"")
        return builder.sign(_ssh_ca(pki, self.ca)).public_bytes() + b"\n"

    def identity(self, pki: Pki, folder: Path) -> Path:
        """Write a client's identity folder with this certificate and its key."""
        _copy(pki, folder)
        _write(folder / "ssh-key", _openssh(self.key))
        _write(folder / "ssh-key.pub", self.key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
        _write(folder / "ssh-key-cert.pub", self.line(pki))
        return folder


def plain_key(pki: Pki, folder: Path) -> Path:
    """Write a client's identity folder with a key that nobody has certified."""
    Ssh().identity(pki, folder)
    (folder / "ssh-key-cert.pub").unlink()
    return folder


def _x509_ca(folder: Path) -> Ca:
    key = load_pem_private_key((folder / "key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Ca(x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes()), key)


def _ssh_ca(pki: Pki, name: str) -> Ed25519PrivateKey:
    key = load_ssh_private_key((pki.folder / "ssh" / name).read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return key


def _base(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, ca: Ca | None, starts: float, ends: float
) -> x509.CertificateBuilder:
    now = int(time.time())
    signer = ca.key if ca else key
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca.certificate.subject if ca else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(now + int(starts), UTC))
        .not_valid_after(datetime.fromtimestamp(now + int(ends), UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _role_twice(leaf: x509.Certificate, signer: ec.EllipticCurvePrivateKey) -> bytes:
    """Make the look-alike extension a second role extension, and sign again: no builder adds one twice."""
    assert leaf.tbs_certificate_bytes.count(_OID_STEM + b"\2") == 1
    body = leaf.tbs_certificate_bytes.replace(_OID_STEM + b"\2", _OID_STEM + b"\1")
    signature = signer.sign(body, ec.ECDSA(hashes.SHA256()))
    whole = _der(0x30, body + _ECDSA_WITH_SHA256 + _der(0x03, b"\0" + signature))
    return x509.load_der_x509_certificate(whole).public_bytes(Encoding.PEM)


def _der(tag: int, body: bytes) -> bytes:
    size = len(body)
    if size < 0x80:
        return bytes((tag, size)) + body
    long = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(long))) + long + body


def _openssh(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def _copy(pki: Pki, folder: Path) -> None:
    """Begin with what the operator's folder holds: the CAs and known_hosts."""
    shutil.copytree(pki.client("operator"), folder)


def _write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
