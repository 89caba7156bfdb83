"""The matrix: every function at every edge of the tables and grants of a role."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from support.matrix_site import (
    ADDRESSES,
    ALIASES,
    ASKED_UNITS,
    BITS,
    CONTROL,
    DEFAULT_UNIT,
    DIAGNOSE,
    FILE,
    LAST,
    LAYOUTS,
    OUTPUTS,
    PACKED,
    RECORDS,
    REGISTERS,
    ROLES,
    SIZES,
    Ask,
    grants,
)


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
