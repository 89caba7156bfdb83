"""Say what each kind of X.509 certificate holds (RFC 5280, R-47); pure: no file, no clock, no signature."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fieldgate_certs.constraints import Constraints
from fieldgate_certs.subjects import Client, Host, Server
from fieldgate_certs.validity import Validity
from fieldgate_core.credentials import ROLE_OID, encode_role

PublicKey = EllipticCurvePublicKey | RSAPublicKey
Builder = x509.CertificateBuilder
"""A certificate that lacks only its serial number and its issuer's signature."""


def root_ca(name: str, key: PublicKey, validity: Validity) -> Builder:
    """Describe the root, which signs issuing CAs only and names itself as issuer."""
    subject = common_name(f"{name}-root-1")
    own_id = x509.SubjectKeyIdentifier.from_public_key(key)
    return _ca(subject, subject, own_id, key, validity, path_length=None)


def issuing_ca(
    name: str, key: PublicKey, issuer: x509.Certificate, validity: Validity, constraints: Constraints | None = None
) -> Builder:
    """Describe an issuing CA, below which no further CA may stand, and the only names that it may vouch for."""
    builder = _ca(common_name(name), issuer.subject, key_id(issuer), key, validity, path_length=0)
    return builder.add_extension(constraints.extension(), critical=True) if constraints else builder


def server(subject: Server, key: PublicKey, issuer: x509.Certificate, validity: Validity) -> Builder:
    """Describe a server's certificate: its hosts as subject alternative names, and serverAuth only."""
    builder = _leaf(subject.name, key, issuer, validity, ExtendedKeyUsageOID.SERVER_AUTH)
    return builder.add_extension(x509.SubjectAlternativeName(map(_general_name, subject.hosts)), critical=False)


def client(subject: Client, key: PublicKey, issuer: x509.Certificate, validity: Validity) -> Builder:
    """Describe a client's certificate: its role as UTF8String (R-20, R-21, R-22), and clientAuth only."""
    role = x509.UnrecognizedExtension(x509.ObjectIdentifier(ROLE_OID), encode_role(subject.role))
    builder = _leaf(subject.name, key, issuer, validity, ExtendedKeyUsageOID.CLIENT_AUTH)
    return builder.add_extension(role, critical=False)


def common_name(text: str) -> x509.Name:
    """Give the subject that is nothing but a common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def key_id(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier:
    """Give the identifier of a CA's key as its own certificate says it. Raises x509.ExtensionNotFound."""
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value


def _ca(
    subject: x509.Name,
    issuer: x509.Name,
    issuer_key: x509.SubjectKeyIdentifier,
    key: PublicKey,
    validity: Validity,
    *,
    path_length: int | None,
) -> Builder:
    constraints = x509.BasicConstraints(ca=True, path_length=path_length)
    return _base(subject, issuer, issuer_key, key, validity, constraints)


def _leaf(
    name: str,
    key: PublicKey,
    issuer: x509.Certificate,
    validity: Validity,
    purpose: x509.ObjectIdentifier,
) -> Builder:
    constraints = x509.BasicConstraints(ca=False, path_length=None)
    builder = _base(common_name(name), issuer.subject, key_id(issuer), key, validity, constraints)
    return builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)


def _base(
    subject: x509.Name,
    issuer: x509.Name,
    issuer_key: x509.SubjectKeyIdentifier,
    key: PublicKey,
    validity: Validity,
    constraints: x509.BasicConstraints,
) -> Builder:
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key)
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
        .not_valid_before(validity.not_before)
        .not_valid_after(validity.not_after)
        .add_extension(constraints, critical=True)
        .add_extension(_key_usage(key, ca=constraints.ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(authority, critical=False)
    )


def _key_usage(key: PublicKey, *, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        # the one suite without encryption that R-67 knows has RSA key exchange
        key_encipherment=isinstance(key, RSAPublicKey) and not ca,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: Host) -> x509.GeneralName:
    return x509.DNSName(host) if isinstance(host, str) else x509.IPAddress(host)
