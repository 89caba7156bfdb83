"""Write a key revocation list as OpenSSH's PROTOCOL.krl defines it; pure."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

_MAGIC = b"SSHKRL\n\0"
_FORMAT_VERSION = 1
_CERTIFICATES, _SHA256_FINGERPRINTS = 1, 5
_SERIAL_LIST, _KEY_IDS = 0x20, 0x23


class RevokedCertificates(NamedTuple):
    """What is revoked of one CA: `ca` is its public key's blob; serials 1 to 2**64 - 1; key ids of those without."""

    ca: bytes
    serials: Iterable[int]
    key_ids: Iterable[str] = ()


def encode(version: int, now: datetime, revoked: Sequence[RevokedCertificates], keys: Iterable[str]) -> bytes:
    """Encode a list; `version` grows with every list, `keys` are fingerprints (SHA256:...) of plain keys."""
    header = _MAGIC + _u32(_FORMAT_VERSION) + _u64(version) + _u64(int(now.timestamp())) + _u64(0)
    sections = [_section(_CERTIFICATES, body) for body in map(_certificates, revoked) if body]
    digests = b"".join(map(_string, sorted(map(_digest, keys))))
    if digests:
        sections.append(_section(_SHA256_FINGERPRINTS, digests))
    return header + _string(b"") + _string(b"fieldgate") + b"".join(sections)


def _certificates(revoked: RevokedCertificates) -> bytes:
    serials = b"".join(map(_u64, sorted(revoked.serials)))
    key_ids = b"".join(_string(one.encode()) for one in sorted(revoked.key_ids))
    parts = [_section(_SERIAL_LIST, serials) if serials else b"", _section(_KEY_IDS, key_ids) if key_ids else b""]
    return _string(revoked.ca) + _string(b"") + b"".join(parts) if any(parts) else b""


def _digest(fingerprint: str) -> bytes:
    return base64.b64decode(fingerprint.removeprefix("SHA256:") + "=")


def _section(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + _string(body)


def _string(data: bytes) -> bytes:
    return _u32(len(data)) + data


def _u32(number: int) -> bytes:
    return number.to_bytes(4)


def _u64(number: int) -> bytes:
    return number.to_bytes(8)
