"""One grant as it is written, and what its words mean; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import ADDRESSES, Space, Table
from fieldgate_server import cells, periods, typed
from fieldgate_server.catalogue import BY_NAME, FUNCTIONS
from fieldgate_server.cells import ALL_FILES
from fieldgate_server.coverage import CellGrant
from fieldgate_server.functions import Kind
from fieldgate_server.layout import Cells
from fieldgate_server.periods import Period

FIRST_UNIT, LAST_UNIT = 1, 254
VIEW, STATUS, RELOAD, LOCK, KICK, STOP = "view", "status", "reload", "lock", "kick", "stop"
MANAGE = (VIEW, STATUS, RELOAD, LOCK, KICK, STOP)
"""What a role may be granted to do with the server itself."""
BY_NAME_OR_CLASS = frozenset({Kind.IDENTIFY, Kind.DIAGNOSE, Kind.CONTROL})
"""Classes of the functions that are granted by themselves; all others are by the cells that they mean."""
_BY_CLASS = {
    str(kind): tuple(function.name for function in FUNCTIONS if function.kind is kind)
    for kind in (Kind.IDENTIFY, Kind.DIAGNOSE)
}


@dataclass(frozen=True)
class GrantSettings:
    """One grant as written: units, cells to read and write, limits on values, a function, what it manages, and when."""

    units: str = ""
    read: str = ""
    write: str = ""
    values: str = ""
    type: str = ""
    function: str = ""
    manage: tuple[str, ...] = ()
    from_: str | date = ""
    until: str | date = ""


class Grant(NamedTuple):
    """What a grant says: on which units which cells may be read and written, which functions, and when it holds."""

    name: str
    units: tuple[int, ...]
    read: tuple[tuple[Space, CellGrant], ...]
    write: tuple[tuple[Space, CellGrant], ...]
    functions: tuple[str, ...]
    manage: tuple[str, ...]
    period: Period


def compile_grant(written: GrantSettings, name: str, key: str) -> Grant:
    """Compile one grant. Raises ConfigError that names the key path."""
    manage = _manage(written, f"{key}.manage")
    reads = _cells(written.read, f"{key}.read")
    writes = _cells(written.write, f"{key}.write")
    functions = _functions(written.function, f"{key}.function")
    period = _period(written, key)
    if not (reads or writes or functions or manage):
        raise ConfigError(key, "grants nothing", hint='say what it allows: read, write, function or manage = ["..."]')
    without_units = not (reads or writes or functions or written.units)
    units = () if without_units else _units(written.units, f"{key}.units")
    if units and not (reads or writes or functions):
        raise ConfigError(key, "grants nothing", hint="manage needs no units; else say read, write or function")
    return Grant(
        name,
        units,
        tuple((cell.space, CellGrant(cell.start, cell.start + cell.quantity, None, None, name)) for cell in reads),
        _writes(written, writes, name, key),
        functions,
        manage,
        period,
    )


def _writes(written: GrantSettings, writes: list[Cells], name: str, key: str) -> tuple[tuple[Space, CellGrant], ...]:
    number = typed.PLAIN
    low: float | None = None
    high: float | None = None
    if written.type.strip():
        try:
            number = typed.parse(written.type)
        except ValueError as error:
            raise ConfigError(f"{key}.type", str(error), hint=typed.HINT) from None
    if written.values.strip():
        if {cell.space for cell in writes} != {Table.HOLDING}:
            raise ConfigError(f"{key}.values", "limits belong to a write of holding registers and nothing else")
        try:
            low, high = typed.limits(written.values, number)
        except ValueError as error:
            hint = 'the lowest and the highest value: "0..500", within 0..65535 where no type is named'
            raise ConfigError(f"{key}.values", str(error), hint=hint) from None
    elif written.type.strip():
        raise ConfigError(f"{key}.type", "a type belongs to limits on values", hint='say which: values = "0..50"')
    for cell in writes:
        if cell.quantity % number.registers:
            raise ConfigError(
                f"{key}.write",
                f"{cell} cannot be whole values: {number.type} fills {number.registers} registers",
                hint=f"name a multiple of {number.registers} registers, from the first one of a value",
            )
    return tuple(
        (cell.space, CellGrant(cell.start, cell.start + cell.quantity, low, high, name, number)) for cell in writes
    )


def _units(text: str, key: str) -> tuple[int, ...]:
    """Read "all", "3", "1-4" or a list of these with commas. 0 and 255 are other names of the default unit."""
    if not text:
        raise ConfigError(key, "is missing", hint='name the units: "all", "3" or "1-4"')
    if text.strip() == "all":
        return tuple(range(FIRST_UNIT, LAST_UNIT + 1))
    units: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,3})(?:\s*-\s*([0-9]{1,3}))?\s*", part)
        first = int(match[1]) if match else -1
        last = int(match[2]) if match and match[2] else first
        if not FIRST_UNIT <= first <= last <= LAST_UNIT:
            raise ConfigError(key, f"{part.strip()!r} is no unit", hint='"all", "3" or "1-4", from 1 to 254')
        units.update(dict.fromkeys(range(first, last + 1)))
    return tuple(units)


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
        if re.fullmatch("0[xX][0-9A-Fa-f]{2}", wanted):
            hint = "an opaque code has a meaning on a bridged device only, and no unit here is one"
        else:
            named = ", ".join(name for name, known in BY_NAME.items() if known.kind in BY_NAME_OR_CLASS)
            hint = f"identify, diagnose, or one of {named}"
        raise ConfigError(key, f"{wanted!r} is no function that is served", hint=hint)
    if function.kind not in BY_NAME_OR_CLASS:
        raise ConfigError(key, f"function {wanted} is granted by its cells", hint=f'{function.kind} = "holding 0-9"')
    return (function.name,)


def _manage(grant: GrantSettings, key: str) -> tuple[str, ...]:
    for word in grant.manage:
        if word not in MANAGE:
            raise ConfigError(key, f"{word!r} is nothing to manage", hint=f"known here: {', '.join(MANAGE)}")
    return grant.manage


def _period(grant: GrantSettings, key: str) -> Period:
    bounds: list[float | None] = []
    for name, written in (("from", grant.from_), ("until", grant.until)):
        try:
            bounds.append(None if written == "" else periods.moment(written))
        except ValueError as error:
            raise ConfigError(f"{key}.{name}", str(error), hint=periods.HINT) from None
    begins, ends = bounds
    if begins is not None and ends is not None and begins >= ends:
        raise ConfigError(f"{key}.until", "comes before the grant begins", hint="until is the moment at which it ends")
    return Period(begins, ends)
