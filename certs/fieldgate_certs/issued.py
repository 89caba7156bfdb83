"""Read back what an identity's certificates say: for whom, how long, by which CA, and by which typed names."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity
from cryptography.x509.oid import NameOID

from fieldgate_certs import disk, keys, layout, openssh
from fieldgate_certs.subjects import Client, Host, KeyKind, Server, Subject
from fieldgate_certs.validity import Validity, days_of
from fieldgate_core.credentials import ROLE_OID, RoleClaim, decode_role
from fieldgate_core.errors import PkiError
from fieldgate_core.revocation import Revoked


@dataclass(frozen=True, slots=True)
class Issued:
    """One generation of an identity, as its public files tell."""

    folder: Path
    leaf: x509.Certificate
    issuing: x509.Certificate
    ssh: SSHCertificate | None

    @property
    def life(self) -> Validity:
        """When it is valid."""
        return Validity(self.leaf.not_valid_before_utc, self.leaf.not_valid_after_utc)

    @property
    def days(self) -> int:
        """The days that it was issued for."""
        return days_of(self.life)

    @property
    def key(self) -> KeyKind:
        """The kind of its TLS key."""
        return keys.kind_of(keys.accept(self.leaf.public_key(), str(self.folder)))

    @property
    def key_is_here(self) -> bool:
        """Whether its private key lies beside it, and was not made on the box."""
        return (self.folder / layout.TLS_KEY.path).exists()

    @property
    def names(self) -> tuple[str, ...]:
        """The typed names of its certificates, as the trail and the list of revoked ones write them."""
        ssh = (ssh_name(self.ssh),) if self.ssh else ()
        return (tls_name(self.leaf), *ssh)

    def is_revoked(self, revoked: Revoked) -> bool:
        """Tell whether one of its certificates is revoked."""
        return any(name in revoked for name in self.names)

    def subject(self, kind: str, name: str) -> Subject:
        """Give the subject that it was issued to. Raises PkiError if it was not issued by fieldgate."""
        if kind == Server.kind:
            return Server(name, hosts(self.leaf))
        claim = role(self.leaf)
        if claim.role is None:
            raise PkiError(str(self.folder), f"the certificate names no role: {claim.fault or 'none in it'}")
        options: Mapping[bytes, bytes] = self.ssh.critical_options if self.ssh else {}
        sources = options.get(b"source-address", b"").decode()
        return Client.parse(name, claim.role, sources.split(",") if sources else ())


def read(folder: Path) -> Issued:
    """Read a generation. Raises PkiError for a file that is missing or damaged."""
    path = folder / layout.TLS_CHAIN.path
    try:
        leaf, issuing, *_ = x509.load_pem_x509_certificates(disk.read(path))
    except ValueError:
        raise PkiError(str(path), "does not hold a certificate and its issuer's") from None
    found = [folder / file.path for file in (layout.SSH_HOST_KEY_CERT, layout.SSH_KEY_CERT)]
    lines = [disk.read(one) for one in found if one.exists()]
    return Issued(folder, leaf, issuing, ssh_certificate(lines[0], str(folder)) if lines else None)


def ssh_certificate(line: bytes, where: str) -> SSHCertificate:
    """Read an OpenSSH certificate. Raises PkiError that names `where`."""
    try:
        found = load_ssh_public_identity(line)
    except (ValueError, UnsupportedAlgorithm):
        found = None
    if not isinstance(found, SSHCertificate):
        raise PkiError(where, "holds no OpenSSH certificate that can be read")
    return found


def common_name(name: x509.Name) -> str:
    """Give the common name of a subject; empty if it has none."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def tls_name(leaf: x509.Certificate) -> str:
    """Give tls:ISSUER/SERIAL/CN."""
    return f"tls:{leaf.issuer.rfc4514_string()}/{leaf.serial_number:X}/{common_name(leaf.subject)}"


def ssh_name(certificate: SSHCertificate) -> str:
    """Give ssh:CA/SERIAL/KEYID."""
    ca = openssh.fingerprint(certificate.signature_key())
    return f"ssh:{ca}/{certificate.serial}/{certificate.key_id.decode(errors='replace')}"


def hosts(leaf: x509.Certificate | x509.CertificateSigningRequest) -> tuple[Host, ...]:
    """Give the hosts that a certificate names, or that a request asks for."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = names.get_values_for_type(x509.IPAddress)
    hosts = [one for one in addresses if isinstance(one, ipaddress.IPv4Address | ipaddress.IPv6Address)]
    return (*names.get_values_for_type(x509.DNSName), *hosts)


def role(leaf: x509.Certificate | x509.CertificateSigningRequest) -> RoleClaim:
    """Give the role that a certificate holds, or that a request asks for."""
    return decode_role(
        [
            one.value.value
            for one in leaf.extensions
            if one.oid.dotted_string == ROLE_OID and isinstance(one.value, x509.UnrecognizedExtension)
        ]
    )
