"""Read the inventory: who there is, under which names, in which role, for how long, and by which CA; pure."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import NamedTuple, cast

from fieldgate_certs.subjects import Client, Server, Subject
from fieldgate_certs.validity import DEFAULT_DAYS
from fieldgate_core.errors import PkiError

_KEYS = {
    Server.kind: frozenset({"dns", "ip", "days", "ca"}),
    Client.kind: frozenset({"role", "source_address", "days", "ca"}),
}
_EXAMPLE = '[server.box-1] dns = ["box-1.plant-a.example"], or [client.ana] role = "operator"; see docs/pki.md'


class Entry(NamedTuple):
    """What a holder is given: `days` of life, by the issuing CA `ca` (None: the one that `init` made)."""

    subject: Subject
    days: int = DEFAULT_DAYS
    ca: str | None = None


def find(text: str, name: str, where: str) -> Entry:
    """Read the entry of `name`, or of server/NAME or client/NAME. Raises PkiError that names `where` and the key."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PkiError(where, f"is not TOML: {error}") from None
    unknown = sorted(tables.keys() - _KEYS.keys())
    if unknown:
        raise PkiError(where, f"unknown table {', '.join(unknown)}", hint=_EXAMPLE)
    kind, slash, short = name.partition("/")
    wanted = [(kind, short)] if slash else [(kind, name) for kind in _KEYS]
    found = [(kind, short, _table(tables.get(kind, {}), f"{where}: {kind}")) for kind, short in wanted]
    entries = [(kind, short, holders[short]) for kind, short, holders in found if short in holders]
    if not entries:
        raise PkiError(where, f"has no entry for {name}", hint=_EXAMPLE)
    if len(entries) > 1:
        raise PkiError(where, f"has a server and a client {name}", hint=f"say server/{name} or client/{name}")
    kind, short, entry = entries[0]
    return _entry(kind, short, _table(entry, f"{where}: {kind}.{short}"), f"{where}: {kind}.{short}")


def _entry(kind: str, name: str, entry: Mapping[str, object], where: str) -> Entry:
    unknown = sorted(entry.keys() - _KEYS[kind])
    if unknown:
        raise PkiError(where, f"unknown key {', '.join(unknown)}", hint=f"known are {', '.join(sorted(_KEYS[kind]))}")
    days, ca = entry.get("days", DEFAULT_DAYS), entry.get("ca")
    if not isinstance(days, int) or isinstance(days, bool):
        raise PkiError(f"{where}.days", "is not a whole number")
    if ca is not None and not isinstance(ca, str):
        raise PkiError(f"{where}.ca", "is not the name of an issuing CA")
    if kind == Server.kind:
        server = Server.parse(name, _texts(entry, "dns", where), _texts(entry, "ip", where))
        return Entry(server, days, ca)
    role = entry.get("role")
    if not isinstance(role, str):
        raise PkiError(f"{where}.role", "is missing, or is not text", hint='for example role = "operator"')
    return Entry(Client.parse(name, role, _texts(entry, "source_address", where)), days, ca)


def _table(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise PkiError(where, "is not a table", hint=_EXAMPLE)
    return cast("dict[str, object]", value)


def _texts(entry: Mapping[str, object], key: str, where: str) -> list[str]:
    value = entry.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise PkiError(f"{where}.{key}", "is not a list of texts", hint=f'for example {key} = ["..."]')
    return value
