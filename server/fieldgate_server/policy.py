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
from fieldgate_core.modbus import File, Space
from fieldgate_server import grants
from fieldgate_server.catalogue import FUNCTIONS
from fieldgate_server.cells import ALL_FILES
from fieldgate_server.coverage import CellGrant, Coverage
from fieldgate_server.functions import Kind
from fieldgate_server.grants import MANAGE, GrantSettings, UnitGrants
from fieldgate_server.rights import NO_RIGHTS, Rights, UnitRights

NULL_ROLE = "NULL"
_FINGERPRINT = "SHA256:[A-Za-z0-9+/]{43}"
"""As `ssh-keygen -l` prints it: the base64 of 32 bytes, without padding."""


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
        control = (function.name for function in FUNCTIONS if function.kind is Kind.CONTROL)
        words = ("identify", "diagnose", *control)
        everything = (
            GrantSettings(units="all", read="all", write="all"),
            *(GrantSettings(units="all", function=word) for word in words),
            GrantSettings(manage=MANAGE),
        )
        return _compile(OWNER_ROLE, RoleSettings(grants=everything), "quick start")

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
    units: dict[int, UnitGrants] = {}
    manage: frozenset[str] = frozenset()
    for index, grant in enumerate(role.grants):
        manage |= grants.expand(grant, f"{name}[{index}]", f"{key}.grants[{index}]", units)
    return Rights(_share(units), manage)


def _share(units: dict[int, UnitGrants]) -> dict[int, UnitRights]:
    """Compile each different set of grants once: `units = "all"` means 254 units with the same rights."""
    made: dict[object, UnitRights] = {}
    rights: dict[int, UnitRights] = {}
    for unit, said in units.items():
        key = (_key(said.read), _key(said.write), tuple(said.named.items()))
        if key not in made:
            made[key] = UnitRights(_coverage(said.read), _coverage(said.write), said.named)
        rights[unit] = made[key]
    return rights


def _key(spaces: dict[Space, list[CellGrant]]) -> object:
    return tuple((space, tuple(cells)) for space, cells in spaces.items())


def _coverage(spaces: dict[Space, list[CellGrant]]) -> dict[Space, Coverage]:
    everywhere = spaces.get(ALL_FILES, [])
    return {
        space: Coverage([*cells, *everywhere] if isinstance(space, File) and space != ALL_FILES else cells)
        for space, cells in spaces.items()
    }
