"""What a door lets happen: handshakes under way, and lock-outs of addresses that fail to authenticate; pure."""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

HANDSHAKES = "handshakes"
HANDSHAKES_PER_ADDRESS = "handshakes_per_address"
LOCKOUT = "lockout"
SHUT = "shut"
"""Why a door lets nobody in: not one of the limits, but what the gate says while it is shut."""
SSH_CONNECTIONS = "ssh_connections"
SSH_CONNECTIONS_PER_KEY = "ssh_connections_per_key"
SSH_CHANNELS = "ssh_channels"
HANDSHAKE_LIMITS = (HANDSHAKES, HANDSHAKES_PER_ADDRESS, LOCKOUT)
"""The limits of both doors, as their counts and the metrics call them."""
SSH_LIMITS = (SSH_CONNECTIONS, SSH_CONNECTIONS_PER_KEY, SSH_CHANNELS)
"""Those that the SSH door has beside them."""

_IPV6_SITE = 64
"""Bits of an IPv6 address that one peer cannot choose: it has all addresses below (RFC 4291, 2.5.1)."""

Clock = Callable[[], float]
"""Gives seconds that never go back."""


_MOST = 1_000_000


@dataclass(frozen=True)
class Limits:
    """What a door lets happen; times in seconds. Handshakes are those of peers not authenticated yet.

    After `failures_before_lockout` failed authentications each further one locks an address out, for `lockout_first`
    and then twice as long each time, at most `lockout_longest`; whoever is quiet for `lockout_forgets` after a failure
    begins anew. `lockout_addresses` are those that are remembered.
    """

    handshake_deadline: float = 10.0
    handshakes: int = 64
    handshakes_per_address: int = 16
    ssh_connections: int = 256
    ssh_connections_per_key: int = 16
    failures_before_lockout: int = 8
    lockout_first: float = 1.0
    lockout_longest: float = 60.0
    lockout_forgets: float = 900.0
    lockout_addresses: int = 4096

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 < getattr(self, field.name) <= _MOST:
                raise ValueError(f"{field.name} is more than 0 and at most {_MOST}")


