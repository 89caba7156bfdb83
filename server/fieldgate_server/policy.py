"""The policy: read it, compile it per role, and say what a role may do now; pure."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fieldgate_core import settings, trusted_file
from fieldgate_core.credentials import encode_role
from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import File, Space
from fieldgate_server import grants
from fieldgate_server.catalogue import FUNCTIONS
from fieldgate_server.cells import ALL_FILES
from fieldgate_server.coverage import CellGrant, Coverage, effort
from fieldgate_server.functions import Kind
from fieldgate_server.grants import MANAGE, Grant, GrantSettings
from fieldgate_server.periods import ALWAYS, Period
from fieldgate_server.rights import NO_RIGHTS, Rights, UnitRights

NULL_ROLE = "NULL"
LOOK_AGAIN = 10.0
"""Seconds within which a wall clock that was set is noticed."""
MOST_LIMITS = 1_000_000
"""Limits of one role, each counted once for every run of its cells in which another one begins or ends."""
_FINGERPRINT = "SHA256:[A-Za-z0-9+/]{43}"
"""As `ssh-keygen -l` prints it: the base64 of 32 bytes, without padding."""


@dataclass(frozen=True)
class RoleSettings:
    """One role as written: its grants, the issuers that may give it in a certificate, one session an identity or more.

    With `exclusive` a new session of an identity closes its older one.
    """

    grants: tuple[GrantSettings, ...] = ()
    issuers: tuple[str, ...] = ()
    exclusive: bool = False


@dataclass(frozen=True)
class KeySettings:
    """Whom a plain SSH key belongs to, and the role it has."""

    name: str
    role: str


@dataclass(frozen=True)
class PolicySettings:
    """A policy file as written."""

    role: dict[str, RoleSettings]
    identity: dict[str, KeySettings | str] | None = None


class Policy:
    """A compiled policy at one time. Roles are lists of grants, and there is no deny rule: nothing can contradict.

    Grants end by the latest time that was ever seen, and begin by the time it is now: a clock that is set back
    revives nothing.
    """

    def __init__(
        self,
        roles: Mapping[str, RoleSettings],
        identity: Mapping[str, KeySettings | str],
        where: str,
        *,
        now: float,
        latest: float = 0.0,
    ) -> None:
        """Compile for a time, in seconds since 1970. What is wrong is in `faults`: such a policy is not to be used."""
        self.faults: list[ConfigError] = []
        self.now = now
        self.latest = max(now, latest)
        """The latest time that was ever seen."""
        self._grants = {name: self._role(name, role, f"{where}: role.{name}") for name, role in roles.items()}
        self._issuers = {name: frozenset(role.issuers) for name, role in roles.items()}
        self._exclusive = frozenset(name for name, role in roles.items() if role.exclusive)
        self._keys: dict[str, KeySettings] = {}
        self._users: dict[str, str] = {}
        self._groups: dict[str, str] = {}
        for name, value in identity.items():
            self._map(name, value, f"{where}: identity.{name}")
        for name, some in self._grants.items():
            self._check_effort(some, f"{where}: role.{name}.grants")
        holding = {name: _holding(some, now, self.latest) for name, some in self._grants.items()}
        self._rights = {} if self.faults else {name: _compile(some) for name, some in holding.items()}

    def _role(self, name: str, role: RoleSettings, key: str) -> tuple[Grant, ...]:
        if name == NULL_ROLE and role.issuers:
            self._wrong(f"{key}.issuers", "NULL is the lack of a role, so no issuer gives it")
        if name != NULL_ROLE:
            try:
                encode_role(name)
            except ValueError as error:
                self._wrong(key, str(error))
        for index, issuer in enumerate(role.issuers):
            if not re.fullmatch(rf"x509:.+|ssh-ca:{_FINGERPRINT}", issuer):
                self._wrong(
                    f"{key}.issuers[{index}]",
                    f"{issuer!r} names no issuer",
                    '"x509:CN=..." (a TLS issuing CA), "ssh-ca:SHA256:..." (an SSH user CA); `certs init` prints both',
                )
        compiled = []
        for index, grant in enumerate(role.grants):
            try:
                compiled.append(grants.compile_grant(grant, f"{name}[{index}]", f"{key}.grants[{index}]"))
            except ConfigError as error:  # noqa: PERF203 - all that is wrong is told at once
                self.faults.append(error)
        return tuple(compiled)

    def _check_effort(self, some: tuple[Grant, ...], key: str) -> None:
        """Check that a role's limits can be compiled in a moment, whichever of its grants hold."""
        written = (
            spaces
            for _, its in _units_alike(some)
            for spaces in _by_space(cell for grant in its for cell in grant.write).values()
        )
        if sum(effort(cells) for cells in written) > MOST_LIMITS:
            self._wrong(
                key,
                f"its limits overlap in more than {MOST_LIMITS:,} ways",
                "give limits that belong together the same range of cells, or split the role",
            )

    def _map(self, name: str, value: KeySettings | str, where: str) -> None:
        kind, _, rest = name.partition(":")
        role = value.role if isinstance(value, KeySettings) else value
        if role not in self._grants or role == NULL_ROLE:
            self._wrong(where, f"role {role!r} is not declared", f"declare it as [role.{role}]")
        elif kind == "key" and re.fullmatch(_FINGERPRINT, rest) and isinstance(value, KeySettings):
            self._keys[rest] = value
        elif kind == "unix" and rest.isdecimal():
            self._wrong(where, f"{rest!r} is a number", "users are named: unix:NAME, as `id -un` prints it")
        elif kind == "unix" and rest and isinstance(value, str):
            self._users[rest] = value
        elif kind == "group" and rest and isinstance(value, str):
            self._groups[rest] = value
        else:
            self._wrong(
                where,
                "is none of the three forms",
                '"unix:USER" = "ROLE", "group:GROUP" = "ROLE", "key:SHA256:..." = { name = "WHO", role = "ROLE" }',
            )

    def _wrong(self, where: str, problem: str, hint: str = "") -> None:
        self.faults.append(ConfigError(where, problem, hint=hint))

    @property
    def roles(self) -> tuple[str, ...]:
        """The declared roles, NULL among them if it is."""
        return tuple(self._grants)

    def rights(self, role: str) -> Rights:
        """Give the rights that a declared role or NULL has now; none for any other word."""
        return self._rights.get(role, NO_RIGHTS)

    def not_now(self, role: str) -> tuple[Grant, ...]:
        """Give the grants of a role that do not hold now: they have ended, or not begun."""
        some = self._grants.get(role, ())
        return tuple(grant for grant in some if not grant.period.holds(self.now, self.latest))

    def at(self, now: float, latest: float = 0.0) -> Policy:
        """Give the same policy at another time, seconds since 1970. Roles that do not change keep their Rights object.

        `latest` is the latest time that is known from elsewhere, such as from the policy before a reload.
        """
        then = copy.copy(self)
        then.now, then.latest = now, max(now, latest, self.latest)
        before = {name: _holding(some, self.now, self.latest) for name, some in self._grants.items()}
        after = {name: _holding(some, then.now, then.latest) for name, some in self._grants.items()}
        rights = {name: self._rights[name] if before[name] == some else _compile(some) for name, some in after.items()}
        then._rights = rights  # noqa: SLF001 - a copy of our own
        return then

    def next_change(self) -> float | None:
        """Give the next moment at which a role's rights change, in seconds since 1970; None: never by themselves."""
        bounds = [bound for period in self._periods() for bound in (period.begins, period.ends) if bound is not None]
        return min((bound for bound in bounds if bound > self.now), default=None)

    def look_again(self) -> float | None:
        """Give the seconds after which `at` is to be asked anew; None: never.

        While a grant may yet begin or end these are at most LOOK_AGAIN, since a wall clock may be set at any moment.
        """
        if all(period.ends is not None and period.ends <= self.latest for period in self._periods()):
            return None
        change = self.next_change()
        return LOOK_AGAIN if change is None else min(LOOK_AGAIN, change - self.now)

    def _periods(self) -> Iterable[Period]:
        return (grant.period for role in self._grants.values() for grant in role if grant.period != ALWAYS)

    def exclusive(self, role: str) -> bool:
        """Tell whether a new session of an identity with this role closes its older one."""
        return role in self._exclusive

    def may_give(self, issuer: str, role: str) -> bool:
        """Tell whether this issuer (`x509:NAME` or `ssh-ca:SHA256:...`) may give this role in a certificate."""
        return issuer in self._issuers.get(role, ())

    def key(self, fingerprint: str) -> KeySettings | None:
        """Give the person and role of a plain SSH key, by its SHA256:... fingerprint."""
        return self._keys.get(fingerprint)

    def user_roles(self, user: str, groups: frozenset[str]) -> frozenset[str]:
        """Give the role of a Unix user: its own rule beats those of its groups, whose roles may be several."""
        own = self._users.get(user)
        if own is not None:
            return frozenset({own})
        return frozenset(self._groups[group] for group in groups if group in self._groups)


