"""A matrix of requests, and a naive model of the guard's rules that answers them; shares no code with fieldgate."""

from __future__ import annotations

import re
import struct
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from support.oracle import Oracle

BITS, REGISTERS = ("coils", "discrete"), ("holding", "input")
LAST = 65535
ADDRESSES = LAST + 1
PACKED = 4096
DEFAULT_UNIT, MISSING = 1, 9
ALIASES = (0, 255)
ASKED_UNITS = (1, 2, 3, MISSING, *ALIASES)
FILE = "file 4"
EVERY_FILE = "file all"
SIZES = {"coils": 100, "discrete": 100, "holding": 200, "input": 100}
"""The tables of unit 1; those of the others have all addresses."""
RECORDS = 60
HELD = 5
"""What every register holds; it is also the count of every queue (FC24). Coils of units 1 and 2 are off."""
OUTPUTS = 16
"""The first of the eight coils that unit 1 shows by FC7."""

SITE = f"""[[unit]]
id = 1
default = true
exception_status = {OUTPUTS}
coils = {{ size = {SIZES["coils"]} }}
discrete = {{ size = {SIZES["discrete"]} }}
holding = {{ size = {SIZES["holding"]}, initial = {HELD} }}
input = {{ size = {SIZES["input"]}, initial = {HELD} }}
file = [{{ number = 4, records = {RECORDS}, initial = {HELD} }}]
[[unit]]
id = 2
layout = "unified"
holding = {{ initial = {HELD} }}
file = [{{ number = 4, records = {RECORDS}, initial = {HELD} }}]
[[unit]]
id = 3
layout = "overlaid"
holding = {{ initial = {HELD} }}
file = [{{ number = 4, records = {RECORDS}, initial = {HELD} }}]
"""
LAYOUTS = {1: "separate", 2: "unified", 3: "overlaid"}


def _both(units: str, cells: str) -> str:
    return f'{{ units = "{units}", read = "{cells}", write = "{cells}" }}'


ROLES = {
    "viewer": '[{ units = "all", read = "all" }]',
    "operator": """[
{ units = "1-3, 9", read = "coils 0-63, discrete 0-63, holding 0-49, input 0-49, file 4 0-49" },
{ units = "3", read = "coils 64-799, discrete 64-799, coils 65440-65535, discrete 65440-65535" },
{ units = "2-3", read = "holding 4090-4100, input 4090-4100, holding 65500-65535, input 65500-65535" },
{ units = "2", read = "coils 65500-65535, discrete 65500-65535" },
{ units = "1", read = "holding 150-209" },
{ units = "1-3", write = "holding 10-19", values = "0..500" },
{ units = "1-3", write = "holding 22-25" },
{ units = "1-3, 9", write = "coils 8-23, discrete 8-23, input 0-49, file 4 10-19" },
{ units = "1", write = "holding 190-209", values = "0..500" },
{ units = "1", write = "coils 90-109, file 4 50-69" },
{ units = "2-3", write = "holding 30-33", values = "0..330000", type = "uint32 ABCD" },
{ units = "3", write = "coils 480-543, discrete 480-543" },
{ units = "2-3", write = "holding 65530-65535", values = "4..500" },
{ units = "2-3", write = "input 65530-65535" },
{ units = "3", write = "holding 0-1", values = "0..500" },
{ units = "3", write = "coils 160-319, discrete 160-319, coils 352-415, discrete 352-415" },
{ units = "3", write = "holding 4090-4097", values = "0..500" },
{ units = "3", write = "input 4090-4100, coils 65440-65535, discrete 65440-65535" },
{ units = "1", function = "identify" },
{ units = "1", function = "diagnose" },
]""",
    "adjoining": f"""[
{_both("1-3", "coils 0-7, discrete 0-7, holding 0-14, input 0-14, file 4 0-4")},
{_both("1-3", "coils 8-15, discrete 8-15, holding 15-29, input 15-29, file 4 5-9")},
{_both("1-3, 9", "coils 24-31, holding 40-44, input 40-44, file 4 12-14")},
{_both("3", "coils 16-239, discrete 16-239")},
{_both("3", "coils 240-479, discrete 240-479, coils 640-719, discrete 640-719")},
{_both("2-3", "holding 4080-4095, input 4080-4095")},
{_both("2-3", "holding 4096-4110, input 4096-4110")},
{_both("3", "coils 65280-65535, discrete 65280-65535")},
]""",
    "named": """[
{ units = "all", function = "identify" },
{ units = "1-2", function = "diagnose" },
{ units = "1-2", function = "8/01" },
{ units = "1-2", function = "8/03" },
{ units = "1-2", function = "8/04" },
{ units = "9", function = "diagnose" },
{ units = "9", function = "8/01" },
{ units = "9", function = "8/03" },
{ units = "9", function = "8/04" },
{ units = "9", function = "8/14" },
{ units = "1, 9", function = "8/0A" },
{ units = "2", function = "8/14" },
]""",
    "nothing": "[]",
}
"""The grants of each role, as the policy file has them."""

