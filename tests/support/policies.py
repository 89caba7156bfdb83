"""Random policies and requests, and a naive oracle: of each cell it asks whether any grant allows it."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

SIZE = 40
"""Registers of a random unit; addresses go a little further."""
BEYOND = 44
NOW = 1_800_000_000
EVERY_FILE = "file all"
_TABLES = ("coils", "discrete", "holding", "input")
_TYPES = {"int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "float32": "f", "int64": "q", "float64": "d"}


@dataclass(frozen=True)
class RandomGrant:
    """One grant, in numbers: runs of (space, first, last), limits of a type, and when it holds."""

    unit: int
    read: tuple[tuple[str, int, int], ...] = ()
    write: tuple[tuple[str, int, int], ...] = ()
    limits: tuple[float, float] | None = None
    kind: str = ""
    order: str = ""
    begins: int | None = None
    ends: int | None = None

    def written(self) -> dict[str, Any]:
        """Give it as the policy file has it."""
        said: dict[str, Any] = {"units": str(self.unit)}
        for key, runs in (("read", self.read), ("write", self.write)):
            if runs:
                some = (space if space == EVERY_FILE else f"{space} {first}-{last}" for space, first, last in runs)
                said[key] = ", ".join(some)
        if self.limits:
            said["values"] = f"{self.limits[0]}..{self.limits[1]}"
        if self.kind:
            said["type"] = f"{self.kind} {self.order}"
        for key, bound in (("from", self.begins), ("until", self.ends)):
            if bound is not None:
                said[key] = datetime.fromtimestamp(bound, UTC).isoformat()
        return said

    @property
    def holds(self) -> bool:
        """Tell whether it holds at NOW."""
        return (self.begins or 0) <= NOW < (self.ends or NOW + 1)

    @property
    def registers(self) -> int:
        """How many registers a value fills."""
        return struct.calcsize(f">{_TYPES[self.kind]}") // 2 if self.kind else 1


@dataclass(frozen=True)
class Asked:
    """A request, in numbers: the cells that it reads and writes, and the registers that it means to leave behind."""

    pdu: bytes
    read: tuple[tuple[str, int, int], ...] = ()
    write: tuple[tuple[str, int, int], ...] = ()
    """Runs of (space, first, count)."""


def policy(grants: Sequence[RandomGrant]) -> dict[str, Any]:
    """Give a policy whose role "r" has these grants."""
    return {"role": {"r": {"grants": [grant.written() for grant in grants]}}}


@st.composite
def _run(draw: st.DrawFn, space: str, registers: int = 1) -> tuple[str, int, int]:
    if space == EVERY_FILE:
        return space, 0, 65535
    most = BEYOND * 16 if space in {"coils", "discrete"} else BEYOND
    if draw(st.booleans()):
        return space, 0, most - most % registers - 1
    first = draw(st.integers(0, most - registers - 1))
    count = registers * draw(st.integers(1, (most - first) // registers))
    return space, first, first + count - 1


@st.composite
def _limited(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["", *_TYPES, "float32", "float64"]))
    order = draw(st.sampled_from(["ABCD", "DCBA", "BADC", "CDAB"])) if kind else ""
    low = draw(st.sampled_from([0, 3, 100] if kind in {"", "uint16", "uint32"} else [-7, 0, 3]))
    high = low + draw(st.sampled_from([0, 5, 500, 30000]))
    size = struct.calcsize(f">{_TYPES[kind]}") // 2 if kind else 1
    return {"limits": (low, high), "kind": kind, "order": order, "write": (draw(_run("holding", size)),)}


@st.composite
def grants(draw: st.DrawFn) -> RandomGrant:
    """Draw one grant."""
    spaces = st.sampled_from([*_TABLES, "holding", "file 4", "file 5", EVERY_FILE])
    some = st.lists(spaces.flatmap(_run), min_size=1, max_size=4).map(tuple)
    bound = st.none() | st.sampled_from([NOW - 1, NOW, NOW, NOW + 1])
    begins, ends = draw(bound), draw(bound)
    if begins is not None and ends is not None and begins >= ends:
        begins = None
    said: dict[str, Any] = {"unit": draw(st.sampled_from([1, 1, 1, 1, 2])), "begins": begins, "ends": ends}
    if draw(st.booleans()):
        return RandomGrant(**said, **draw(_limited()))
    return RandomGrant(**said, read=draw(st.just(()) | some), write=draw(some))


_EVERYTHING = tuple((space, 0, BEYOND * 16 if space in {"coils", "discrete"} else BEYOND) for space in _TABLES)
_READ_ALL = RandomGrant(1, read=(*_EVERYTHING, ("file 4", 0, BEYOND), ("file 5", 0, BEYOND)))
_WRITE_ALL_BUT_HOLDING = RandomGrant(1, write=tuple(run for run in _EVERYTHING if run[0] != "holding"))

_BASES = ((), (_READ_ALL,), (_WRITE_ALL_BUT_HOLDING,), (_READ_ALL, _WRITE_ALL_BUT_HOLDING))

roles = st.builds(
    lambda some, base: [*some, *base], st.lists(grants(), max_size=5), st.sampled_from([*_BASES, *_BASES[2:]])
)
"""Grants of one role. Where all but the holding registers may be written, these decide in overlaid units too."""

values = st.sampled_from([0, 0, 1, 3, 5, 8, 100, 500, 30000, 0x3F80, 0x7F80, 0x7FC0, 0xFFF9, 0xFFFF, 0xF9FF, 0x0300])
"""Registers, some of which are parts of numbers that limits are about."""


@st.composite
def requests(draw: st.DrawFn) -> Asked:
    """Draw a well-formed request."""
    code = draw(st.sampled_from([1, 2, 3, 4, 5, 6, 15, 16, 16, 20, 21, 22, 23, 24]))
    address = draw(st.integers(0, BEYOND - 1))
    count = draw(st.integers(1, 8))
    bit = 16 * address + draw(st.sampled_from([0, 0, 1, 15]))
    bits = draw(st.integers(1, 16) | st.sampled_from([16, 32, 48, 64]))
    words = draw(st.lists(values, min_size=count, max_size=count))
    data = struct.pack(f">{count}H", *words)
    head = struct.pack(">BHH", code, address, count)
    if code in {1, 2}:
        return Asked(struct.pack(">BHH", code, bit, bits), read=((("coils", "discrete")[code - 1], bit, bits),))
    if code in {3, 4}:
        return Asked(head, read=((("holding", "input")[code - 3], address, count),))
    if code == 5:
        on = draw(st.sampled_from([0, 0xFF00]))
        return Asked(struct.pack(">BHH", code, bit, on), write=(("coils", bit, 1),))
    if code == 6:
        return Asked(struct.pack(">BHH", code, address, words[0]), write=(("holding", address, 1),))
    if code == 15:
        size = (bits + 7) // 8
        packed = draw(st.binary(min_size=size, max_size=size) | st.just(bytes(size)))
        return Asked(struct.pack(">BHHB", code, bit, bits, size) + packed, write=(("coils", bit, bits),))
    if code == 16:
        return Asked(head + bytes((2 * count,)) + data, write=(("holding", address, count),))
    if code in {20, 21}:
        runs = tuple((f"file {draw(st.sampled_from([4, 5]))}", address, count) for _ in range(draw(st.integers(1, 2))))
        tail = data if code == 21 else b""
        body = b"".join(struct.pack(">BHHH", 6, int(space[5:]), first, many) + tail for space, first, many in runs)
        pdu = bytes((code, len(body))) + body
        return Asked(pdu, read=runs) if code == 20 else Asked(pdu, write=runs)
    if code == 22:
        pdu = struct.pack(">BHHH", code, address, draw(values), draw(values))
        return Asked(pdu, read=(("holding", address, 1),), write=(("holding", address, 1),))
    if code == 23:
        other = draw(st.integers(0, BEYOND - 1))
        pdu = struct.pack(">BHHHHB", code, other, 2, address, count, 2 * count) + data
        return Asked(pdu, read=(("holding", other, 2),), write=(("holding", address, count),))
    return Asked(struct.pack(">BH", 24, address), read=(("holding", address, 32),))


@st.composite
def pointed(draw: st.DrawFn) -> tuple[list[RandomGrant], Asked]:
    """Draw a role that may write nothing but values within limits to its registers, and a write near these limits."""
    bounds = st.sampled_from([(None, None)] * 3 + [(NOW, None), (None, NOW + 1), (NOW + 1, None), (NOW - 1, NOW)])
    grants = []
    for _ in range(draw(st.integers(1, 3))):
        begins, ends = draw(bounds)
        grants.append(RandomGrant(1, begins=begins, ends=ends, **draw(_limited())))
    grant = draw(st.sampled_from(grants))
    assert grant.limits is not None
    low, high = grant.limits
    _, begin, last = grant.write[0]
    blocks = draw(st.integers(1, min(3, (last + 1 - begin) // grant.registers)))
    words: list[int] = []
    for _ in range(blocks):
        inside, outside = [low, high, (low + high) // 2], [low - 1, high + 1]
        odd = [math.nan, math.inf] if grant.kind.startswith("float") else []
        value = draw(st.sampled_from([*inside, *inside, *outside, *odd]))
        words += encode(value, grant.kind or "uint16", grant.order or "ABCD")
    first = begin + grant.registers * draw(st.integers(0, (last + 1 - begin) // grant.registers - blocks))
    cut = draw(st.sampled_from([0, 0, 0, 1]))
    words, first = words[cut:] or words, first + (cut if words[cut:] else 0)
    data = struct.pack(f">{len(words)}H", *words)
    how = draw(st.sampled_from([6, 15, 15, 15, 16, 16, 16, 23]))
    run = (("holding", first, len(words)),)
    if how == 6:
        return [*grants, _READ_ALL, _WRITE_ALL_BUT_HOLDING], Asked(
            struct.pack(">BHH", 6, first, words[0]), write=(("holding", first, 1),)
        )
    if how == 15:
        # the same registers as coils, perhaps not all of them
        skipped, dropped = draw(st.sampled_from([(0, 0), (0, 0), (1, 0), (0, 1), (15, 15), (8, 0)]))
        bits = int.from_bytes(b"".join(word.to_bytes(2, "little") for word in words), "little") >> skipped
        count = 16 * len(words) - skipped - dropped
        count = count if count > 0 else 1
        packed = (bits & ((1 << count) - 1)).to_bytes((count + 7) // 8, "little")
        at = 16 * first + skipped
        asked = Asked(struct.pack(">BHHB", 15, at, count, len(packed)) + packed, write=(("coils", at, count),))
    elif how == 16:
        asked = Asked(struct.pack(">BHHB", 16, first, len(words), len(data)) + data, write=run)
    else:
        pdu = struct.pack(">BHHHHB", 23, 0, 1, first, len(words), len(data)) + data
        asked = Asked(pdu, read=(("holding", 0, 1),), write=run)
    return [*grants, _READ_ALL, _WRITE_ALL_BUT_HOLDING], asked


def shown(layout: str, space: str, cell: int) -> set[tuple[str, int]]:
    """Name all tables and addresses under which the storage of a cell is seen."""
    if layout == "separate" or space.startswith("file"):
        return {(space, cell)}
    if space in {"coils", "discrete"}:
        same = {("coils", cell), ("discrete", cell)}
        return same | ({("holding", cell // 16), ("input", cell // 16)} if layout == "overlaid" else set())
    same = {("holding", cell), ("input", cell)}
    return same | {(bits, 16 * cell + n) for bits in _TABLES[:2] for n in range(16 if layout == "overlaid" else 0)}


def result(asked: Asked, layout: str, held: Sequence[int]) -> dict[int, int | None]:
    """Give the registers that a write means to leave behind: None where that is not there."""
    pdu, code = asked.pdu, asked.pdu[0]
    found: dict[int, int | None] = {}
    for space, first, count in asked.write:
        if code == 22:
            and_mask, or_mask = struct.unpack(">HH", pdu[3:])
            known = first < len(held)
            found[first] = (held[first] & and_mask) | (or_mask & (and_mask ^ 0xFFFF)) if known else None
        elif space == "holding":
            at = {6: 3, 16: 6, 23: 10}[code]
            found |= dict(zip(range(first, first + count), struct.unpack(f">{count}H", pdu[at:]), strict=True))
        elif space == "coils" and layout == "overlaid":
            for bit in range(first, first + count):
                register = bit // 16
                now = found.get(register, held[register] if register < len(held) else None)
                on = pdu[3] == 0xFF if code == 5 else pdu[6 + (bit - first) // 8] >> (bit - first) % 8 & 1
                found[register] = None if now is None else now & ~(1 << bit % 16) | (bool(on) << bit % 16)
    return found


def allows(asked: Asked, grants: Sequence[RandomGrant], layout: str, held: Sequence[int], *, unit: int = 1) -> bool:
    """Tell whether each cell of a request is allowed by any of the grants."""
    mine = [grant for grant in grants if grant.unit == unit and grant.holds]
    for space, first, count in asked.read:
        for cell in range(first, first + count):
            for name, address in shown(layout, space, cell):
                if not any(_has(grant.read, name, address) for grant in mine):
                    return False
    left = result(asked, layout, held)
    whole = _entirely(asked)
    for space, first, count in asked.write:
        for cell in range(first, first + count):
            for name, address in shown(layout, space, cell):
                if not any(_may_write(grant, name, address, left, whole) for grant in mine):
                    return False
    return True


def _has(runs: Sequence[tuple[str, int, int]], space: str, cell: int) -> bool:
    names = {space, EVERY_FILE} if space.startswith("file") else {space}
    return any(name in names and first <= cell <= last for name, first, last in runs)


def _entirely(asked: Asked) -> set[int]:
    """Give the registers of which every bit is written."""
    found: set[int] = set()
    for space, first, count in asked.write:
        if space == "holding":
            found |= set(range(first, first + count))
        elif space == "coils":
            bits = set(range(first, first + count))
            found |= {bit // 16 for bit in bits if set(range(bit // 16 * 16, bit // 16 * 16 + 16)) <= bits}
    return found


def _may_write(grant: RandomGrant, space: str, cell: int, left: dict[int, int | None], whole: set[int]) -> bool:
    if not _has(grant.write, space, cell):
        return False
    if grant.limits is None or space != "holding":
        return True
    size = grant.registers
    begin = grant.write[0][1]
    block = range(begin + (cell - begin) // size * size, begin + (cell - begin) // size * size + size)
    if size > 1 and not set(block) <= whole:
        return False
    words = [left[register] for register in block]
    known = [word for word in words if word is not None]
    if len(known) < len(words):
        # no register is there that a value could be outside of
        return True
    value = decode(known, grant.kind or "uint16", grant.order or "ABCD")
    return math.isfinite(value) and grant.limits[0] <= value <= grant.limits[1]


def decode(words: Sequence[int], kind: str, order: str) -> float:
    """Decode registers letter by letter: each pair of letters says which byte of a register goes where."""
    value: float = struct.unpack(f">{_TYPES[kind]}", _arranged(struct.pack(f">{len(words)}H", *words), order))[0]
    return value


def encode(value: float, kind: str, order: str) -> tuple[int, ...]:
    """Give the registers of a value, of zeros for one that the type does not hold."""
    form = f">{_TYPES[kind]}"
    try:
        data = struct.pack(form, value)
    except struct.error:
        data = bytes(struct.calcsize(form))
    return struct.unpack(f">{len(data) // 2}H", _arranged(data, order))


def _arranged(data: bytes, order: str) -> bytes:
    if order in {"BADC", "DCBA"}:
        data = b"".join(data[at + 1 : at + 2] + data[at : at + 1] for at in range(0, len(data), 2))
    if order in {"CDAB", "DCBA"}:
        data = b"".join(data[at : at + 2] for at in range(len(data) - 2, -1, -2))
    return data
