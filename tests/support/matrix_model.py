"""A naive model of the guard's rules that answers the matrix's requests; shares no code with fieldgate."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from support.matrix_site import (
    ADDRESSES,
    BITS,
    CONTROL,
    DIAGNOSE,
    EVERY_FILE,
    HELD,
    IDENTIFY,
    LAYOUTS,
    PACKED,
    READS,
    RECORDS,
    REGISTERS,
    ROLES,
    SIZES,
    WRITES,
    Answer,
    Ask,
    Grant,
    grants,
)
from support.oracle import Oracle


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
    def _function(mine: Sequence[Grant], ask: Ask) -> bool:
        """Tell whether there is any right to this function on this unit."""
        code, _, sub = ask.name.partition("/")
        if code in {"8", "43"} and not sub:
            # too short to show its sub-code
            return any(name.startswith(f"{code}/") for grant in mine for name in grant.functions)
        if code in {"20", "21"}:
            return any(
                table.startswith("file") for grant in mine for table, _ in (grant.read if code == "20" else grant.write)
            )
        if code in READS or code in WRITES:
            reads = code not in READS or any(table == READS[code] for grant in mine for table, _ in grant.read)
            return reads and (
                code not in WRITES or any(table == WRITES[code] for grant in mine for table, _ in grant.write)
            )
        return any(ask.name in grant.functions for grant in mine)

    def _cells(self, mine: Sequence[Grant], unit: int, ask: Ask) -> bool:
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


def _may_write(grant: Grant, table: str, address: int, left: Mapping[int, int | None], whole: set[int]) -> bool:
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
