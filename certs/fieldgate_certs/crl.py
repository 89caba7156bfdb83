"""Make the X.509 list of what one CA has revoked (RFC 5280, section 5); pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from fieldgate_certs import profiles
from fieldgate_certs.keys import PrivateKey

CRL_DAYS = 30
"""Days until the next list is promised: long enough for a box that nobody reaches for weeks."""


class Entry(NamedTuple):
    """When and why a certificate was revoked."""

    when: datetime
    reason: x509.ReasonFlags


def known_entries(crl: x509.CertificateRevocationList) -> dict[int, Entry]:
    """Read when and why each serial number of an earlier list was revoked."""
    found = {}
    for one in crl:
        try:
            reason = one.extensions.get_extension_for_class(x509.CRLReason).value.reason
        except x509.ExtensionNotFound:
            reason = x509.ReasonFlags.unspecified
        found[one.serial_number] = Entry(one.revocation_date_utc, reason)
    return found


def number_of(crl: x509.CertificateRevocationList | None) -> int:
    """Give a list's number; 0 for none."""
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number if crl else 0


def make(  # noqa: PLR0913
    issuer: x509.Certificate,
    key: PrivateKey,
    serials: Iterable[int],
    known: Mapping[int, Entry],
    *,
    number: int,
    now: datetime,
    days: int,
) -> x509.CertificateRevocationList:
    """Sign a list of `serials`; of which `known` says nothing is revoked now, for no stated reason."""
    start = now.replace(microsecond=0)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(start)
        .next_update(start + timedelta(days=days))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(profiles.key_id(issuer)), critical=False
        )
    )
    for serial in sorted(serials):
        entry = known.get(serial, Entry(start, x509.ReasonFlags.unspecified))
        one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(entry.when)
        # RFC 5280, section 5.3.1: no reason is better than "unspecified"
        if entry.reason is not x509.ReasonFlags.unspecified:
            one = one.add_extension(x509.CRLReason(entry.reason), critical=False)
        builder = builder.add_revoked_certificate(one.build())
    return builder.sign(key, hashes.SHA256())
