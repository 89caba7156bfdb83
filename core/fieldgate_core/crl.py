"""What the CRLs of the issuing CAs say of a certificate, and what holds when one has expired; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fieldgate_core.clock import moment

DENY = "deny"
_GRACE = re.compile(r"grace:([0-9]+)")
_LONGEST_GRACE = 8760


@dataclass(frozen=True)
class Crl:
    """One CA's list: `begins` (this update) and `ends` (next update) in seconds since 1970; serials, revoked when."""

    issuer: str
    begins: float
    ends: float
    revoked: Mapping[int, float] = field(repr=False)

    def ageing(self, now: float) -> str | None:
        """Say that it is due, from half of its life on, or has expired; None while neither is so."""
        if now >= self.ends:
            return f"the CRL of {self.issuer} expired on {moment(self.ends)}"
        if now >= (self.begins + self.ends) / 2:
            return f"the CRL of {self.issuer} is past half of its life: fetch a new one before {moment(self.ends)}"
        return None


@dataclass(frozen=True)
class Crls:
    """The lists of all issuing CAs, and the seconds for which an expired one is still good; `grace` 0: deny."""

    lists: Mapping[str, Crl] = field(default_factory=dict)
    grace: float = 0.0

    def __iter__(self) -> Iterator[Crl]:
        return iter(self.lists.values())

    def revoked(self, issuer: str, serial: int) -> str | None:
        """Say that a certificate is revoked; None if it is not."""
        found = self.lists.get(issuer)
        since = found.revoked.get(serial) if found else None
        return None if since is None else f"revoked by its CA on {moment(since)}"

    def expired(self, issuer: str, now: float) -> str | None:
        """Say that a CA's list has expired, and its grace is over; None if it is good, or there are no lists."""
        found = self.lists.get(issuer)
        if found is None or now < found.ends + self.grace:
            return None
        rule = f'"grace:{self.grace / 3600:.0f}" is over' if self.grace else '"deny"'
        return f"{found.ageing(now)}, and crl_expired = {rule}"


def grace(rule: str) -> float:
    """Read `crl_expired`: "deny" gives 0, "grace:HOURS" its seconds. Raises ValueError for anything else."""
    found = _GRACE.fullmatch(rule)
    if rule != DENY and (found is None or not 1 <= int(found[1]) <= _LONGEST_GRACE):
        raise ValueError(f'crl_expired is "deny", or "grace:HOURS" with 1 to {_LONGEST_GRACE} hours')
    return float(found[1]) * 3600 if found else 0.0
