"""Simulated cells of a unit: the signal of each, and the task that puts their values."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from fieldgate_core.modbus import AddressRange, Space, Table
from fieldgate_server.layout import Cells, Layout, views
from fieldgate_server.signals import Signal
from fieldgate_server.tables import pack_bits

log = logging.getLogger("fieldgate.simulation")

BY = "simulation"
"""The author of a simulated change."""
_PIECE = 256
"""Values that are worked out in one turn of the event loop."""


class SimulatedUnit(Protocol):
    """What a simulation needs of a unit."""

    @property
    def layout(self) -> Layout:
        """How its tables share their cells."""

    def put(self, table: Table, start: int, values: bytes, by: str, /, *, quantity: int) -> None:
        """Set `quantity` cells from `start`, values in wire order. Raises ValueError if not all of them exist."""

    def size(self, table: Table, /) -> int:
        """Give the number of cells of a table."""


class SimulatedRange(NamedTuple):
    """Adjacent cells and the signal of each, in order of address; `interval` in seconds from tick to tick."""

    table: Table
    addresses: AddressRange
    interval: float
    signals: Sequence[Signal]

    def values(self, tick: int) -> bytes:
        """Give the values of all cells at a tick, in wire order."""
        return self.packed([signal.at(tick) for signal in self.signals])

    def packed(self, values: Sequence[int]) -> bytes:
        """Give values of its cells in wire order."""
        return pack_bits(values) if self.table.is_bits else b"".join(value.to_bytes(2, "big") for value in values)


class Simulation:
    """Puts the values of a unit's signals into its cells, tick by tick.

    Values depend on the tick alone. Ticks are counted on the event loop's clock from the start; whoever was held up
    goes on with the tick that is due, and those between are left out.
    """

    def __init__(self, unit: SimulatedUnit, ranges: Sequence[SimulatedRange]) -> None:
        """Check the ranges against the unit. Raises ValueError for a cell that is not there or simulated twice."""
        _check_fit(unit, ranges)
        self._unit = unit
        self._ranges = ranges

    def start(self) -> None:
        """Put the values of tick 0."""
        for range_ in self._ranges:
            self._put(range_, range_.values(0))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Simulation]:
        """Start, at once, and tick until the end."""
        self.start()
        if not self._ranges:
            yield self
            return
        task = asyncio.create_task(self._tick(), name="simulation")
        task.add_done_callback(_ended)
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _tick(self) -> None:
        """Count ticks in whole nanoseconds, so that none is rounded away."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        intervals = [round(range_.interval * 1e9) for range_ in self._ranges]
        ticks = [0] * len(intervals)
        while True:
            wake = min((tick + 1) * interval for tick, interval in zip(ticks, intervals, strict=True))
            await asyncio.sleep(began + wake / 1e9 - loop.time())
            # a timer may come a little early
            now = max(wake, int((loop.time() - began) * 1e9))
            for index, range_ in enumerate(self._ranges):
                due = now // intervals[index]
                if due > ticks[index]:
                    ticks[index] = due
                    self._put(range_, range_.packed(await _shared(range_, due)))

    def _put(self, range_: SimulatedRange, values: bytes) -> None:
        start, count = range_.addresses.start, range_.addresses.count
        self._unit.put(range_.table, start, values, BY, quantity=count)


async def _shared(range_: SimulatedRange, tick: int) -> list[int]:
    """Work out the values of a tick piece by piece, so that clients have their turns in between."""
    values: list[int] = []
    for first in range(0, len(range_.signals), _PIECE):
        if first:
            await asyncio.sleep(0)
        values += [signal.at(tick) for signal in range_.signals[first : first + _PIECE]]
    return values


def _check_fit(unit: SimulatedUnit, ranges: Sequence[SimulatedRange]) -> None:
    taken: set[tuple[Space, int]] = set()
    for table, addresses, _, _ in ranges:
        if addresses.last >= unit.size(table):
            raise ValueError(f"simulated {table} {addresses} do not exist: the table has {unit.size(table)} cells")
        cells = Cells(table, addresses.start, addresses.count)
        for view in views(unit.layout, cells):
            if twice := taken & _each(view):
                space, address = min(twice)
                raise ValueError(f"{space} {address} is simulated twice, the second time as one of {cells}")
        taken |= _each(cells)


def _each(cells: Cells) -> set[tuple[Space, int]]:
    return {(cells.space, address) for address in range(cells.start, cells.start + cells.quantity)}


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("the simulation has stopped and its cells stand still", exc_info=error)
