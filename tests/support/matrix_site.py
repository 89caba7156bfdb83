"""The matrix's site: its units, its roles and their grants, read without fieldgate; what is asked and answered."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

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
class Grant:
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
READS = dict(zip(("1", "2", "3", "4"), (*BITS, *REGISTERS), strict=True)) | dict.fromkeys(("22", "23", "24"), "holding")
WRITES = dict.fromkeys(("5", "15"), "coils") | dict.fromkeys(("6", "16", "22", "23"), "holding")


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


def grants(text: str) -> list[Grant]:
    """Read the grants of one role."""
    found = []
    for one in tomllib.loads(f"grants = {text}")["grants"]:
        units = one["units"]
        word = one.get("function", "")
        low, _, high = one.get("values", "").partition("..")
        found.append(
            Grant(
                frozenset(n for part in units.replace("all", "1-254").split(",") for n in _numbers(part)),
                tuple(_cells(one.get("read", ""))),
                tuple(_cells(one.get("write", ""))),
                frozenset(_CLASSES.get(word, (word,) if word else ())),
                (int(low), int(high)) if high else None,
                2 if "type" in one else 1,
            )
        )
    return found


FACT = re.compile(r'(\w+)=("[^"]*"|\S+)')


def facts(line: str) -> dict[str, str]:
    """Read a line of the trail."""
    return {key: value.strip('"') for key, value in FACT.findall(line)}
