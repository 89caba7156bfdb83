"""One grant as it is written, and what its words mean; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import ADDRESSES, Space, Table
from fieldgate_server import cells
from fieldgate_server.catalogue import BY_NAME, FUNCTIONS
from fieldgate_server.cells import ALL_FILES
from fieldgate_server.coverage import CellGrant
from fieldgate_server.functions import Kind
from fieldgate_server.layout import Cells

FIRST_UNIT, LAST_UNIT = 1, 254
STOP = "stop"
MANAGE = (STOP,)
"""What a role may be granted to do with the server itself."""
_NAMED = {Kind.IDENTIFY, Kind.DIAGNOSE, Kind.CONTROL}
_BY_CLASS = {
    str(kind): tuple(function.name for function in FUNCTIONS if function.kind is kind)
    for kind in (Kind.IDENTIFY, Kind.DIAGNOSE)
}


@dataclass(frozen=True)
class GrantSettings:
    """One grant as written: units, cells to read and write, a limit on values, a function, or what it may manage."""

    units: str = ""
    read: str = ""
    write: str = ""
    values: str = ""
    function: str = ""
    manage: tuple[str, ...] = ()


@dataclass
class UnitGrants:
    """What grants say about one unit."""

    read: dict[Space, list[CellGrant]] = field(default_factory=dict)
    write: dict[Space, list[CellGrant]] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)


def expand(grant: GrantSettings, label: str, key: str, units: dict[int, UnitGrants]) -> frozenset[str]:
    """Add what a grant says to `units`, and give what it lets manage. Raises ConfigError that names the key path."""
    manage = _manage(grant, f"{key}.manage")
    reads = _cells(grant.read, f"{key}.read")
    writes = _cells(grant.write, f"{key}.write")
    functions = _functions(grant.function, f"{key}.function")
    if not (reads or writes or functions):
        if manage and not grant.units:
            return manage
        raise ConfigError(key, "grants nothing", hint='say what it allows: read, write, function or manage = "..."')
    low, high = _limits(grant.values, f"{key}.values")
    if low is not None and (not writes or {space for space, _, _ in writes} != {Table.HOLDING}):
        raise ConfigError(f"{key}.values", "limits belong to a write of holding registers and nothing else")
    if not grant.units:
        raise ConfigError(f"{key}.units", "is missing", hint='name the units: "all", "3" or "1-4"')
    for unit in _units(grant.units, f"{key}.units"):
        said = units.setdefault(unit, UnitGrants())
        for space, start, quantity in reads:
            said.read.setdefault(space, []).append(CellGrant(start, start + quantity, None, None, label))
        for space, start, quantity in writes:
            said.write.setdefault(space, []).append(CellGrant(start, start + quantity, low, high, label))
        for function in functions:
            said.named.setdefault(function, label)
    return manage


def _units(text: str, key: str) -> list[int]:
    """Read "all", "3", "1-4" or a list of these with commas. 0 and 255 are other names of the default unit."""
    if text.strip() == "all":
        return list(range(FIRST_UNIT, LAST_UNIT + 1))
    units: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,3})(?:\s*-\s*([0-9]{1,3}))?\s*", part)
        first = int(match[1]) if match else -1
        last = int(match[2]) if match and match[2] else first
        if not FIRST_UNIT <= first <= last <= LAST_UNIT:
            raise ConfigError(key, f"{part.strip()!r} is no unit", hint='"all", "3" or "1-4", from 1 to 254')
        units.update(dict.fromkeys(range(first, last + 1)))
    return list(units)


def _cells(text: str, key: str) -> list[Cells]:
    """Read cells, or "all": the four tables and all files."""
    if text.strip() == "all":
        return [Cells(space, 0, ADDRESSES) for space in (*Table, ALL_FILES)]
    try:
        return cells.parse(text)
    except ValueError as error:
        raise ConfigError(key, str(error), hint=f'"all", or {cells.HINT}') from None


def _functions(text: str, key: str) -> tuple[str, ...]:
    """Read "identify", "diagnose", or one function by its exact name: "43/14", "8/0A"."""
    wanted = text.strip()
    if not wanted:
        return ()
    if wanted in _BY_CLASS:
        return _BY_CLASS[wanted]
    code, slash, sub = wanted.partition("/")
    function = BY_NAME.get(f"{code}/{sub.upper()}" if slash else code)
    if function is None:
        named = ", ".join(name for name, known in BY_NAME.items() if known.kind in _NAMED)
        raise ConfigError(
            key, f"{wanted!r} is no function that is served", hint=f"identify, diagnose, or one of {named}"
        )
    if function.kind not in _NAMED:
        raise ConfigError(key, f"function {wanted} is granted by its cells", hint=f'{function.kind} = "holding 0-9"')
    return (function.name,)


def _manage(grant: GrantSettings, key: str) -> frozenset[str]:
    for word in grant.manage:
        if word not in MANAGE:
            raise ConfigError(key, f"{word!r} is nothing to manage", hint=f"known here: {', '.join(MANAGE)}")
    return frozenset(grant.manage)


def _limits(text: str, key: str) -> tuple[int | None, int | None]:
    """Read "0..500"."""
    if not text.strip():
        return None, None
    match = re.fullmatch(r"\s*([0-9]{1,5})\s*\.\.\s*([0-9]{1,5})\s*", text)
    if not match or not int(match[1]) <= int(match[2]) <= 0xFFFF:
        hint = 'the lowest and the highest value: "0..500", within 0..65535'
        raise ConfigError(key, f"{text!r} is no limit", hint=hint)
    return int(match[1]), int(match[2])
