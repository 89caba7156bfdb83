"""TLS contexts: the only place that builds one; nothing here weakens verification."""

from __future__ import annotations

import contextlib
import os
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from fieldgate_core import identity_folder as names
from fieldgate_core import trusted_file
from fieldgate_core.clock import complaint, moment, plausible
from fieldgate_core.credentials import ROLE_OID, RoleClaim, TlsCredentials, decode_role
from fieldgate_core.errors import ConfigError
from fieldgate_tunnel import crl_files
from fieldgate_tunnel import identity_files as files

# AEAD with forward secrecy only, the mandatory suites first; 1.3 has its own
_TLS12_SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
)
_INTEGRITY_ONLY = "NULL-SHA256:@SECLEVEL=0"
"""R-67. A suite that does not encrypt has no strength, so OpenSSL takes it at its lowest level only."""
_LEAST_RSA_BITS, _LEAST_EC_BITS = 2048, 224
"""What OpenSSL asks of a client's key at level 2."""


def server_context(folder: Path, *, integrity_only: bool = False, early: bool = False) -> ssl.SSLContext:
    """Build the TLS door's context from an identity folder: mutual authentication (R-06), TLS 1.2 or newer (R-01).

    Trust anchors are the issuing CAs in tls-client-ca.pem and no other, be they roots or not. `integrity_only` lets a
    client have TLS_RSA_WITH_NULL_SHA256 if it takes nothing better (R-49, R-67): everybody on the path can read then.
    `early` lets its certificate be not valid yet. Raises ConfigError for a missing, group-readable, expired or
    mismatched file.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, folder, files.file(folder, names.TLS_CLIENT_CA), early=early)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # sessions are kept here and not with the client, because only so can one be forgotten after a fatal alert
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_TICKET
    context.num_tickets = 1
    if integrity_only:
        context.set_ciphers(f"{_TLS12_SUITES}:{_INTEGRITY_ONLY}")
    return context


def client_context(folder: Path) -> ssl.SSLContext:
    """Build the client's context from an identity folder: the server is verified by chain and by name.

    With a tls-crl.pem in the folder, a server whose certificate is on the CRL of its CA is not trusted, nor is one
    whose CA's CRL has expired or is missing there. Raises ConfigError as `server_context` does.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, folder, files.file(folder, names.TLS_SERVER_CA))
    context.check_hostname = True
    crl = folder / names.TLS_CRL
    if os.path.lexists(crl):
        # read first: a certificate in that file would be trusted
        crl_files.lists(crl)
        context.load_verify_locations(crl)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def verifying_context(trust: Path, identity: Path | None = None) -> ssl.SSLContext:
    """Build a client's context for a server of any PKI, such as a syslog server: verified by chain and by name.

    `trust` holds the CAs, `identity` is a folder with tls-chain.pem and tls-key.pem for a server that asks for a
    certificate. Raises ConfigError as `server_context` does.
    """
    if identity is not None:
        context = _context(ssl.PROTOCOL_TLS_CLIENT, identity, trust)
    else:
        context = _verifying(ssl.PROTOCOL_TLS_CLIENT, trust)
    context.check_hostname = True
    return context


def _context(protocol: int, folder: Path, trust: Path, *, early: bool = False) -> ssl.SSLContext:
    key = files.private(folder, names.TLS_KEY)
    chain = files.file(folder, names.TLS_CHAIN)
    context = _verifying(protocol, trust)
    files.check_dates(chain, early=early)
    try:
        context.load_cert_chain(chain, key, password=_no_passphrase(key))
    except ssl.SSLError as error:
        raise ConfigError(str(key), f"does not fit {chain.name}: {error.reason or error}") from None
    return context


def _verifying(protocol: int, trust: Path) -> ssl.SSLContext:
    trusted_file.check(trust)
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS12_SUITES)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    try:
        context.load_verify_locations(trust)
    except ssl.SSLError as error:
        raise ConfigError(str(trust), f"holds no CA certificate: {error.reason or error}") from None
    return context


_OF_TIME = frozenset({9, 10, 11, 12})
"""OpenSSL's verdicts that a certificate or a CRL is not valid yet, or has expired (X509_V_ERR_...)."""