class _Record:
    """What is remembered of an address: how often it failed, when it did last, and until when it is locked out."""

    __slots__ = ("failures", "last", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.last = 0.0
        self.until = 0.0


class Lockout:
    """Locks out addresses after failed authentications, longer each time, and forgets who has been quiet."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._records: dict[str, _Record] = {}
        self.total = 0
        """Lock-outs so far."""

    def limit(self, limits: Limits) -> None:
        """Go by other limits from now on."""
        self._limits = limits

    def __len__(self) -> int:
        """Addresses that are remembered."""
        return len(self._records)

    def locked(self, site: str) -> bool:
        """Tell whether an address is locked out now."""
        record = self._records.get(site)
        return record is not None and self._clock() < record.until

    def now_locked(self) -> int:
        """Count the addresses that are locked out now."""
        now = self._clock()
        return sum(now < record.until for record in self._records.values())

    def failed(self, site: str) -> float | None:
        """Count a failure; gives the seconds of the lock-out that begins with it, None for none.

        A failure during a lock-out began before it, and neither counts nor prolongs it.
        """
        now = self._clock()
        self._forget(now)
        record = self._records.get(site)
        if record is None:
            if len(self._records) >= self._limits.lockout_addresses:
                del self._records[next(iter(self._records))]
            record = _Record()
        elif now < record.until:
            return None
        else:
            del self._records[site]
        # records stand in the order of their last failure
        self._records[site] = record
        record.failures += 1
        record.last = now
        beyond = record.failures - self._limits.failures_before_lockout
        if beyond <= 0:
            return None
        seconds = min(self._limits.lockout_first * 2.0 ** min(beyond - 1, 63), self._limits.lockout_longest)
        record.until = now + seconds
        self.total += 1
        return seconds

    def succeeded(self, site: str) -> None:
        """Forget the failures of an address: somebody there has authenticated."""
        self._records.pop(site, None)

    def _forget(self, now: float) -> None:
        """Forget who has been quiet for long."""
        while self._records:
            site, oldest = next(iter(self._records.items()))
            if now < max(oldest.last + self._limits.lockout_forgets, oldest.until):
                return
            del self._records[site]


class Place:
    """The place of one handshake under way. `ousted`: it had to make room, and its connection is being ended."""

    __slots__ = ("_end", "ousted", "site")

    def __init__(self, site: str, end: Callable[[], None]) -> None:
        self.site = site
        self.ousted = False
        self._end = end

    def oust(self) -> None:
        """End its connection."""
        self.ousted = True
        self._end()


class Gate:
    """Counts the handshakes under way, in all and for each address, and keeps out who is locked out.

    An IPv6 address stands for its /64. When all places are taken, an address that has fewer than another gets one: the
    oldest handshake of the address that has most makes room. So nobody keeps a door shut by silence: an honest peer is
    done in a moment, and who holds many places loses one for each that comes.
    """

    def __init__(self, limits: Limits, clock: Clock = time.monotonic) -> None:
        self._limits = limits
        self._by_site: dict[str, dict[Place, None]] = {}
        self.lockout = Lockout(limits, clock)
        self.shut: str | None = None
        """Why nobody at all is let in now."""
        self.under_way = 0
        """Handshakes under way."""
        self.failed_total = 0
        """Handshakes that did not end in an authenticated peer, so far."""
        self.hits: Counter[str] = Counter()
        """How often each limit of the door has bitten, by its name."""

    def limit(self, limits: Limits) -> None:
        """Go by other limits from now on; who has a place keeps it."""
        self._limits = limits
        self.lockout.limit(limits)

    def enter(self, address: str, end: Callable[[], None], *, of_many: bool = False) -> Place | str:
        """Take a place, which `end` gives up; or the name of the limit that leaves none (SHUT: see `shut`).

        `of_many`: the address stands for peers that can't be told apart, so its oldest handshake makes room there.
        """
        if self.shut is not None:
            return SHUT
        site = _site(address)
        own = len(self._by_site.get(site, ()))
        bites = None
        if self.lockout.locked(site):
            bites = LOCKOUT
        elif own >= self._limits.handshakes_per_address and of_many:
            self.hits[HANDSHAKES_PER_ADDRESS] += 1
            self._oust(self._by_site[site])
        elif own >= self._limits.handshakes_per_address:
            bites = HANDSHAKES_PER_ADDRESS
        elif self.under_way >= self._limits.handshakes:
            # it bites, be it the newcomer or another
            self.hits[HANDSHAKES] += 1
            if not self._make_room(own):
                return HANDSHAKES
        if bites is not None:
            self.hits[bites] += 1
            return bites
        place = Place(site, end)
        self.under_way += 1
        self._by_site.setdefault(site, {})[place] = None
        return place

    def _make_room(self, own: int) -> bool:
        """Oust the oldest of the address that has most places, if these are more than one's `own`."""
        most = max(self._by_site.values(), key=len)
        if len(most) <= own:
            return False
        self._oust(most)
        return True

    def _oust(self, places: Iterable[Place]) -> None:
        """End the oldest of some handshakes."""
        place = next(iter(places))
        self._remove(place)
        place.oust()

    def _remove(self, place: Place) -> None:
        alike = self._by_site[place.site]
        del alike[place]
        if not alike:
            del self._by_site[place.site]
        self.under_way -= 1

    def leave(self, place: Place) -> None:
        """Give a place back."""
        if not place.ousted:
            self._remove(place)

    def succeeded(self, place: Place) -> None:
        """Give a place back: the peer has authenticated, and failures before are forgotten."""
        self.leave(place)
        self.lockout.succeeded(place.site)

    def failed(self, place: Place, *, authentication: bool) -> str | None:
        """Give a place back: the peer has not authenticated; says what follows from it, None for nothing.

        `authentication`: it has tried, and was not accepted; otherwise it left, or spoke another protocol.
        """
        self.leave(place)
        self.failed_total += 1
        seconds = self.lockout.failed(place.site) if authentication and not place.ousted else None
        return f"{place.site} is locked out for {seconds:g} s: too many failed authentications" if seconds else None


def _site(address: str) -> str:
    """Give what counts as one address: IPv4 as it is, an IPv6 address's /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), _IPV6_SITE), strict=False))