OWNER_ROLE = "owner"


class OwnerPolicy(Policy):
    """The quick start's policy: the user who started the server may do everything on loopback, nobody else anything."""

    def __init__(self, uid: int | None) -> None:
        super().__init__({}, {}, "quick start", now=0.0)
        self.owner_uid = uid

    @cached_property
    def _everything(self) -> Rights:
        control = (function.name for function in FUNCTIONS if function.kind is Kind.CONTROL)
        words = ("identify", "diagnose", *control)
        everything = (
            GrantSettings(units="all", read="all", write="all"),
            *(GrantSettings(units="all", function=word) for word in words),
            GrantSettings(manage=MANAGE),
        )
        return _compile(
            grants.compile_grant(grant, f"{OWNER_ROLE}[{index}]", "quick start")
            for index, grant in enumerate(everything)
        )

    def rights(self, role: str) -> Rights:
        """Give all rights to the owner's role, which only the owner's uid is ever given."""
        return self._everything if role == OWNER_ROLE and self.owner_uid is not None else NO_RIGHTS


def load(file: Path, *, now: float | None = None, latest: float = 0.0) -> Policy:
    """Read and compile a policy file for a time, in seconds since 1970 (None: this moment).

    Raises ConfigError that names file and key path.
    """
    trusted_file.check(file)
    return parse(settings.read_toml(file), where=str(file), now=now, latest=latest)


