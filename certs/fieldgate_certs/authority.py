"""Create the CAs of a PKI, and certify what a server or a client needs; in memory only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from fieldgate_certs import keys, layout, openssh, profiles
from fieldgate_certs.constraints import Constraints
from fieldgate_certs.keys import PrivateKey, PublicKey
from fieldgate_certs.layout import File, Files
from fieldgate_certs.subjects import ECDSA, Client, KeyKind, Server, Subject, check_pki_name
from fieldgate_certs.validity import ISSUING_LIFE, ROOT_LIFE, Validity, ca_validity, leaf_validity
from fieldgate_core.errors import PkiError


@dataclass(frozen=True, slots=True)
class Identity:
    """What was issued to one subject: its files, and when both its certificates end."""

    files: Files = field(repr=False)
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Trust:
    """What holders trust beside their own CA, as files hold it: PEM of roots and issuing CAs, lines of SSH CAs."""

    roots: bytes = b""
    issuing: bytes = b""
    user_cas: bytes = b""
    host_cas: bytes = b""


@dataclass(frozen=True, slots=True)
class Authority:
    """The CAs of one PKI, ready to issue. The root's key is not among them: issuing never needs it."""

    root: x509.Certificate
    issuing: x509.Certificate
    issuing_key: PrivateKey = field(repr=False)
    user_ca: openssh.PrivateKey = field(repr=False)
    user_ca_line: bytes
    host_ca: openssh.PrivateKey = field(repr=False)
    host_ca_line: bytes
    trust: Trust = Trust()

    @property
    def policy_issuers(self) -> tuple[str, str]:
        """How a policy names the issuing CA and the SSH user CA."""
        subject = self.issuing.subject.rfc4514_string()
        return f"x509:{subject}", f"ssh-ca:{openssh.fingerprint(self.user_ca.public_key())}"

    @property
    def key_kind(self) -> KeyKind:
        """The kind of key that its holders get if nothing else is asked: who can check one can check the other."""
        return keys.kind_of(self.issuing_key.public_key())

    def issue(self, subject: Subject, days: int, now: datetime, key: KeyKind | None = None) -> Identity:
        """Issue the X.509 pair and the OpenSSH certificate of a server or a client, each with a new key.

        Raises PkiError as `certify` does.
        """
        tls_key, ssh_key = keys.new(key or self.key_kind), keys.new_ssh()
        signed = self.certify(subject, tls_key.public_key(), ssh_key.public_key(), days, now)
        return Identity({**private_files(subject.kind, tls_key, ssh_key), **signed.files}, signed.not_after)

    def certify(
        self, subject: Subject, tls_key: PublicKey, ssh_key: openssh.PublicKey | None, days: int, now: datetime
    ) -> Identity:
        """Certify the keys of a subject: everything of an identity but its private files.

        Raises PkiError for a life that cannot be given (see `leaf_validity`), and for a name outside the CA's limits.
        """
        limits = Constraints.of(self.issuing)
        if limits is not None:
            limits.check(subject)
        life = Validity(self.issuing.not_valid_before_utc, self.issuing.not_valid_after_utc)
        validity = leaf_validity(now, days, life)
        if isinstance(subject, Server):
            return Identity(self._server(subject, tls_key, ssh_key, validity), validity.not_after)
        return Identity(self._client(subject, tls_key, ssh_key, validity), validity.not_after)

    def _server(
        self, subject: Server, tls_key: PublicKey, ssh_key: openssh.PublicKey | None, validity: Validity
    ) -> Files:
        leaf = _sign(profiles.server(subject, tls_key, self.issuing, validity), self.issuing_key)
        files = {
            layout.TLS_CHAIN: pem(leaf, self.issuing, self.root),
            layout.TLS_CLIENT_CA: pem(self.issuing) + self.trust.issuing,
        }
        if ssh_key is None:
            return files
        return files | {
            layout.SSH_HOST_KEY_PUB: openssh.public_key_line(ssh_key, subject.name),
            layout.SSH_HOST_KEY_CERT: openssh.host_certificate(subject, ssh_key, self.host_ca, validity),
            layout.SSH_USER_CA: self.user_ca_line + self.trust.user_cas,
        }

    def _client(
        self, subject: Client, tls_key: PublicKey, ssh_key: openssh.PublicKey | None, validity: Validity
    ) -> Files:
        leaf = _sign(profiles.client(subject, tls_key, self.issuing, validity), self.issuing_key)
        files = {
            layout.TLS_CHAIN: pem(leaf, self.issuing, self.root),
            layout.TLS_SERVER_CA: pem(self.root) + self.trust.roots,
        }
        if ssh_key is None:
            return files
        return files | {
            layout.SSH_KEY_PUB: openssh.public_key_line(ssh_key, subject.name),
            layout.SSH_KEY_CERT: openssh.user_certificate(subject, ssh_key, self.user_ca, validity),
            layout.KNOWN_HOSTS: openssh.known_hosts_line(self.host_ca_line + self.trust.host_cas),
        }


def private_files(kind: str, tls_key: PrivateKey, ssh_key: openssh.PrivateKey) -> dict[File, bytes]:
    """Give the private files of a server's or a client's identity."""
    ssh = layout.SSH_HOST_KEY if kind == Server.kind else layout.SSH_KEY
    return {layout.TLS_KEY: keys.pkcs8(tls_key), ssh: openssh.private_key_file(ssh_key)}


