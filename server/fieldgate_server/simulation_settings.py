"""The settings of simulated cells, and the signals that they mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from fieldgate_core.modbus import AddressRange, Table
from fieldgate_server.cells import parse
from fieldgate_server.layout import Cells
from fieldgate_server.recording import read_recording
from fieldgate_server.signals import Constant, Counter, Ramp, Signal, Sine, Square, Walk
from fieldgate_server.simulation import SimulatedRange

SHORTEST, LONGEST = 0.01, 86400.0
LONGEST_PERIOD = 366 * 86400.0
"""Bounds of an interval, in seconds."""
MOST_VALUES = 50_000
"""Values a second of all units: more would keep the event loop from its clients."""
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


def _highest(table: Table) -> int:
    return 1 if table.is_bits else 0xFFFF