def parse(raw: dict[str, Any], *, where: str, now: float | None = None, latest: float = 0.0) -> Policy:
    """Compile a policy from the tables of its TOML. Raises ConfigError that names `where` and the key path."""
    policy, faults = examine(raw, where=where, now=now, latest=latest)
    if policy is None:
        raise faults[0]
    return policy


def examine(
    raw: dict[str, Any], *, where: str, now: float | None = None, latest: float = 0.0
) -> tuple[Policy | None, list[ConfigError]]:
    """As `parse`, but give all that is wrong at once, and None where something is."""
    written, faults = settings.examine(raw, PolicySettings, where=where, base=Path())
    if written is None:
        return None, faults
    at = time.time() if now is None else now
    policy = Policy(written.role, written.identity or {}, where, now=at, latest=latest)
    return (None, policy.faults) if policy.faults else (policy, [])


def _holding(some: Iterable[Grant], now: float, latest: float) -> tuple[Grant, ...]:
    return tuple(grant for grant in some if grant.period.holds(now, latest))


def _compile(holding: Iterable[Grant]) -> Rights:
    """Compile grants to rights; each different set of them once, since `units = "all"` means 254 units alike."""
    some = tuple(holding)
    manage: dict[str, str] = {}
    for grant in some:
        for word in grant.manage:
            manage.setdefault(word, grant.name)
    units: dict[int, UnitRights] = {}
    for numbers, its in _units_alike(some):
        units |= dict.fromkeys(numbers, _unit_rights(its))
    return Rights(units, manage)


def _units_alike(some: Iterable[Grant]) -> list[tuple[list[int], list[Grant]]]:
    """Sort units by the grants that they have: the numbers of those that are alike, and their grants."""
    on_unit: dict[int, list[Grant]] = {}
    for grant in some:
        for unit in grant.units:
            on_unit.setdefault(unit, []).append(grant)
    alike: dict[tuple[str, ...], list[int]] = {}
    for unit, its in on_unit.items():
        alike.setdefault(tuple(grant.name for grant in its), []).append(unit)
    return [(numbers, on_unit[numbers[0]]) for numbers in alike.values()]


def _unit_rights(some: list[Grant]) -> UnitRights:
    named: dict[str, str] = {}
    for grant in some:
        for function in grant.functions:
            named.setdefault(function, grant.name)
    read = _coverage(cell for grant in some for cell in grant.read)
    return UnitRights(read, _coverage(cell for grant in some for cell in grant.write), named)


def _by_space(granted: Iterable[tuple[Space, CellGrant]]) -> dict[Space, list[CellGrant]]:
    spaces: dict[Space, list[CellGrant]] = {}
    for space, cells in granted:
        spaces.setdefault(space, []).append(cells)
    return spaces


def _coverage(granted: Iterable[tuple[Space, CellGrant]]) -> dict[Space, Coverage]:
    spaces = _by_space(granted)
    everywhere = spaces.get(ALL_FILES, [])
    return {
        space: Coverage([*cells, *everywhere] if isinstance(space, File) and space != ALL_FILES else cells)
        for space, cells in spaces.items()
    }