def clock_says(failure: ssl.SSLCertVerificationError) -> str:
    """Give what belongs behind a verdict that hangs on the time: what the clock says, and whether that can be."""
    return clock_now() if failure.verify_code in _OF_TIME else ""


def clock_now() -> str:
    """Give what the clock says, to be put behind such a verdict."""
    now = time.time()
    return f"; the clock says {moment(now)}" if plausible(now) else f"; {complaint(now)}"


def _no_passphrase(key: Path) -> Callable[[], str]:
    """Stand where OpenSSL would ask the terminal for a passphrase: a service has nobody to answer."""

    def refuse() -> str:
        raise ConfigError(str(key), "the key has a passphrase, and nobody is here to type it")

    return refuse


def client_anchors(folder: Path) -> tuple[x509.Certificate, ...]:
    """Give the issuing CAs whose clients may come in. Raises ConfigError if two of them have the same name."""
    path = files.file(folder, names.TLS_CLIENT_CA)
    try:
        anchors = tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError):
        raise ConfigError(str(path), "holds a certificate that can't be read") from None
    subjects = [anchor.subject.rfc4514_string() for anchor in anchors]
    if len(set(subjects)) != len(subjects):
        raise ConfigError(str(path), "two of its CAs have the same name, and a policy could not tell them apart")
    return anchors


def issued_by(leaf: bytes, anchors: tuple[x509.Certificate, ...]) -> bool:
    """Tell whether one of the anchors itself has signed a certificate (DER): not a CA below it that took its name.

    An anchor that has expired vouches for nobody: OpenSSL does not look at it when a session is resumed.
    """
    certificate = x509.load_der_x509_certificate(leaf)
    now = datetime.now(UTC)
    for anchor in anchors:
        if anchor.not_valid_after_utc < now:
            continue
        with contextlib.suppress(ValueError, TypeError, InvalidSignature):
            certificate.verify_directly_issued_by(anchor)
            return True
    return False


def is_strong(leaf: bytes) -> bool:
    """Tell whether a certificate (DER) is what OpenSSL's level 2 takes; where the level has to be 0, we ask instead."""
    certificate = x509.load_der_x509_certificate(leaf)
    if not isinstance(certificate.signature_hash_algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
        return False
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= _LEAST_RSA_BITS
    return isinstance(key, ec.EllipticCurvePublicKey) and key.key_size >= _LEAST_EC_BITS


def credentials(leaf: bytes, peer: str) -> TlsCredentials:
    """Read what a verified client certificate (DER) proves: issuer, serial, name, role and end (R-20 to R-23, R-65).

    Never fails on a bad role: the claim then carries the fault, so the handshake holds and every request gets 01.
    """
    certificate = x509.load_der_x509_certificate(leaf)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return TlsCredentials(
        peer=peer,
        issuer=certificate.issuer.rfc4514_string(),
        serial=certificate.serial_number,
        common_name=str(names[0].value) if names else "",
        claim=_claim(certificate),
        valid_until=certificate.not_valid_after_utc.timestamp(),
        certificate=leaf,
    )


def _claim(certificate: x509.Certificate) -> RoleClaim:
    try:
        extensions = certificate.extensions
    except x509.DuplicateExtension as twice:
        if twice.oid.dotted_string == ROLE_OID:
            return RoleClaim(fault="more than one role extension in the certificate")
        return RoleClaim(fault=f"extension {twice.oid.dotted_string} stands twice in the certificate")
    except (ValueError, x509.UnsupportedGeneralNameType):
        return RoleClaim(fault="the certificate's extensions can't be read")
    values = [
        extension.value.value
        for extension in extensions
        if extension.oid.dotted_string == ROLE_OID and isinstance(extension.value, x509.UnrecognizedExtension)
    ]
    return decode_role(values)


def client_hello(server_name: str) -> bytes:
    """Give the first bytes that a TLS client says: enough to see whether a server speaks TLS, and no more."""
    outgoing = ssl.MemoryBIO()
    hello = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server_name)
    with contextlib.suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    return outgoing.read()