Run = tuple[str, int, int]
"""Table, first address, count."""


@dataclass(frozen=True)
class Ask:
    """A request to the unit identifier `unit`: the function's name, and the cells that it means if it is `sound`."""

    unit: int
    name: str
    pdu: bytes
    reads: tuple[Run, ...] = ()
    writes: tuple[Run, ...] = ()
    sound: bool = True

    @property
    def number(self) -> int:
        """The unit that is meant."""
        return DEFAULT_UNIT if self.unit in ALIASES else self.unit


@dataclass(frozen=True)
class Answer:
    """At which step a request ends, and its reply: all of it, or its first byte; None: there is none."""

    step: str
    reply: bytes | None
    leaves: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """What the written cells hold then, by the table that stores them."""

    @property
    def code(self) -> int | None:
        """The exception code."""
        return self.reply[1] if self.reply and self.reply[0] & 0x80 else None


@dataclass(frozen=True)
class _Grant:
    units: frozenset[int]
    read: tuple[tuple[str, range], ...]
    write: tuple[tuple[str, range], ...]
    functions: frozenset[str]
    values: tuple[int, int] | None
    registers: int


DIAGNOSE = ("7", "8/00", "8/02", *(f"8/{sub:02X}" for sub in range(0x0B, 0x13)), "11", "12")
IDENTIFY = ("17", "43/14")
CONTROL = ("8/01", "8/03", "8/04", "8/0A", "8/14")
_CLASSES = {"diagnose": DIAGNOSE, "identify": IDENTIFY}
_READS = dict(zip(("1", "2", "3", "4"), (*BITS, *REGISTERS), strict=True)) | dict.fromkeys(
    ("22", "23", "24"), "holding"
)
_WRITES = dict.fromkeys(("5", "15"), "coils") | dict.fromkeys(("6", "16", "22", "23"), "holding")


