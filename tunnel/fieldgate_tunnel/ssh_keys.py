"""What an SSH key or certificate says of its holder: read from its blob with cryptography, judged; pure."""

from __future__ import annotations

import base64
import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)
from cryptography.hazmat.primitives.serialization.ssh import SSHCertPublicKeyTypes

from fieldgate_core.credentials import SshCertificateCredentials, SshKeyCredentials

SshProof = SshCertificateCredentials | SshKeyCredentials

# force-command binds a stock sshd (guard.md); source-address asyncssh enforces; what we don't know, we must refuse
_CRITICAL_OPTIONS = frozenset({b"force-command", b"source-address"})
# none of these is needed but the first, nor does another give anything: they say what a stock sshd may do
_EXTENSIONS = frozenset(
    {
        b"permit-port-forwarding",
        b"permit-pty",
        b"permit-agent-forwarding",
        b"permit-X11-forwarding",
        b"permit-user-rc",
        b"no-touch-required",
    }
)
_FOREVER = 0xFFFF_FFFF_FFFF_FFFF


def read_proof(login: str, blob: bytes, peer: str) -> tuple[SshProof | None, str]:
    """Read the key or certificate that a client shows for a login name: what it would prove, or None and the fault.

    The signature, the dates and the source addresses are the SSH library's to check.
    """
    try:
        size = int.from_bytes(blob[:4], "big")
        found = load_ssh_public_identity(blob[4 : 4 + size] + b" " + base64.b64encode(blob))
    except (ValueError, UnsupportedAlgorithm):
        return None, "its kind is not supported, or it can't be read"
    if isinstance(found, DSAPublicKey):
        return None, "DSA keys are not supported"
    if not isinstance(found, SSHCertificate):
        return SshKeyCredentials(peer=peer, login=login, fingerprint=fingerprint(found)), ""
    if found.type is not SSHCertificateType.USER:
        return None, "a host certificate is no user certificate"
    if not found.valid_principals:
        return None, "a certificate without principals is refused (it would be good for every login)"
    try:
        principals = tuple(principal.decode() for principal in found.valid_principals)
    except UnicodeDecodeError:
        return None, "a principal is not UTF-8"
    if login not in principals:
        return None, f"it is not a principal of the certificate ({', '.join(principals)})"
    unknown = found.critical_options.keys() - _CRITICAL_OPTIONS
    if unknown:
        return None, f"the certificate has critical options that are not known here: {sorted(unknown)}"
    unknown = found.extensions.keys() - _EXTENSIONS
    if unknown:
        return None, f"the certificate has extensions that are not known here: {sorted(unknown)}"
    if found.critical_options.get(b"source-address") == b"":
        # asyncssh would take it for no limit at all, OpenSSH refuses it
        return None, "the certificate's source-address names no address"
    return SshCertificateCredentials(
        peer=peer,
        login=login,
        ca=fingerprint(found.signature_key()),
        serial=found.serial,
        key_id=found.key_id.decode(errors="replace"),
        principals=principals,
        fingerprint=fingerprint(found.public_key()),
        valid_until=None if found.valid_before == _FOREVER else float(found.valid_before),
    ), ""


def fingerprint(key: SSHCertPublicKeyTypes) -> str:
    """Give a public key's fingerprint as `ssh-keygen -l` prints it: SHA256:..."""
    blob = base64.b64decode(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).rstrip(b"=").decode()


def only_principal(certificate: bytes) -> str | None:
    """Give the principal of a certificate that has exactly one: the login name when a URL gives none."""
    found = load_ssh_public_identity(certificate)
    if isinstance(found, SSHCertificate) and len(found.valid_principals) == 1:
        return found.valid_principals[0].decode(errors="replace")
    return None
