"""A PKI whose X.509 half is RSA throughout, with what `fieldgate certs` makes beside it."""

from __future__ import annotations

import ipaddress
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fieldgate_core.credentials import ROLE_OID, encode_role
from support.site import Pki

Key = rsa.RSAPrivateKey
BITS, WEAK_BITS = 2048, 1024
WEAK = "weak"
"""A viewer whose key nobody should take any more."""


def make_rsa_pki(folder: Path, other: Pki) -> Pki:
    """Make it, with the SSH half of another PKI; its issuing CA is called rsa-issuing-1."""
    root_key, issuing_key = _key(), _key()
    root = _ca("rsa-root-1", root_key, "rsa-root-1", root_key, None)
    issuing = _ca("rsa-issuing-1", issuing_key, "rsa-root-1", root_key, 0)
    hosts = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    pki = Pki(folder, ("x509:CN=rsa-issuing-1", other.issuers[1]))
    server = _leaf("box", ExtendedKeyUsageOID.SERVER_AUTH, hosts, issuing_key)
    _write(pki.server, other.server, [server, issuing, root])
    for name, role, bits in (("operator", "operator", BITS), ("viewer", "viewer", BITS), (WEAK, "viewer", WEAK_BITS)):
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(ROLE_OID), encode_role(role))
        client = _leaf(name, ExtendedKeyUsageOID.CLIENT_AUTH, extension, issuing_key, bits)
        _write(pki.client(name), other.client(role), [client, issuing, root])
    return pki


def _write(folder: Path, like: Path, chain: Sequence[tuple[x509.Certificate, Key]]) -> None:
    folder.parent.mkdir(parents=True)
    shutil.copytree(like, folder)
    (_, key), (issuing, _), (root, _) = chain
    pem = [certificate.public_bytes(Encoding.PEM) for certificate, _ in chain]
    (folder / "tls-key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "tls-chain.pem").write_bytes(b"".join(pem))
    for name, trusted in (("tls-client-ca.pem", issuing), ("tls-server-ca.pem", root)):
        if (folder / name).exists():
            (folder / name).write_bytes(trusted.public_bytes(Encoding.PEM))


def _key(bits: int = BITS) -> Key:
    return rsa.generate_private_key(65537, bits)


def _ca(name: str, key: Key, issuer: str, signer: Key, path_length: int | None) -> tuple[x509.Certificate, Key]:
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    builder = _base(name, key, issuer, signer).add_extension(x509.BasicConstraints(True, path_length), critical=True)
    return builder.add_extension(usage, critical=True).sign(signer, hashes.SHA256()), key


def _leaf(
    name: str, purpose: x509.ObjectIdentifier, extension: x509.ExtensionType, signer: Key, bits: int = BITS
) -> tuple[x509.Certificate, Key]:
    key = _key(bits)
    usage = x509.KeyUsage(True, False, True, False, False, False, False, False, False)
    builder = _base(name, key, "rsa-issuing-1", signer).add_extension(x509.BasicConstraints(False, None), critical=True)
    builder = builder.add_extension(usage, critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    return builder.add_extension(extension, critical=False).sign(signer, hashes.SHA256()), key


def _base(name: str, key: Key, issuer: str, signer: Key) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(_name(name)).issuer_name(_name(issuer))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    return builder.add_extension(above, critical=False)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