def _numbers(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _cells(text: str) -> Iterator[tuple[str, range]]:
    for part in text.split(",") if text else ():
        if part == "all":
            yield from ((table, range(ADDRESSES)) for table in (*BITS, *REGISTERS, EVERY_FILE))
        else:
            table, _, numbers = part.strip().rpartition(" ")
            yield table, _numbers(numbers)


def grants(text: str) -> list[_Grant]:
    """Read the grants of one role."""
    found = []
    for one in tomllib.loads(f"grants = {text}")["grants"]:
        units = one["units"]
        word = one.get("function", "")
        low, _, high = one.get("values", "").partition("..")
        found.append(
            _Grant(
                frozenset(n for part in units.replace("all", "1-254").split(",") for n in _numbers(part)),
                tuple(_cells(one.get("read", ""))),
                tuple(_cells(one.get("write", ""))),
                frozenset(_CLASSES.get(word, (word,) if word else ())),
                (int(low), int(high)) if high else None,
                2 if "type" in one else 1,
            )
        )
    return found


def shown(layout: str, table: str, address: int) -> list[tuple[str, int]]:
    """Name all tables and addresses under which the storage of a cell is seen."""
    if layout == "separate" or table.startswith("file"):
        return [(table, address)]
    if table in BITS:
        found = [(name, address) for name in BITS]
        return [*found, *((name, address // 16) for name in REGISTERS)] if layout == "overlaid" else found
    found = [(name, address) for name in REGISTERS]
    if layout == "overlaid" and address < PACKED:
        found += [(name, 16 * address + bit) for name in BITS for bit in range(16)]
    return found


def oracle(unit: int) -> Oracle:
    """Give a unit of the site, as it is at first."""
    files = {4: [HELD] * RECORDS}
    if unit == 1:
        holding, inputs = ([HELD] * SIZES[table] for table in REGISTERS)
        coils, discrete = ([0] * SIZES[table] for table in BITS)
        return Oracle(holding, inputs, coils, discrete, files=files)
    holding = [HELD] * ADDRESSES
    if unit == 3:
        return Oracle(holding, holding, packed=True, files=files)
    coils = [0] * ADDRESSES
    return Oracle(holding, holding, coils, coils, files=files)


class Model:
    """One role before the units of the site, which are as they are at first; only silence (FC8/04) is remembered."""

    def __init__(self, role: str) -> None:
        self._grants = grants(ROLES[role])
        self._oracles = {unit: oracle(unit) for unit in LAYOUTS}
        self._silent: set[int] = set()

    def answer(self, ask: Ask) -> Answer:
        """Answer by guard.md's order of answers."""
        unit = ask.number
        mine = [grant for grant in self._grants if unit in grant.units]
        if unit in self._silent:
            if ask.name == "8/01" and ask.sound and self._function(mine, ask):
                self._silent.remove(unit)
                return Answer("done", None)
            return Answer("silence", None)
        if not self._grants:
            return self._no("identity", ask, 0x01)
        if not self._function(mine, ask):
            return self._no("function", ask, 0x01)
        if unit not in LAYOUTS:
            return self._no("unit", ask, 0x0A)
        if not ask.sound:
            return self._no("malformed", ask, 0x03)
        if not self._cells(mine, unit, ask):
            return self._no("cells", ask, 0x01)
        return self._carry_out(unit, ask)

    @staticmethod
    def _no(step: str, ask: Ask, code: int) -> Answer:
        return Answer(step, bytes((ask.pdu[0] | 0x80, code)))

    @staticmethod
    def _function(mine: Sequence[_Grant], ask: Ask) -> bool:
        """Tell whether there is any right to this function on this unit."""
        code, _, sub = ask.name.partition("/")
        if code in {"8", "43"} and not sub:
            # too short to show its sub-code
            return any(name.startswith(f"{code}/") for grant in mine for name in grant.functions)
        if code in {"20", "21"}:
            return any(
                table.startswith("file") for grant in mine for table, _ in (grant.read if code == "20" else grant.write)
            )
        if code in _READS or code in _WRITES:
            reads = code not in _READS or any(table == _READS[code] for grant in mine for table, _ in grant.read)
            return reads and (
                code not in _WRITES or any(table == _WRITES[code] for grant in mine for table, _ in grant.write)
            )
        return any(ask.name in grant.functions for grant in mine)

    def _cells(self, mine: Sequence[_Grant], unit: int, ask: Ask) -> bool:
        layout = LAYOUTS[unit]
        left = result(ask, self._oracles[unit], layout)
        whole = _entirely(ask)
        for table, first, count in ask.reads:
            for address in range(first, min(first + count, ADDRESSES)):
                for name, cell in shown(layout, table, address):
                    if not any(_has(grant.read, name, cell) for grant in mine):
                        return False
        for table, first, count in ask.writes:
            for address in range(first, min(first + count, ADDRESSES)):
                for name, cell in shown(layout, table, address):
                    if not any(_may_write(grant, name, cell, left, whole) for grant in mine):
                        return False
        return True

    def _carry_out(self, unit: int, ask: Ask) -> Answer:
        code = ask.pdu[0]
        if ask.name in {*DIAGNOSE, *IDENTIFY, *CONTROL}:
            if ask.name == "8/04":
                self._silent.add(unit)
                return Answer("done", None)
            return Answer("done", bytes((code,)))
        device = oracle(unit) if ask.writes else self._oracles[unit]
        reply = device.answer(ask.pdu)
        if reply[0] & 0x80:
            return Answer("address", reply)
        leaves = {}
        for table, first, count in ask.writes:
            for address in range(first, first + count):
                if table.startswith("file"):
                    leaves[table, address] = device.files[4][address]
                elif table == "holding":
                    leaves[table, address] = device.holding[address]
                elif device.packed:
                    leaves["holding", address // 16] = device.holding[address // 16]
                else:
                    leaves[table, address] = device.coils[address]
        return Answer("done", reply, leaves)


def result(ask: Ask, device: Oracle, layout: str) -> dict[int, int | None]:
    """Give the registers that a write means to leave behind: None where that is not there."""
    pdu, found = ask.pdu, dict[int, int | None]()
    for table, first, count in ask.writes:
        if ask.name == "22":
            there = first < len(device.holding)
            and_mask, or_mask = struct.unpack(">HH", pdu[3:])
            found[first] = device.holding[first] & and_mask | or_mask & ~and_mask & 0xFFFF if there else None
        elif table == "holding":
            at = {"6": 3, "16": 6, "23": 10}[ask.name]
            found |= dict(zip(range(first, first + count), struct.unpack(f">{count}H", pdu[at:]), strict=True))
        elif table == "coils" and layout == "overlaid":
            for number, bit in enumerate(coils_of(ask)):
                register, mask = (first + number) // 16, 1 << (first + number) % 16
                now = found.get(register, device.holding[register] if register < PACKED else None)
                found[register] = None if now is None else now | mask if bit else now & ~mask
    return found


def coils_of(ask: Ask) -> list[int]:
    """Give the coils that FC5 or FC15 writes."""
    if ask.name == "5":
        return [ask.pdu[3] >> 7]
    return [ask.pdu[6 + at // 8] >> at % 8 & 1 for at in range(ask.writes[0][2])]


def _entirely(ask: Ask) -> set[int]:
    """Give the registers of which every bit is written."""
    found: set[int] = set()
    for table, first, count in ask.writes:
        cells = set(range(first, first + count))
        if table == "holding":
            found |= cells
        elif table == "coils":
            found |= {bit // 16 for bit in cells if all(16 * (bit // 16) + at in cells for at in (0, 15))}
    return found


def _has(runs: Sequence[tuple[str, range]], table: str, address: int) -> bool:
    names = {table, EVERY_FILE} if table.startswith("file") else {table}
    return any(name in names and address in run for name, run in runs)


def _may_write(grant: _Grant, table: str, address: int, left: Mapping[int, int | None], whole: set[int]) -> bool:
    if not _has(grant.write, table, address):
        return False
    if grant.values is None:
        return True
    first = grant.write[0][1].start
    begin = address - (address - first) % grant.registers
    block = range(begin, begin + grant.registers)
    if grant.registers > 1 and not whole.issuperset(block):
        return False
    value = 0
    for register in block:
        word = left[register]
        if word is None:
            # no register is there that a value could be outside of
            return True
        value = value * 0x10000 + word
    return grant.values[0] <= value <= grant.values[1]


# the matrix


def asks(role: str) -> Iterator[Ask]:
    """Give all requests of a role: to every unit, by every function, at every edge of its grants and of the tables."""
    for unit in ASKED_UNITS:
        yield from _rare(unit)
        for edges, makers in (
            (_edges(role, unit, BITS), _BIT_MAKERS),
            (_edges(role, unit, REGISTERS), _REGISTER_MAKERS),
            (_edges(role, unit, (FILE,)), _FILE_MAKERS),
        ):
            for make in makers:
                yield from dict.fromkeys(one for first, count in edges for one in make(unit, first, count))
        yield from _unsound(unit)


def _edges(role: str, unit: int, tables: tuple[str, ...]) -> list[tuple[int, int]]:
    """Give runs of cells: the first, the last, one before, one past, all, more, less, across; of tables and grants."""
    number = DEFAULT_UNIT if unit in ALIASES else unit
    size = RECORDS if tables == (FILE,) else SIZES[tables[0]] if number == 1 else ADDRESSES
    spans = {(0, size), (0, ADDRESSES)}
    if LAYOUTS.get(number) == "overlaid" and tables != (FILE,):
        spans.add((0, PACKED))
    for grant in grants(ROLES[role]):
        for table, run in (*grant.read, *grant.write) if number in grant.units else ():
            if table in tables:
                spans.add((run.start, run.stop))
            elif LAYOUTS.get(number) == "overlaid" and table in BITS + REGISTERS:
                many = tables == BITS
                spans.add((16 * run.start, 16 * run.stop) if many else (run.start // 16, -(-run.stop // 16)))
    found = dict[tuple[int, int], None]()
    for start, stop in sorted(spans):
        runs = [(start, 1), (stop - 1, 1), (start - 1, 1), (stop, 1), (stop - 1, 2), (start - 1, 2), (stop - 2, 4)]
        runs += [(start, stop - start), (start, stop - start + 1), (start - 1, stop - start + 1), (stop - 2, 2)]
        runs += [(start + 1, stop - start - 1), (start, stop - start - 1)]
        found |= dict.fromkeys(run for run in runs if 0 <= run[0] <= LAST and 0 < run[1] <= 100)
    return list(found)


_VALUES: tuple[tuple[int, ...], ...] = ((300,), (600,), (0, 300))
"""Registers that a write repeats."""


def _words(count: int, values: tuple[int, ...]) -> list[int]:
    return [values[at % len(values)] for at in range(count)]


def _read(name: str, table: str) -> Callable[[int, int, int], Iterator[Ask]]:
    def make(unit: int, first: int, count: int) -> Iterator[Ask]:
        yield Ask(unit, name, struct.pack(">BHH", int(name), first, count), ((table, first, count),))

    return make


def _write_coil(unit: int, first: int, count: int) -> Iterator[Ask]:
    for value in (0xFF00, 0):
        yield Ask(unit, "5", struct.pack(">BHH", 5, first, value), writes=(("coils", first, 1),))


def _write_coils(unit: int, first: int, count: int) -> Iterator[Ask]:
    size = (count + 7) // 8
    for bits in ((1 << count) - 1, 0, 2 & ((1 << count) - 1)):
        data = bits.to_bytes(size, "little")
        yield Ask(unit, "15", struct.pack(">BHHB", 15, first, count, size) + data, writes=(("coils", first, count),))


def _write_register(unit: int, first: int, count: int) -> Iterator[Ask]:
    for value in (500, 501):
        yield Ask(unit, "6", struct.pack(">BHH", 6, first, value), writes=(("holding", first, 1),))


def _write_registers(unit: int, first: int, count: int) -> Iterator[Ask]:
    for values in _VALUES:
        data = struct.pack(f">{count}H", *_words(count, values))
        head = struct.pack(">BHHB", 16, first, count, 2 * count)
        yield Ask(unit, "16", head + data, writes=(("holding", first, count),))


def _mask(unit: int, first: int, count: int) -> Iterator[Ask]:
    run = (("holding", first, 1),)
    for and_mask, or_mask in ((0, 500), (0, 501), (0xFFFE, 0), (0x7FFF, 0x8000)):
        yield Ask(unit, "22", struct.pack(">BHHH", 22, first, and_mask, or_mask), run, run)


def _read_and_write(unit: int, first: int, count: int) -> Iterator[Ask]:
    for values in _VALUES[:2]:
        data = struct.pack(f">{count}H", *_words(count, values))
        for read, write in (((first, count), (first, count)), ((first, count), (12, 1)), ((12, 1), (first, count))):
            few = data[: 2 * write[1]]
            pdu = struct.pack(">BHHHHB", 23, *read, *write, len(few)) + few
            yield Ask(unit, "23", pdu, (("holding", *read),), (("holding", *write),))


def _queue(unit: int, first: int, count: int) -> Iterator[Ask]:
    # any of the 31 values after the count may be shown
    for at in (first, first + count - 32):
        if 0 <= at <= LAST:
            yield Ask(unit, "24", struct.pack(">BH", 24, at), (("holding", at, 32),))


def _files(name: str) -> Callable[[int, int, int], Iterator[Ask]]:
    def make(unit: int, first: int, count: int) -> Iterator[Ask]:
        for groups in (((4, first, count),), ((4, 12, 1), (4, first, count)), ((5, first, count),)):
            body = b"".join(
                struct.pack(">BHHH", 6, *group) + (struct.pack(">H", 7) * group[2] if name == "21" else b"")
                for group in groups
            )
            runs = tuple((f"file {number}", start, many) for number, start, many in groups)
            pdu = bytes((int(name), len(body))) + body
            yield Ask(unit, name, pdu, runs if name == "20" else (), runs if name == "21" else ())

    return make


_BIT_MAKERS = (_read("1", "coils"), _read("2", "discrete"), _write_coil, _write_coils)
_REGISTER_MAKERS = (
    *(_read("3", "holding"), _read("4", "input"), _write_register, _write_registers),
    *(_mask, _read_and_write, _queue),
)
_FILE_MAKERS = (_files("20"), _files("21"))


def _rare(unit: int) -> Iterator[Ask]:
    """Give the functions that mean no cells, the unknown and the opaque ones, and a silence with its end."""
    outputs = (("coils", OUTPUTS, 8),) if unit in {DEFAULT_UNIT, *ALIASES} else ()
    yield Ask(unit, "7", b"\x07", outputs)
    for name in ("11", "12", "17"):
        yield Ask(unit, name, bytes((int(name),)))
    for name in (*DIAGNOSE, *CONTROL):
        if name.startswith("8/") and name != "8/04":
            sub = int.from_bytes(bytes.fromhex(name[2:]), "big")
            yield Ask(unit, name, struct.pack(">BHH", 8, sub, 0x0D00 if name == "8/03" else 0))
            yield Ask(unit, name, struct.pack(">BHB", 8, sub, 0), sound=False)
    yield Ask(unit, "43/14", b"\x2b\x0e\x01\x00")
    yield Ask(unit, "43/14", b"\x2b\x0e\x09\x00", sound=False)
    for name, text in (("8", "08"), ("8", "08 00"), ("43", "2b"), ("7", "07 00"), ("17", "11 00")):
        yield Ask(unit, name, bytes.fromhex(text), sound=False)
    # nobody is granted these
    for name, text in (("8/05", "08 00 05 00 00"), ("8/15", "08 00 15 00 00"), ("8/100", "08 01 00 00 00")):
        yield Ask(unit, name, bytes.fromhex(text))
    for name, text in (("43/13", "2b 0d 00"), ("9", "09"), ("100", "64 01"), ("0x5A", "5a 01 02"), ("127", "7f")):
        yield Ask(unit, name, bytes.fromhex(text))
    yield Ask(unit, "8/04", bytes.fromhex("08 00 04 00 00"))
    yield Ask(unit, "11", b"\x0b")
    yield Ask(unit, "3", bytes.fromhex("03 00 00 00 01"), (("holding", 0, 1),))
    yield Ask(unit, "8/01", bytes.fromhex("08 00 01 00 00"))
    yield Ask(unit, "11", b"\x0b")


_UNSOUND = (
    "01 00 00 00 00", "01 00 00 07 d1", "02 00 00 00 00", "03 00 00 00 7e", "03 00 00 00", "04 00 00 00 01 00",
    "04 ff ff 00 00", "05 00 08 12 34", "05 00 08", "06 00 0a 00", "06 00 0a 00 01 00", "0f 00 00 00 00 00",
    "0f 00 08 00 09 01 ff",
    "10 00 0a 00 01 01 00", "10 00 0a 00 00 00", "10 00 0a 00 01 02 00", "16 00 0a 00 00 00", "18 00", "14 00",
    "14 06 06 00 04 00 00 00", "15 07 06 00 04 00 00 00 00", "17 00 00 00 7e 00 0a 00 01 02 00 01",
)  # fmt: skip


def _unsound(unit: int) -> Iterator[Ask]:
    """Give malformed requests: 03 comes before any cell is judged, but after the function and the unit."""
    for text in _UNSOUND:
        pdu = bytes.fromhex(text)
        yield Ask(unit, str(pdu[0]), pdu, sound=False)


FACT = re.compile(r'(\w+)=("[^"]*"|\S+)')


def facts(line: str) -> dict[str, str]:
    """Read a line of the trail."""
    return {key: value.strip('"') for key, value in FACT.findall(line)}
