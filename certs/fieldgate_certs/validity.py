"""Decide from when until when a certificate is valid, and from when on it is due to be renewed; pure."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import NamedTuple

from fieldgate_core.errors import PkiError

BACKDATE = timedelta(hours=1)
"""A box whose clock is a little behind must take a certificate that was just made."""
ROOT_LIFE = timedelta(days=20 * 365)
ISSUING_LIFE = timedelta(days=10 * 365)
DEFAULT_DAYS = 90
MAX_DAYS = 825


class Validity(NamedTuple):
    """Both ends of a certificate's life, aware and in whole seconds."""

    not_before: datetime
    not_after: datetime


def ca_validity(now: datetime, life: timedelta) -> Validity:
    """Give the life of a CA that is made `now`."""
    start = now.replace(microsecond=0)
    return Validity(start - BACKDATE, start + life)


def leaf_validity(now: datetime, days: int, issuer: Validity) -> Validity:
    """Give the life of a leaf that is issued `now` for `days`; it ends at the latest with its issuer.

    Raises PkiError for days that are not 1 to 825, and when `now` is not within the issuer's own life.
    """
    if not 1 <= days <= MAX_DAYS:
        problem = f"a certificate lives 1 to {MAX_DAYS} days"
        raise PkiError(f"--days {days}", problem, hint="a short life is what ends a lost key")
    start = now.replace(microsecond=0)
    if start < issuer.not_before:
        problem = f"the clock looks wrong: it says {start:%Y-%m-%d}, the CA was made on {issuer.not_before:%Y-%m-%d}"
        raise PkiError("issuing CA", problem, hint="set this machine's clock, then issue again")
    if start >= issuer.not_after:
        problem = f"it ended on {issuer.not_after:%Y-%m-%d}"
        raise PkiError("issuing CA", problem, hint="make a new PKI: fieldgate certs init DIR")
    return Validity(start - BACKDATE, min(start + timedelta(days=days), issuer.not_after))


def renewal_due(name: str, life: Validity) -> datetime:
    """Give the moment from which a certificate is due: at two thirds of its life, or up to a twelfth of it later.

    The delay comes from the name, so that a fleet that was issued in one hour is not renewed in one hour.
    """
    spread = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) / 2**32
    return life.not_before + (life.not_after - life.not_before) * (2 / 3 + spread / 12)


def days_of(life: Validity) -> int:
    """Give the days that a leaf with this life was issued for."""
    return max(1, round((life.not_after - life.not_before - BACKDATE) / timedelta(days=1)))
