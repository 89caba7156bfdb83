"""Revoke: keep the one list of typed names, and publish what is made of it: X.509 CRLs and an OpenSSH KRL."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fieldgate_certs import authority, crl, issued, keys, krl, layout, openssh
from fieldgate_certs.authority import Root
from fieldgate_certs.choices import REASONS
from fieldgate_certs.crl import Entry
from fieldgate_certs.issued import Issued
from fieldgate_certs.layout import File
from fieldgate_certs.store import Holder, Store
from fieldgate_core import revocation
from fieldgate_core.errors import PkiError
from fieldgate_core.revocation import Revoked

_FLAGS = (
    x509.ReasonFlags.unspecified,
    x509.ReasonFlags.key_compromise,
    x509.ReasonFlags.ca_compromise,
    x509.ReasonFlags.affiliation_changed,
    x509.ReasonFlags.superseded,
    x509.ReasonFlags.cessation_of_operation,
    x509.ReasonFlags.privilege_withdrawn,
)
_FLAG_OF = dict(zip(REASONS, _FLAGS, strict=True))
_HEADER = "# Revoked identities: one typed name a line. After a change by hand: fieldgate certs crl\n"


class _Fresh(NamedTuple):
    names: Revoked
    entry: Entry


def revoked(store: Store) -> Revoked:
    """Read the list. Raises ConfigError that names the line that is wrong."""
    return revocation.parse(_text(store), where=str(store.folder / layout.REVOKED.path))


def living(store: Store, holders: Iterable[Holder], now: datetime) -> list[Issued]:
    """Give every generation of some identities that has not ended yet."""
    found = [issued.read(path) for holder in holders for path in store.generations(holder)]
    return [one for one in found if one.life.not_after > now]


def add(store: Store, names: Iterable[str], comment: str) -> list[str]:
    """Add typed names to the list, under a comment; return those that were not on it. Raises ConfigError."""
    with store.alone():
        text, known = _text(store), revoked(store)
        new = [name for name in dict.fromkeys(names) if name not in known]
        if new:
            lines = "".join(map(_line, new))
            text = f"{text or _HEADER}# {comment}\n{lines}"
            revocation.parse(text, where=str(store.folder / layout.REVOKED.path))
            store.put(layout.REVOKED, text.encode())
    return new


def publish(  # noqa: PLR0913
    store: Store,
    now: datetime,
    *,
    days: int = crl.CRL_DAYS,
    reason: str = "unspecified",
    new: Iterable[str] = (),
    root: Root | None = None,
) -> list[Path]:
    """Write the list, a CRL of each issuing CA (and of the root, where its key is at hand), and the KRL.

    Dates and reasons of earlier revocations are those of the lists before; `new` are the typed names that have been
    revoked now, for `reason`. Raises PkiError or ConfigError before anything is published.
    """
    fresh = _Fresh(revocation.parse("".join(map(_line, new)), where="names"), Entry(_seconds(now), _FLAG_OF[reason]))
    with store.alone():
        names = revoked(store)
        files: dict[File, bytes] = {}
        for name in store.ca_names():
            ca = layout.ca_files(name)
            cert = authority.issuing_certificate(store.read, name)
            if not store.has(ca.key):
                continue
            key = keys.read_pem(store.read(ca.key), ca.key.path, hint="restore it from a backup")
            files[ca.crl] = _crl(store, ca.crl, Root(cert, key), names, fresh, now, days)
        if root is not None:
            files[layout.PUBLISHED_ROOT_CRL] = _crl(store, layout.PUBLISHED_ROOT_CRL, root, names, fresh, now, days)
        files[layout.PUBLISHED_KRL] = krl.encode(
            int(now.timestamp()), now, [_of_ssh_ca(line, names) for line in _ssh_cas(store)], names.keys
        )
        files[layout.PUBLISHED_REVOKED] = (_text(store) or _HEADER).encode()
        return [store.put(file, data) for file, data in files.items()]


def _crl(  # noqa: PLR0913
    store: Store, file: File, ca: Root, names: Revoked, fresh: _Fresh, now: datetime, days: int
) -> bytes:
    before = _before(store, file, ca.certificate)
    issuer = ca.certificate.subject.rfc4514_string()
    known = dict.fromkeys(fresh.names.x509_serials(issuer), fresh.entry)
    known |= crl.known_entries(before) if before else {}
    serials = names.x509_serials(issuer)
    number = max(crl.number_of(before) + 1, int(now.timestamp()))
    made = crl.make(ca.certificate, ca.key, serials, known, number=number, now=now, days=days)
    return made.public_bytes(Encoding.PEM)


def _before(store: Store, file: File, issuer: x509.Certificate) -> x509.CertificateRevocationList | None:
    if not store.has(file):
        return None
    try:
        found = x509.load_pem_x509_crl(store.read(file))
    except ValueError:
        found = None
    key = keys.accept(issuer.public_key(), file.path)
    if found is None or not found.is_signature_valid(key):
        hint = "remove it: the next list will give today's date for what was revoked before"
        raise PkiError(str(store.folder / file.path), "is not a CRL of this CA", hint=hint)
    return found


def _line(name: str) -> str:
    # without quotes a blank and a hash would look like a comment
    return f'"{name}"\n'


def _seconds(now: datetime) -> datetime:
    return now.replace(microsecond=0)


def _ssh_cas(store: Store) -> list[bytes]:
    cas = map(layout.ca_files, store.ca_names())
    return [store.read(file) for ca in cas for file in (ca.user_ca_pub, ca.host_ca_pub) if store.has(file)]


def _of_ssh_ca(line: bytes, names: Revoked) -> krl.RevokedCertificates:
    blob = base64.b64decode(line.split()[1])
    ca = openssh.blob_fingerprint(blob)
    return krl.RevokedCertificates(blob, names.ssh_serials(ca), names.ssh_key_ids(ca))


def _text(store: Store) -> str:
    path = store.folder / layout.REVOKED.path
    if not path.exists():
        return ""
    try:
        text = store.read(layout.REVOKED).decode()
    except UnicodeDecodeError:
        raise PkiError(str(path), "is not UTF-8 text") from None
    return text if text.endswith("\n") or not text else f"{text}\n"
