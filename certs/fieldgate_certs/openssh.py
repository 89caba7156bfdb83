"""Make OpenSSH certificates, and the lines and key files that OpenSSH reads."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
    ssh_key_fingerprint,
)
from cryptography.hazmat.primitives.serialization.ssh import SSHCertPublicKeyTypes

from fieldgate_certs.subjects import Client, Server
from fieldgate_certs.validity import Validity

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey
"""New keys are Ed25519, which ssh-audit has nothing against; a PKI may have been made with ECDSA P-256."""
PublicKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey
FORCED_COMMAND = "/usr/sbin/nologin"
"""What a stock sshd runs for whoever asks for a shell or a command."""


def private_key_file(key: PrivateKey) -> bytes:
    """Give a private key in OpenSSH's own format, without passphrase."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def public_key_line(key: PublicKey, comment: str) -> bytes:
    """Give the line of a .pub file: type, key in base64, comment."""
    return b"%s %s\n" % (key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH), comment.encode())


def fingerprint(key: SSHCertPublicKeyTypes) -> str:
    """Give SHA256:... as `ssh-keygen -l` prints it."""
    digest = ssh_key_fingerprint(key, hashes.SHA256())
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def blob_fingerprint(blob: bytes) -> str:
    """Give SHA256:... of a public key's blob."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def known_hosts_line(host_ca_line: bytes) -> bytes:
    """Trust every host whose certificate one of these CAs has signed, under the names that the certificate holds."""
    return b"".join(b"@cert-authority * " + line for line in host_ca_line.splitlines(keepends=True))


def authorized_keys_line(user_ca_line: bytes, role: str, targets: Iterable[str]) -> bytes:
    """Let a stock sshd take this CA's users for one role, to forward to `targets` (HOST:PORT) and for nothing else."""
    permitted = "".join(f',permitopen="{target}"' for target in targets)
    options = f'cert-authority,principals="{role}",restrict,port-forwarding{permitted},command="{FORCED_COMMAND}"'
    return options.encode() + b" " + user_ca_line


def host_certificate(subject: Server, key: PublicKey, ca: PrivateKey, validity: Validity) -> bytes:
    """Give the line of a host certificate; its principals are the server's hosts."""
    builder = _builder(SSHCertificateType.HOST, subject.name, list(map(str, subject.hosts)), key, validity)
    return _sign(builder, ca, subject.name)


def user_certificate(subject: Client, key: PublicKey, ca: PrivateKey, validity: Validity) -> bytes:
    """Give the line of a user certificate: its one principal is the role, its key id the name.

    It allows port forwarding only. The forced command is for a stock sshd, which would run commands without it.
    """
    builder = _builder(SSHCertificateType.USER, subject.name, [subject.role], key, validity)
    builder = builder.add_extension(b"permit-port-forwarding", b"")
    builder = builder.add_critical_option(b"force-command", FORCED_COMMAND.encode())
    if subject.sources:
        builder = builder.add_critical_option(b"source-address", ",".join(map(str, subject.sources)).encode())
    return _sign(builder, ca, subject.name)


def _builder(
    kind: SSHCertificateType, key_id: str, principals: list[str], key: PublicKey, validity: Validity
) -> SSHCertificateBuilder:
    return (
        SSHCertificateBuilder()
        .type(kind)
        .public_key(key)
        .serial(1 + secrets.randbelow(2**64 - 1))  # 0 means "no serial" to a KRL
        .key_id(key_id.encode())
        .valid_principals([principal.encode() for principal in principals])
        .valid_after(validity.not_before.timestamp())
        .valid_before(validity.not_after.timestamp())
    )


def _sign(builder: SSHCertificateBuilder, ca: PrivateKey, comment: str) -> bytes:
    return b"%s %s\n" % (builder.sign(ca).public_bytes(), comment.encode())