@dataclass(frozen=True, slots=True)
class Root:
    """The root with its key, which signs issuing CAs and the root's own list of revoked ones."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)

    def issuing_ca(  # noqa: PLR0913
        self,
        common_name: str,
        now: datetime,
        *,
        files: layout.CaFiles,
        life: timedelta = ISSUING_LIFE,
        key: KeyKind = ECDSA,
        limits: Constraints | None = None,
    ) -> dict[File, bytes]:
        """Make an issuing CA, and the two SSH CAs beside it. Raises PkiError for a life that cannot be given."""
        issuing_key, user_ca, host_ca = keys.new(key), keys.new_ssh(), keys.new_ssh()
        validity = ca_validity(now, life)
        if validity.not_after > self.certificate.not_valid_after_utc:
            ends = self.certificate.not_valid_after_utc
            hint = "make a new PKI before that, and let both be trusted for a while: fieldgate certs trust --help"
            raise PkiError("issuing CA", f"it would outlive the root, which ends on {ends:%Y-%m-%d}", hint=hint)
        profile = profiles.issuing_ca(common_name, issuing_key.public_key(), self.certificate, validity, limits)
        stem = common_name.removesuffix("-issuing-1")
        return {
            files.cert: pem(_sign(profile, self.key)),
            files.key: keys.pkcs8(issuing_key),
            files.user_ca: openssh.private_key_file(user_ca),
            files.user_ca_pub: openssh.public_key_line(user_ca.public_key(), f"{stem}-user-ca"),
            files.host_ca: openssh.private_key_file(host_ca),
            files.host_ca_pub: openssh.public_key_line(host_ca.public_key(), f"{stem}-host-ca"),
        }


def create(name: str, now: datetime, key: KeyKind = ECDSA, passphrase: bytes | None = None) -> dict[File, bytes]:
    """Make a root, an issuing CA under it, and the two SSH CAs. Raises PkiError for a bad name.

    The SSH CAs are Ed25519 always; the root's key alone gets the passphrase.
    """
    check_pki_name(name)
    root_key = keys.new(key)
    builder = profiles.root_ca(name, root_key.public_key(), ca_validity(now, ROOT_LIFE))
    root = Root(_sign(builder, root_key), root_key)
    made = root.issuing_ca(f"{name}-issuing-1", now, files=layout.ca_files(None), key=key)
    return {layout.ROOT_CERT: pem(root.certificate), layout.ROOT_KEY: keys.pkcs8(root_key, passphrase), **made}


def load(read: Callable[[File], bytes], name: str | None = None, trust: Trust = Trust()) -> Authority:  # noqa: B008
    """Load a CA through `read`, which gives a file's content. Raises PkiError where its parts do not fit together."""
    files = layout.ca_files(name)
    root, issuing = certificate(read(layout.ROOT_CERT), layout.ROOT_CERT.path), issuing_certificate(read, name)
    try:
        issuing.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        raise PkiError(files.cert.path, "was not issued by this PKI's root", hint=_RESTORE) from None
    issuing_key = keys.read_pem(read(files.key), files.key.path, hint=_RESTORE)
    if issuing_key.public_key() != issuing.public_key():
        raise PkiError(files.key.path, "is not the key of cert.pem beside it", hint=_RESTORE)
    user_ca, user_ca_line = _ssh_ca(read, files.user_ca, files.user_ca_pub)
    host_ca, host_ca_line = _ssh_ca(read, files.host_ca, files.host_ca_pub)
    return Authority(root, issuing, issuing_key, user_ca, user_ca_line, host_ca, host_ca_line, trust)


def issuing_certificate(read: Callable[[File], bytes], name: str | None) -> x509.Certificate:
    """Load the certificate of an issuing CA. Raises PkiError."""
    file = layout.ca_files(name).cert
    return certificate(read(file), file.path)


def load_root(cert: bytes, key: bytes, where: str, passphrase: bytes | None) -> Root:
    """Load the root with its key. Raises PkiError that names `where` if they do not fit together."""
    root = certificate(cert, layout.ROOT_CERT.path)
    root_key = keys.read_pem(key, where, hint=_RESTORE, passphrase=passphrase)
    if root_key.public_key() != root.public_key():
        raise PkiError(where, "is not the key of this PKI's root", hint="name the folder of its own root: --root DIR")
    return Root(root, root_key)


_RESTORE = "restore the PKI's folder from a backup"


def certificate(data: bytes, where: str) -> x509.Certificate:
    """Read a certificate of the PKI's own. Raises PkiError that names `where`."""
    try:
        return x509.load_pem_x509_certificate(data)
    except ValueError:
        raise PkiError(where, "is not a certificate in PEM", hint=_RESTORE) from None


def pem(*certificates: x509.Certificate) -> bytes:
    """Give certificates as PEM, one after the other."""
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def _ssh_ca(read: Callable[[File], bytes], private: File, public: File) -> tuple[openssh.PrivateKey, bytes]:
    key, line = keys.read_ssh(read(private), private.path, hint=_RESTORE), read(public)
    if line.split()[:2] != openssh.public_key_line(key.public_key(), "").split():
        raise PkiError(public.path, f"is not the public half of {private.path}", hint=_RESTORE)
    return key, line


def _sign(builder: profiles.Builder, key: PrivateKey) -> x509.Certificate:
    return builder.serial_number(x509.random_serial_number()).sign(key, hashes.SHA256())
