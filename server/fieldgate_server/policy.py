"""The policy: read it, compile it per role, and say what a role may do; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fieldgate_core import settings, trusted_file
from fieldgate_core.credentials import encode_role
from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import ADDRESSES, Table
from fieldgate_server.coverage import CellGrant, Coverage
from fieldgate_server.functions import FUNCTIONS, Function

NULL_ROLE = "NULL"
_FIRST_UNIT, _LAST_UNIT = 1, 254
_TABLE_WORDS = ", ".join(Table)
_FINGERPRINT = "SHA256:[A-Za-z0-9+/]{43}"
"""As `ssh-keygen -l` prints it: the base64 of 32 bytes, without padding."""


@dataclass(frozen=True)
class GrantSettings:
    """One grant as written: units, cells to read, cells to write, and a limit on written register values."""

    units: str
    read: str = ""
    write: str = ""
    values: str = ""


@dataclass(frozen=True)
class RoleSettings:
    """One role as written: its grants, and the issuers that may give it in a certificate."""

    grants: tuple[GrantSettings, ...] = ()
    issuers: tuple[str, ...] = ()


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


class UnitRights:
    """What one role may do on one unit."""

    __slots__ = ("functions", "read", "write")

    def __init__(self, read: dict[Table, Coverage], write: dict[Table, Coverage]) -> None:
        self.read = read
        self.write = write
        self.functions: dict[int, Function] = {
            code: function
            for code, function in FUNCTIONS.items()
            if (function.reads is None or read.get(function.reads))
            and (function.writes is None or write.get(function.writes))
        }


class Rights:
    """What one role may do: `units` gives the rights on a unit number, None where there are none."""

    __slots__ = ("units",)

    def __init__(self, units: dict[int, UnitRights]) -> None:
        self.units = units


NO_RIGHTS = Rights({})


class Policy:
    """A compiled policy. Roles are lists of grants, and there is no deny rule, so nothing can contradict."""

    def __init__(self, roles: dict[str, RoleSettings], identity: dict[str, KeySettings | str], where: str) -> None:
        """Compile. Raises ConfigError that names `where` and the key path."""
        self._rights = {name: _compile(name, role, where) for name, role in roles.items()}
        self._issuers = {name: frozenset(role.issuers) for name, role in roles.items()}
        self._keys: dict[str, KeySettings] = {}
        self._users: dict[str, str] = {}
        self._groups: dict[str, str] = {}
        for name, value in identity.items():
            self._map(name, value, f"{where}: identity.{name}")

    def _map(self, name: str, value: KeySettings | str, where: str) -> None:
        kind, _, rest = name.partition(":")
        role = value.role if isinstance(value, KeySettings) else value
        if role not in self._rights or role == NULL_ROLE:
            raise ConfigError(where, f"role {role!r} is not declared", hint=f"declare it as [role.{role}]")
        if kind == "key" and re.fullmatch(_FINGERPRINT, rest) and isinstance(value, KeySettings):
            self._keys[rest] = value
        elif kind == "unix" and rest and isinstance(value, str):
            self._users[rest] = value
        elif kind == "group" and rest and isinstance(value, str):
            self._groups[rest] = value
        else:
            raise ConfigError(
                where,
                "is none of the three forms",
                hint='"unix:USER" = "ROLE", "group:GROUP" = "ROLE", "key:SHA256:..." = { name = "WHO", role = "ROLE" }',
            )

    def rights(self, role: str) -> Rights:
        """Give the rights of a declared role or of NULL; none for any other word."""
        return self._rights.get(role, NO_RIGHTS)

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
        super().__init__({}, {}, "quick start")
        self.owner_uid = uid

    @cached_property
    def _everything(self) -> Rights:
        grant = RoleSettings(grants=(GrantSettings(units="all", read="all", write="all"),))
        return _compile(OWNER_ROLE, grant, "quick start")

    def rights(self, role: str) -> Rights:
        """Give all rights to the owner's role, which only the owner's uid is ever given."""
        return self._everything if role == OWNER_ROLE and self.owner_uid is not None else NO_RIGHTS


def load(file: Path) -> Policy:
    """Read and compile a policy file. Raises ConfigError that names file and key path."""
    trusted_file.check(file)
    return parse(settings.read_toml(file), where=str(file))


def parse(raw: dict[str, Any], *, where: str) -> Policy:
    """Compile a policy from the tables of its TOML. Raises ConfigError that names `where` and the key path."""
    written = settings.build(raw, PolicySettings, where=where, base=Path())
    return Policy(written.role, written.identity or {}, where)


def _compile(name: str, role: RoleSettings, where: str) -> Rights:
    key = f"{where}: role.{name}"
    if name == NULL_ROLE and role.issuers:
        raise ConfigError(f"{key}.issuers", "NULL is the lack of a role, so no issuer gives it")
    if name != NULL_ROLE:
        try:
            encode_role(name)
        except ValueError as error:
            raise ConfigError(key, str(error)) from None
    for index, issuer in enumerate(role.issuers):
        if not re.fullmatch(rf"x509:.+|ssh-ca:{_FINGERPRINT}", issuer):
            raise ConfigError(
                f"{key}.issuers[{index}]",
                f"{issuer!r} names no issuer",
                hint='"x509:CN=..." (a TLS issuing CA), "ssh-ca:SHA256:..." (an SSH user CA); `certs init` prints both',
            )
    read: dict[int, dict[Table, list[CellGrant]]] = {}
    write: dict[int, dict[Table, list[CellGrant]]] = {}
    for index, grant in enumerate(role.grants):
        _expand(grant, f"{name}[{index}]", f"{key}.grants[{index}]", read, write)
    return Rights(_share(read, write))


def _share(
    read: dict[int, dict[Table, list[CellGrant]]], write: dict[int, dict[Table, list[CellGrant]]]
) -> dict[int, UnitRights]:
    """Compile each different set of grants once: `units = "all"` means 254 units with the same rights."""
    made: dict[tuple[object, object], UnitRights] = {}
    rights: dict[int, UnitRights] = {}
    for unit in {*read, *write}:
        key = (_key(read.get(unit, {})), _key(write.get(unit, {})))
        if key not in made:
            made[key] = UnitRights(
                {table: Coverage(grants) for table, grants in read.get(unit, {}).items()},
                {table: Coverage(grants) for table, grants in write.get(unit, {}).items()},
            )
        rights[unit] = made[key]
    return rights


def _key(tables: dict[Table, list[CellGrant]]) -> object:
    return tuple(sorted((table, tuple(grants)) for table, grants in tables.items()))


def _expand(
    grant: GrantSettings,
    label: str,
    key: str,
    read: dict[int, dict[Table, list[CellGrant]]],
    write: dict[int, dict[Table, list[CellGrant]]],
) -> None:
    units = _units(grant.units, f"{key}.units")
    reads = _cells(grant.read, f"{key}.read")
    writes = _cells(grant.write, f"{key}.write")
    if not reads and not writes:
        raise ConfigError(key, "grants nothing", hint='say what it allows: read = "...", write = "..."')
    low, high = _limits(grant.values, f"{key}.values")
    if low is not None and (not writes or {table for table, _, _ in writes} != {Table.HOLDING}):
        raise ConfigError(f"{key}.values", "limits belong to a write of holding registers and nothing else")
    for unit in units:
        for table, start, end in reads:
            read.setdefault(unit, {}).setdefault(table, []).append(CellGrant(start, end, None, None, label))
        for table, start, end in writes:
            write.setdefault(unit, {}).setdefault(table, []).append(CellGrant(start, end, low, high, label))


def _units(text: str, key: str) -> list[int]:
    """Read "all", "3", "1-4" or a list of these with commas. 0 and 255 are other names of the default unit."""
    if text.strip() == "all":
        return list(range(_FIRST_UNIT, _LAST_UNIT + 1))
    units: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,3})(?:\s*-\s*([0-9]{1,3}))?\s*", part)
        first = int(match[1]) if match else -1
        last = int(match[2]) if match and match[2] else first
        if not _FIRST_UNIT <= first <= last <= _LAST_UNIT:
            raise ConfigError(key, f"{part.strip()!r} is no unit", hint='"all", "3" or "1-4", from 1 to 254')
        units.update(dict.fromkeys(range(first, last + 1)))
    return list(units)


def _cells(text: str, key: str) -> list[tuple[Table, int, int]]:
    """Read "all", or "holding 100-119, coils 7, input all"; addresses count from 0."""
    if not text.strip():
        return []
    if text.strip() == "all":
        return [(table, 0, ADDRESSES) for table in Table]
    cells = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([a-z]+)\s+(?:all|([0-9]{1,5})(?:\s*-\s*([0-9]{1,5}))?)\s*", part)
        if not match or match[1] not in list(Table):
            hint = f'"all", or a table ({_TABLE_WORDS}) and addresses from 0: "holding 100-119, coils 7, input all"'
            raise ConfigError(key, f"{part.strip()!r} names no cells", hint=hint)
        first, last = (int(match[2]), int(match[3] or match[2])) if match[2] else (0, ADDRESSES - 1)
        if not first <= last < ADDRESSES:
            raise ConfigError(key, f"{part.strip()!r} is no range within 0 to {ADDRESSES - 1}")
        cells.append((Table(match[1]), first, last + 1))
    return cells


def _limits(text: str, key: str) -> tuple[int | None, int | None]:
    """Read "0..500"."""
    if not text.strip():
        return None, None
    match = re.fullmatch(r"\s*([0-9]{1,5})\s*\.\.\s*([0-9]{1,5})\s*", text)
    if not match or not int(match[1]) <= int(match[2]) <= 0xFFFF:
        hint = 'the lowest and the highest value: "0..500", within 0..65535'
        raise ConfigError(key, f"{text!r} is no limit", hint=hint)
    return int(match[1]), int(match[2])
