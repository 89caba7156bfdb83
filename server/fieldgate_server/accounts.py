"""The open sessions: who may open one more, what each has done lately, and how they are judged anew and ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from fieldgate_core.credentials import Credentials
from fieldgate_server.counts import Counts, SessionLimit
from fieldgate_server.guard import Guard
from fieldgate_server.identity import Identity
from fieldgate_server.settings import Settings

_SMOOTHING = 10.0
"""Seconds over which the requests a second are averaged."""


class Connection(Protocol):
    """What is known here of a session's connection."""

    @property
    def requests(self) -> int:
        """Requests that it has asked so far."""

    @property
    def waits(self) -> bool:
        """Whether a reply is still owed to it."""

    @property
    def ending(self) -> bool:
        """Whether it answers nothing any more."""

    def end(self, cause: str) -> None:
        """Close it, and write down why."""


class Account:
    """One open session. `since` in seconds since 1970; `opened` and `active` monotonic; `rate`: requests a second."""

    __slots__ = ("active", "connection", "credentials", "guard", "number", "opened", "rate", "seen", "since")

    def __init__(self, number: int, credentials: Credentials, guard: Guard, connection: Connection) -> None:
        self.number = number
        self.credentials = credentials
        self.guard = guard
        self.connection = connection
        self.since = time.time()
        self.opened = self.active = time.monotonic()
        self.seen = 0
        self.rate = 0.0

    @property
    def identity(self) -> Identity:
        """Who is asking, as it was judged last."""
        return self.guard.identity


class Accounts:
    """All open sessions, by a number that no other session of this server has had."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._last = 0
        self._open: dict[int, Account] = {}
        self._looked = time.monotonic()

    def __iter__(self) -> Iterator[Account]:
        return iter(list(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)

    def full(self, identity: Identity, settings: Settings, *, exclusive: bool) -> str | None:
        """Say why an identity may not open one more session; None if it may.

        An exclusive role's older sessions end for the new one, so there is no number of them to be kept to.
        """
        if len(self._open) >= settings.max_sessions:
            self._counts.limits[identity.door, SessionLimit.SESSIONS] += 1
            return f"more than {settings.max_sessions} sessions"
        limit, most = SessionLimit.PER_IDENTITY, settings.max_sessions_per_identity
        if not (identity.rights.units or identity.rights.manage):
            limit, most = SessionLimit.WITHOUT_RIGHTS, settings.max_sessions_without_rights
        if not exclusive and sum(account.identity.name == identity.name for account in self._open.values()) >= most:
            self._counts.limits[identity.door, limit] += 1
            return f"more than {most} sessions of {identity.name}"
        return None

    def open(self, credentials: Credentials, guard: Guard, connection: Connection) -> Account:
        """Take a session in."""
        self._last += 1
        account = self._open[self._last] = Account(self._last, credentials, guard, connection)
        self._counts.opened[account.identity.door] += 1
        return account

    def close(self, account: Account) -> None:
        """Let a session go that is over."""
        del self._open[account.number]

    def end_older(self, identity: Identity) -> None:
        """End the sessions that an identity has opened in its role, but for the newest."""
        alike = [one for one in self if (one.identity.name, one.identity.role) == (identity.name, identity.role)]
        for account in alike[:-1]:
            end(account, "a newer session of this identity")

    def named(self, what: str) -> list[Account]:
        """Find sessions by an identity's typed name, or one by its number."""
        return [account for account in self if what in {account.identity.name, str(account.number)}]

    def judge(self, judged: Callable[[Account], Identity]) -> None:
        """Judge all sessions anew: what a role has lost is lost to the next request."""
        for account in self:
            before, identity = account.identity, judged(account)
            if identity == before:
                continue
            account.guard.become(identity)
            if (before.name, before.role, before.fault) != (identity.name, identity.role, identity.fault):
                account.guard.session("judged", fault=identity.fault)

    def look(self, settings: Settings) -> None:
        """Bring the rates up to date, and end who has been idle, or here, for too long. To be called each second."""
        now = time.monotonic()
        passed = max(now - self._looked, 1e-3)
        self._looked = now
        share = min(1.0, passed / _SMOOTHING)
        for account in self:
            asked = account.connection.requests
            account.rate += ((asked - account.seen) / passed - account.rate) * share
            if asked != account.seen or account.connection.waits:
                account.active = now
            account.seen = asked
            expires = account.identity.expires
            if expires is not None and expires <= time.time():
                # its own timer counts seconds, and knows nothing of a clock that was set
                end(account, "the peer's credential has run out")
            elif settings.lifetime and now - account.opened >= settings.lifetime:
                self._end(account, SessionLimit.LIFETIME, f"open for {settings.lifetime:g} s, which is the longest")
            elif settings.idle and now - account.active >= settings.idle:
                self._end(account, SessionLimit.IDLE, f"idle for {settings.idle:g} s")

    def _end(self, account: Account, limit: SessionLimit, cause: str) -> None:
        if end(account, cause):
            self._counts.limits[account.identity.door, limit] += 1


def end(account: Account, cause: str) -> bool:
    """End a session; False if it is at its end already."""
    if account.connection.ending:
        return False
    account.connection.end(cause)
    return True
