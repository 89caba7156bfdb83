"""A unit with random contents behind a real guard, and what a request has changed there."""

from __future__ import annotations

from struct import unpack

from hypothesis import strategies as st

from fieldgate_core.modbus import File, Space
from fieldgate_server.audit import Audit
from fieldgate_server.guard import Guard
from fieldgate_server.identity import Identity
from fieldgate_server.memory import MemoryUnit
from fieldgate_server.policy import Policy
from fieldgate_server.unit_settings import FileSettings, TableSettings, UnitSettings
from fieldgate_server.units import Units
from support import policies
from support.policies import SIZE

LAYOUTS = ("separate", "unified", "overlaid")


def unit_of(layout: str, held: list[int]) -> MemoryUnit:
    """A unit of SIZE registers that hold something, and two files."""
    holding = TableSettings(SIZE, tuple(held))
    files = (FileSettings(4, 40), FileSettings(5, 40))
    bits = None if layout == "overlaid" else TableSettings(16 * SIZE)
    if layout != "separate":
        return UnitSettings(id=1, layout=layout, coils=bits, holding=holding, file=files).build()
    return UnitSettings(id=1, coils=bits, discrete=bits, holding=holding, input=TableSettings(SIZE), file=files).build()


def guard_of(unit: MemoryUnit, policy: Policy) -> Guard:
    """Give the guard of somebody with role "r", for whom the unit is number 1."""
    who = Identity("tls:x", "r", policy.rights("r"), "tls", "1.2.3.4:5")
    return Guard(who, Units({1: unit}, default=1), Audit(None))


held_values = st.lists(policies.values, min_size=SIZE, max_size=SIZE) | st.just([0] * SIZE)


def snapshot(unit: MemoryUnit) -> dict[Space, tuple[int, ...]]:
    """Give all that a unit holds, cell by cell."""
    found: dict[Space, tuple[int, ...]] = {}
    for space, table in unit.tables.items():
        data = table.read(0, table.size)
        bits = tuple(data[at >> 3] >> (at & 7) & 1 for at in range(table.size))
        found[space] = bits if space.is_bits else unpack(f">{table.size}H", data)
    for number, records in unit.files.items():
        found[File(number)] = unpack(f">{records.size}H", records.read(0, records.size))
    return found


def changed(before: dict[Space, tuple[int, ...]], after: dict[Space, tuple[int, ...]]) -> set[tuple[Space, int]]:
    """Name the cells that show something else."""
    return {
        (space, cell)
        for space, cells in before.items()
        for cell, (old, new) in enumerate(zip(cells, after[space], strict=True))
        if old != new
    }
