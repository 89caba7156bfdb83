"""What a door has proven about a peer, and the role extension of Modbus/TCP Security (R-21, R-22, R-65)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

ROLE_OID = "1.3.6.1.4.1.50316.802.1"
"""The role extension's object identifier (R-21)."""
MAX_ROLE_BYTES = 128
RESERVED_ROLES = frozenset({"NULL", "INVALID"})
"""Words for "no role" and "no valid role": as a role's name they would be mistaken for these."""
_UTF8_STRING = 0x0C


@dataclass(frozen=True, slots=True)
class RoleClaim:
    """What a certificate says of its role: a role, nothing (both None: NULL), or a fault (INVALID)."""

    role: str | None = None
    fault: str | None = None


NO_ROLE = RoleClaim()


def encode_role(role: str) -> bytes:
    """Encode a role as the DER UTF8String of the extension's value (R-22).

    Raises ValueError if it is empty, over 128 bytes, or a reserved word.
    """
    data = role.encode()
    if not data or len(data) > MAX_ROLE_BYTES:
        raise ValueError(f"a role has 1 to {MAX_ROLE_BYTES} bytes, this one has {len(data)}")
    if role in RESERVED_ROLES:
        raise ValueError(f"{role} is a reserved word, not a role")
    length = bytes((len(data),)) if len(data) < 0x80 else bytes((0x81, len(data)))
    return bytes((_UTF8_STRING,)) + length + data


def decode_role(values: Sequence[bytes]) -> RoleClaim:
    """Decode the values of all role extensions of one certificate, strictly (R-22, R-23, R-65).

    Never raises: what is malformed comes back as a claim with its fault, for the guard to refuse.
    """
    if not values:
        return NO_ROLE
    if len(values) > 1:
        return RoleClaim(fault=f"{len(values)} role extensions")
    der = values[0]
    if len(der) < 2 or der[0] != _UTF8_STRING:
        return RoleClaim(fault="the role is not a UTF8String")
    if der[1] < 0x80:
        length, body = der[1], der[2:]
    elif der[1] == 0x81 and len(der) > 2 and der[2] >= 0x80:
        length, body = der[2], der[3:]
    else:
        return RoleClaim(fault="the role's length is not DER, or far too long")
    if len(body) != length:
        return RoleClaim(fault="bytes are missing or trail behind the role")
    if not 1 <= length <= MAX_ROLE_BYTES:
        return RoleClaim(fault=f"the role has {length} bytes, not 1 to {MAX_ROLE_BYTES}")
    try:
        role = body.decode()
    except UnicodeDecodeError:
        return RoleClaim(fault="the role is not UTF-8")
    if role in RESERVED_ROLES:
        return RoleClaim(fault=f"{role} is a reserved word, not a role")
    return RoleClaim(role=role)


@dataclass(frozen=True, slots=True)
class TlsCredentials:
    """A client certificate (DER) that a TLS handshake has verified. `valid_until` in seconds since 1970."""

    peer: str
    issuer: str
    serial: int
    common_name: str
    claim: RoleClaim
    valid_until: float
    certificate: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class SshCertificateCredentials:
    """An OpenSSH user certificate whose key has signed; `ca`, `fingerprint` as SHA256:...; None: valid for ever."""

    peer: str
    login: str
    ca: str
    serial: int
    key_id: str
    principals: tuple[str, ...]
    fingerprint: str
    valid_until: float | None


@dataclass(frozen=True, slots=True)
class SshKeyCredentials:
    """A plain SSH key that has signed; `fingerprint` as SHA256:..."""

    peer: str
    login: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class LoopbackCredentials:
    """The Unix user at the other end of a loopback connection; `uid` None where it could not be told."""

    peer: str
    uid: int | None


Credentials = TlsCredentials | SshCertificateCredentials | SshKeyCredentials | LoopbackCredentials
