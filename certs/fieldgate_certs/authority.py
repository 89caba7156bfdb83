"""Create the CAs of a PKI, and issue what a server or a client needs; in memory only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from fieldgate_certs import layout, openssh, profiles
from fieldgate_certs.layout import File, Files
from fieldgate_certs.subjects import Client, Server, Subject, check_pki_name
from fieldgate_certs.validity import ISSUING_LIFE, ROOT_LIFE, Validity, ca_validity, leaf_validity
from fieldgate_core.errors import PkiError


@dataclass(frozen=True, slots=True)
class Identity:
    """What was issued to one subject: its files, and when both its certificates end."""

    files: Files = field(repr=False)
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Authority:
    """The CAs of one PKI, ready to issue. The root's key is not among them: issuing never needs it."""

    root: x509.Certificate
    issuing: x509.Certificate
    issuing_key: ec.EllipticCurvePrivateKey = field(repr=False)
    user_ca: openssh.PrivateKey = field(repr=False)
    user_ca_line: bytes
    host_ca: openssh.PrivateKey = field(repr=False)
    host_ca_line: bytes

    @property
    def policy_issuers(self) -> tuple[str, str]:
        """How a policy names the issuing CA and the SSH user CA."""
        subject = self.issuing.subject.rfc4514_string()
        return f"x509:{subject}", f"ssh-ca:{openssh.fingerprint(self.user_ca.public_key())}"

    def issue(self, subject: Subject, days: int, now: datetime) -> Identity:
        """Issue the X.509 pair and the OpenSSH certificate of a server or a client, each with a new key.

        Raises PkiError for a life that cannot be given (see `leaf_validity`).
        """
        life = Validity(self.issuing.not_valid_before_utc, self.issuing.not_valid_after_utc)
        validity = leaf_validity(now, days, life)
        files = self._server(subject, validity) if isinstance(subject, Server) else self._client(subject, validity)
        return Identity(files, validity.not_after)

    def _server(self, subject: Server, validity: Validity) -> Files:
        tls_key, ssh_key = _new_key(), Ed25519PrivateKey.generate()
        leaf = _sign(profiles.server(subject, tls_key.public_key(), self.issuing, validity), self.issuing_key)
        certificate = openssh.host_certificate(subject, ssh_key.public_key(), self.host_ca, validity)
        return {
            layout.TLS_KEY: _pkcs8(tls_key),
            layout.TLS_CHAIN: _pem(leaf, self.issuing, self.root),
            layout.TLS_CLIENT_CA: _pem(self.issuing),
            layout.SSH_HOST_KEY: openssh.private_key_file(ssh_key),
            layout.SSH_HOST_KEY_PUB: openssh.public_key_line(ssh_key.public_key(), subject.name),
            layout.SSH_HOST_KEY_CERT: certificate,
            layout.SSH_USER_CA: self.user_ca_line,
        }

    def _client(self, subject: Client, validity: Validity) -> Files:
        tls_key, ssh_key = _new_key(), Ed25519PrivateKey.generate()
        leaf = _sign(profiles.client(subject, tls_key.public_key(), self.issuing, validity), self.issuing_key)
        certificate = openssh.user_certificate(subject, ssh_key.public_key(), self.user_ca, validity)
        return {
            layout.TLS_KEY: _pkcs8(tls_key),
            layout.TLS_CHAIN: _pem(leaf, self.issuing, self.root),
            layout.TLS_SERVER_CA: _pem(self.root),
            layout.SSH_KEY: openssh.private_key_file(ssh_key),
            layout.SSH_KEY_PUB: openssh.public_key_line(ssh_key.public_key(), subject.name),
            layout.SSH_KEY_CERT: certificate,
            layout.KNOWN_HOSTS: openssh.known_hosts_line(self.host_ca_line),
        }


def create(name: str, now: datetime) -> Files:
    """Make a root and an issuing CA under it, both ECDSA P-256, and two SSH CAs, both Ed25519.

    Raises PkiError for a bad name.
    """
    check_pki_name(name)
    root_key, issuing_key = _new_key(), _new_key()
    user_ca, host_ca = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    root = _sign(profiles.root_ca(name, root_key.public_key(), ca_validity(now, ROOT_LIFE)), root_key)
    life = ca_validity(now, ISSUING_LIFE)
    issuing = _sign(profiles.issuing_ca(name, issuing_key.public_key(), root, life), root_key)
    return {
        layout.ROOT_CERT: _pem(root),
        layout.ROOT_KEY: _pkcs8(root_key),
        layout.ISSUING_CERT: _pem(issuing),
        layout.ISSUING_KEY: _pkcs8(issuing_key),
        layout.USER_CA: openssh.private_key_file(user_ca),
        layout.USER_CA_PUB: openssh.public_key_line(user_ca.public_key(), f"{name}-user-ca"),
        layout.HOST_CA: openssh.private_key_file(host_ca),
        layout.HOST_CA_PUB: openssh.public_key_line(host_ca.public_key(), f"{name}-host-ca"),
    }


def load(read: Callable[[File], bytes]) -> Authority:
    """Load the CAs through `read`, which gives a file's content. Raises PkiError where they do not fit together."""
    root, issuing = _certificate(read, layout.ROOT_CERT), _certificate(read, layout.ISSUING_CERT)
    try:
        issuing.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        raise PkiError(layout.ISSUING_CERT.path, "was not issued by this PKI's root", hint=_RESTORE) from None
    issuing_key = _issuing_key(read, layout.ISSUING_KEY)
    if issuing_key.public_key() != issuing.public_key():
        raise PkiError(layout.ISSUING_KEY.path, "is not the key of cert.pem beside it", hint=_RESTORE)
    user_ca, user_ca_line = _ssh_ca(read, layout.USER_CA, layout.USER_CA_PUB)
    host_ca, host_ca_line = _ssh_ca(read, layout.HOST_CA, layout.HOST_CA_PUB)
    return Authority(root, issuing, issuing_key, user_ca, user_ca_line, host_ca, host_ca_line)


_RESTORE = "restore the PKI's folder from a backup"


def _certificate(read: Callable[[File], bytes], file: File) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(read(file))
    except ValueError:
        raise PkiError(file.path, "is not a certificate in PEM", hint=_RESTORE) from None


def _private_key(parse: Callable[[bytes, None], object], read: Callable[[File], bytes], file: File) -> object:
    try:
        return parse(read(file), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _issuing_key(read: Callable[[File], bytes], file: File) -> ec.EllipticCurvePrivateKey:
    key = _private_key(load_pem_private_key, read, file)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError(file.path, "is not an ECDSA private key without passphrase", hint=_RESTORE)
    return key


def _ssh_ca(read: Callable[[File], bytes], private: File, public: File) -> tuple[openssh.PrivateKey, bytes]:
    key, line = _private_key(load_ssh_private_key, read, private), read(public)
    if not isinstance(key, openssh.PrivateKey):
        raise PkiError(private.path, "is not an Ed25519 or ECDSA private key without passphrase", hint=_RESTORE)
    if line.split()[:2] != openssh.public_key_line(key.public_key(), "").split():
        raise PkiError(public.path, f"is not the public half of {private.path}", hint=_RESTORE)
    return key, line


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _sign(builder: profiles.Builder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    return builder.serial_number(x509.random_serial_number()).sign(key, hashes.SHA256())


def _pkcs8(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
