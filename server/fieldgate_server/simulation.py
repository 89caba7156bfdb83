"""Simulated cells of a unit: their settings, the recording they may play, and the task that puts their values."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import logging
import re
from array import array
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Protocol

from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import AddressRange, Space, Table
from fieldgate_server.cells import parse
from fieldgate_server.layout import Cells, Layout, views
from fieldgate_server.signals import Constant, Counter, Playback, Ramp, Signal, Sine, Square, Walk
from fieldgate_server.tables import pack_bits

log = logging.getLogger("fieldgate.simulation")

BY = "simulation"
"""The author of a simulated change."""
SHORTEST, LONGEST = 0.01, 86400.0
LONGEST_PERIOD = 366 * 86400.0
"""Bounds of an interval, in seconds."""
MOST_VALUES = 50_000
"""Values a second of all units: more would keep the event loop from its clients."""
_PIECE = 256
"""Values that are worked out in one turn of the event loop."""

_CYCLE = {"low", "high", "period"}
_USES = {
    "constant": {"value"},
    "ramp": _CYCLE,
    "sine": _CYCLE,
    "walk": {"low", "high", "step", "seed"},
    "counter": {"low", "high", "step"},
    "square": _CYCLE,
    "csv": {"file"},
}
_NEEDS = ("value", "period", "file")
_KINDS_OF_BITS = ("constant", "square", "csv")
_LEAST_TICKS = {"ramp": 2, "sine": 3, "square": 2}
"""Ticks that a cycle must have to show more than one value."""


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


@dataclass(frozen=True)
class SimulateSettings:
    """One `[[unit.simulate]]`: cells, and the kind of their signals; docs/simulation.md describes every key.

    A key that its kind does not use is refused. `low` and `high` are the whole range of a cell unless they are given.
    """

    cells: str
    kind: str
    interval: float = 1.0
    low: int | None = None
    high: int | None = None
    period: float | None = None
    step: int | None = None
    seed: int | None = None
    value: int | None = None
    file: Path | None = None

    def __post_init__(self) -> None:
        if self.kind not in _USES:
            raise ValueError(f"kind {self.kind!r} is none of {', '.join(_USES)}")
        table, _ = _one_range(self.cells)
        if table.is_bits and self.kind not in _KINDS_OF_BITS:
            raise ValueError(f"{table} are 0 or 1, and a {self.kind} is not: kind is {', '.join(_KINDS_OF_BITS)} there")
        self._check_keys()
        if not SHORTEST <= self.interval <= LONGEST:
            raise ValueError(f"interval {self.interval:g} is not {SHORTEST:g} to {LONGEST:g} seconds")
        highest = _highest(table)
        for name in ("low", "high", "value"):
            number = getattr(self, name)
            if number is not None and not 0 <= number <= highest:
                raise ValueError(f"{name} {number} is not 0 to {highest}, which {table} can hold")
        if "low" in _USES[self.kind]:
            self._check_span()
        if self.period is not None:
            self._check_period(self.period)

    def build(self, unit: int) -> SimulatedRange:
        """Make the signals of these cells of a unit, which have streams of their own; a recording is read whole.

        Raises ConfigError that names the recording's file, line and column.
        """
        table, addresses = _one_range(self.cells)
        return SimulatedRange(table, addresses, self.interval, self._signals(unit, table, addresses))

    @property
    def rate(self) -> float:
        """Values a second."""
        return _one_range(self.cells)[1].count / self.interval

    def _signals(self, unit: int, table: Table, addresses: AddressRange) -> Sequence[Signal]:
        each = range(addresses.start, addresses.last + 1)
        if self.file is not None:
            return read_recording(self.file, [f"{table} {address}" for address in each], _highest(table))
        low, high = self._span
        if self.kind == "walk":
            stream = f"{self.seed or 0} {unit} {table}"
            return [Walk(low, high, self._step, f"{stream} {address}") for address in each]
        return [self._signal(low, high)] * addresses.count

    def _signal(self, low: int, high: int) -> Signal:
        if self.value is not None:
            return Constant(self.value)
        if self.kind == "counter":
            return Counter(low, high, self._step)
        # the decimal numbers as written: the third tick of 0.3 s ends a cycle of 0.9 s, which floats would miss
        turn = Fraction(str(self.interval)) / Fraction(str(self.period))
        if self.kind == "ramp":
            return Ramp(low, high, turn)
        return Sine(low, high, turn) if self.kind == "sine" else Square(low, high, turn)

    @property
    def _span(self) -> tuple[int, int]:
        table, _ = _one_range(self.cells)
        return self.low or 0, _highest(table) if self.high is None else self.high

    @property
    def _step(self) -> int:
        return 1 if self.step is None else self.step

    def _check_keys(self) -> None:
        uses = _USES[self.kind]
        for name in ("low", "high", "period", "step", "seed", "value", "file"):
            given = getattr(self, name) is not None
            if given and name not in uses:
                raise ValueError(f"{name} means nothing to a {self.kind}, which uses {', '.join(sorted(uses))}")
            if name in uses and name in _NEEDS and not given:
                raise ValueError(f"{name} is missing, which a {self.kind} needs")

    def _check_span(self) -> None:
        low, high = self._span
        if low >= high:
            raise ValueError(f'low {low} is not below high {high}; for one value write kind = "constant"')
        if not 1 <= self._step <= high - low:
            raise ValueError(f"step {self._step} is not 1 to {high - low}, which is from low to high")

    def _check_period(self, period: float) -> None:
        least = _LEAST_TICKS[self.kind]
        if not least * self.interval <= period <= LONGEST_PERIOD:
            raise ValueError(
                f"period {period:g} s is not {least} or more ticks of {self.interval:g} s, which a {self.kind} needs: "
                "a longer period or a shorter interval"
            )


def check_rate(simulated: Iterable[SimulateSettings]) -> None:
    """Check that a server can bear all of these. Raises ValueError."""
    rate = sum(one.rate for one in simulated)
    if rate > MOST_VALUES:
        raise ValueError(
            f"{rate:.0f} simulated values a second are more than {MOST_VALUES}: fewer cells or a longer interval"
        )


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


def _one_range(text: str) -> tuple[Table, AddressRange]:
    """Read "input 0-9" or "coils 7". Raises ValueError for what is not one range of a table."""
    mend = f'write one range of a table ({", ".join(Table)}), addresses from 0: "input 0-9"'
    try:
        named = parse(text)
    except ValueError as error:
        raise ValueError(f"cells: {error}; {mend}") from None
    match named:
        case [Cells(Table() as table, start, count)]:
            return table, AddressRange(start, count)
        case _:
            raise ValueError(f"cells: {text!r} is not one range of a table; {mend}")


def read_recording(file: Path, columns: Sequence[str], highest: int) -> list[Playback]:
    """Read a CSV file: a first line that names the columns, then a line a tick of whole numbers, 0 to `highest`.

    Columns that were not asked for are left alone. Raises ConfigError that names file, line and column.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            lines = csv.reader(text, strict=True)
            names = [" ".join(name.split()) for name in next(lines, [])]
            places = [_place(file, names, column) for column in columns]
            values = [array("H") for _ in columns]
            for line in lines:
                if not line:
                    continue
                where = f"{file}: line {lines.line_num}"
                if len(line) != len(names):
                    raise ConfigError(where, f"has {len(line)} columns where the first line names {len(names)}")
                for column, place, series in zip(columns, places, values, strict=True):
                    series.append(_number(line[place], highest, f"{where}, column {column}"))
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(str(file), "is not UTF-8 text") from None
    except csv.Error as error:
        raise ConfigError(f"{file}: line {lines.line_num}", f"is not CSV: {error}") from None
    if not values[0]:
        raise ConfigError(str(file), "holds no values", hint="below the line of names goes one line for each tick")
    return [Playback(series) for series in values]


def _place(file: Path, names: Sequence[str], column: str) -> int:
    if names.count(column) == 1:
        return names.index(column)
    fault = f"names the column {column!r} twice" if column in names else f"has no column {column!r}"
    hint = 'the first line names each column by its cell, with commas between: "input 0,input 1"'
    raise ConfigError(f"{file}: line 1", fault, hint=hint)


def _number(text: str, highest: int, where: str) -> int:
    if not re.fullmatch(r"\s*[0-9]{1,5}\s*", text) or int(text) > highest:
        raise ConfigError(where, f"{text!r} is not a whole number from 0 to {highest}")
    return int(text)


def _highest(table: Table) -> int:
    return 1 if table.is_bits else 0xFFFF


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
