"""Make and read requests: from one come a key and the proof that its maker holds it, and nothing else (RFC 2986)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from fieldgate_certs import issued, keys, openssh, profiles
from fieldgate_certs.keys import PrivateKey, PublicKey
from fieldgate_certs.subjects import Host, Server, Subject
from fieldgate_core.credentials import RoleClaim
from fieldgate_core.errors import PkiError
from fieldgate_core.logs import printable

_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\n?", re.DOTALL)
_KINDS = (b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST")
_HINT = "make it on the box: fieldgate certs request NAME --dir DIR"


@dataclass(frozen=True, slots=True)
class Request:
    """The keys of a request, each proven to be held by its maker, and the names that it asks for."""

    tls_key: PublicKey = field(repr=False)
    ssh_key: openssh.PublicKey | None = field(repr=False)
    name: str
    hosts: tuple[Host, ...]
    role: RoleClaim
    fingerprint: str
    """Of the whole file: to be compared by who carries it."""


def make(name: str, tls_key: PrivateKey, ssh_key: openssh.PrivateKey) -> bytes:
    """Make a request: a PKCS#10 request of the TLS key, and a second one of the SSH key."""
    builder = x509.CertificateSigningRequestBuilder(profiles.common_name(name))
    # Ed25519 has its hash built in
    ssh = builder.sign(ssh_key, None if isinstance(ssh_key, Ed25519PrivateKey) else hashes.SHA256())
    return b"".join(one.public_bytes(Encoding.PEM) for one in (builder.sign(tls_key, hashes.SHA256()), ssh))


def fingerprint(data: bytes) -> str:
    """Give the fingerprint of the file of a request, or of its answer: to be compared where it was carried to."""
    return "SHA256:" + hashlib.sha256(data).hexdigest()


def read(data: bytes, where: str) -> Request:
    """Read a request: one or two PKCS#10 requests in PEM, the first of the TLS key, the second of the SSH key.

    Raises PkiError that names `where`: a signature that does not prove the key, a weak key, two different names.
    """
    blocks = [found[0] for found in _BLOCK.finditer(data) if found[1] in _KINDS]
    if not 1 <= len(blocks) <= 2:
        raise PkiError(where, f"holds {len(blocks)} certificate requests in PEM, not 1 or 2", hint=_HINT)
    parsed = [_parse(block, where) for block in blocks]
    tls_key = keys.accept(parsed[0].public_key(), where)
    ssh_key = keys.accept_ssh(parsed[1].public_key(), where) if len(parsed) > 1 else None
    names = {issued.common_name(one.subject) for one in parsed}
    if len(names) > 1:
        problem = f"its two keys ask for different names: {', '.join(map(printable, sorted(names)))}"
        raise PkiError(where, problem, hint=_HINT)
    if ssh_key == tls_key:
        raise PkiError(where, "TLS and SSH share one key", hint=_HINT)
    try:
        hosts, role = issued.hosts(parsed[0]), issued.role(parsed[0])
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise PkiError(where, "asks for extensions that cannot be read", hint=_HINT) from None
    return Request(tls_key, ssh_key, names.pop(), hosts, role, fingerprint(data))


def agree(request: Request, subject: Subject, where: str) -> None:
    """Raise PkiError if a request asks for a name or role that is not the subject's; it may ask for less, or nothing.

    What it asks for is never taken over: this only finds the request that lies in the wrong place.
    """
    hint = "is this the request of another box? what a certificate says comes from the inventory alone"
    if request.name and request.name != subject.name:
        problem = f"the request asks for the name {printable(request.name)}, and is to be signed for {subject.name}"
        raise PkiError(where, problem, hint=hint)
    allowed = subject.hosts if isinstance(subject, Server) else ()
    foreign = [str(host) for host in request.hosts if (host.lower() if isinstance(host, str) else host) not in allowed]
    if foreign:
        ours = ", ".join(map(str, allowed)) or "no host"
        problem = f"the request asks for {printable(', '.join(foreign))}; the inventory gives {subject.name} {ours}"
        raise PkiError(where, problem, hint=hint)
    asked = request.role.role or request.role.fault
    ours_role = None if isinstance(subject, Server) else subject.role
    if asked is not None and asked != ours_role:
        given = f"the role {ours_role}" if ours_role else "no role"
        problem = f"the request asks for the role {printable(asked)}; the inventory gives {subject.name} {given}"
        raise PkiError(where, problem, hint=hint)


def _parse(block: bytes, where: str) -> x509.CertificateSigningRequest:
    try:
        found = x509.load_pem_x509_csr(block)
        proven = found.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise PkiError(where, "holds a certificate request that cannot be read", hint=_HINT) from None
    if not proven:
        raise PkiError(where, "its signature does not prove that its maker holds the key", hint=_HINT)
    return found
