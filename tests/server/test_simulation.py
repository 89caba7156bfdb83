"""Simulated units: what settings are refused, what a recording must be, and a memory unit that ticks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fieldgate_core import settings
from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import Table
from fieldgate_server.layout import Layout
from fieldgate_server.memory import MemoryUnit
from fieldgate_server.settings import Settings
from fieldgate_server.simulation import SimulatedRange, Simulation, _shared
from fieldgate_server.simulation_settings import SimulateSettings
from fieldgate_server.tables import bits, registers
from fieldgate_server.unit_settings import TableSettings, UnitSettings

SINE = {"cells": "input 0-9", "kind": "sine", "low": 180, "high": 250, "period": 60}
WALK = {"cells": "input 0-9", "kind": "walk", "low": 180, "high": 250, "step": 3}
COUNTER = {"cells": "holding 4", "kind": "counter"}
BLINK = {"cells": "coils 3-6", "kind": "square", "period": 2}


def load(raw: dict[str, Any], folder: Path = Path()) -> SimulateSettings:
    """Read one entry as the settings loader does."""
    return settings.build(raw, SimulateSettings, where="server.toml", base=folder)


def ranges(*raw: dict[str, Any], unit: int = 1, folder: Path = Path()) -> list[SimulatedRange]:
    return [load(one, folder).build(unit) for one in raw]


def memory(size: int = 20, layout: Layout = Layout.SEPARATE) -> MemoryUnit:
    coils, discrete = bits(size, []), bits(size, [])
    holding, input_ = registers(size, []), registers(size, [])
    return MemoryUnit(1, coils, discrete, holding, input_, layout=layout)


def registers_of(range_: SimulatedRange, tick: int) -> list[int]:
    values = range_.values(tick)
    return [int.from_bytes(values[at : at + 2], "big") for at in range(0, len(values), 2)]


class Watched:
    """A real memory unit that lets a test wait for what is put into it."""

    def __init__(self, unit: MemoryUnit) -> None:
        self.unit = unit
        self.puts: list[tuple[Table, int, bytes, str]] = []
        self._news = asyncio.Event()

    @property
    def layout(self) -> Layout:
        return self.unit.layout

    def put(self, table: Table, start: int, values: bytes, by: str, /, *, quantity: int) -> None:
        self.unit.put(table, start, values, by, quantity=quantity)
        self.puts.append((table, start, values, by))
        self._news.set()

    def size(self, table: Table, /) -> int:
        return self.unit.size(table)

    async def until(self, count: int) -> None:
        while len(self.puts) < count:
            self._news.clear()
            await self._news.wait()


# settings


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (SINE | {"kind": "sinus"}, "kind 'sinus' is none of constant, ramp, sine"),
        (
            SINE | {"cells": "inputs 0-9"},
            "cells: 'inputs 0-9' names no cells; write one range of a table (coils, discrete, holding, input)",
        ),
        (
            SINE | {"cells": "input 0-9, input 12"},
            "cells: 'input 0-9, input 12' is not one range of a table; write one",
        ),
        (SINE | {"cells": ""}, "is not one range of a table"),
        (SINE | {"cells": "file 4 0-9"}, "is not one range of a table"),
        (SINE | {"cells": "input"}, "cells: 'input' names no cells"),
        (SINE | {"cells": "input 9-0"}, "cells: 'input 9-0' is no range"),
        (SINE | {"cells": "input 65530-65536"}, "is no range within 0 to 65535"),
        (SINE | {"step": 1}, "step means nothing to a sine, which uses high, low, period"),
        (SINE | {"value": 0}, "value means nothing to a sine"),
        (SINE | {"seed": 7}, "seed means nothing to a sine"),
        (WALK | {"period": 60.0}, "period means nothing to a walk"),
        (COUNTER | {"file": "day.csv"}, "file means nothing to a counter"),
        ({"cells": "input 0", "kind": "constant"}, "value is missing, which a constant needs"),
        ({"cells": "input 0", "kind": "csv"}, "file is missing, which a csv needs"),
        ({"cells": "input 0", "kind": "ramp"}, "period is missing, which a ramp needs"),
        (SINE | {"low": 251}, "low 251 is not below high 250"),
        (SINE | {"low": 250}, 'for one value write kind = "constant"'),
        (SINE | {"low": -1}, "low -1 is not 0 to 65535, which input can hold"),
        (SINE | {"high": 65536}, "high 65536 is not 0 to 65535"),
        ({"cells": "holding 0", "kind": "constant", "value": 65536}, "value 65536 is not 0 to 65535"),
        ({"cells": "coils 0", "kind": "constant", "value": 2}, "value 2 is not 0 to 1, which coils can hold"),
        (BLINK | {"high": 2}, "high 2 is not 0 to 1"),
        (WALK | {"step": 0}, "step 0 is not 1 to 70"),
        (WALK | {"step": 71}, "step 71 is not 1 to 70"),
        (SINE | {"interval": 0}, "interval 0 is not 0.01 to 86400 seconds"),
        (SINE | {"interval": -1}, "interval -1 is not"),
        (SINE | {"interval": 0.009}, "interval 0.009 is not"),
        (SINE | {"interval": float("nan")}, "interval nan is not"),
        (SINE | {"interval": float("inf")}, "interval inf is not"),
        (SINE | {"period": 2.9}, "period 2.9 s is not 3 or more ticks of 1 s, which a sine needs"),
        (BLINK | {"period": 1.9}, "is not 2 or more ticks"),
        (SINE | {"period": float("nan")}, "period nan s is not"),
        (SINE | {"period": float("inf")}, "period inf s is not"),
        (SINE | {"interval": 0.01, "period": 1e308}, "period 1e+308 s is not"),
        (SINE | {"cells": "coils 0"}, "coils are 0 or 1, and a sine is not: kind is constant, square, csv there"),
        (COUNTER | {"cells": "discrete 0"}, "discrete are 0 or 1, and a counter is not"),
        (WALK | {"cells": "discrete 0", "low": 0, "high": 1, "step": 1}, "and a walk is not"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_with_what_is_wrong(raw: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(raw)
    assert fault in str(error.value)


@pytest.mark.parametrize(
    "raw",
    [
        SINE,
        SINE | {"period": 3},
        SINE | {"interval": 0.01},
        SINE | {"interval": 86400, "period": 3 * 86400},
        WALK | {"step": 70, "seed": -7},
        COUNTER | {"low": 0, "high": 65535, "step": 65535},
        {"cells": "holding 65535", "kind": "constant", "value": 65535},
        {"cells": "coils 0", "kind": "constant", "value": 1},
        BLINK | {"low": 0, "high": 1},
        {"cells": " input  3 - 4 ", "kind": "ramp", "period": 2},
    ],
)
def test_settings_at_their_bounds_are_taken(raw: dict[str, Any]) -> None:
    range_ = load(raw).build(1)
    assert len(range_.signals) == range_.addresses.count


# values


def test_a_cycle_is_counted_in_decimals_as_written() -> None:
    """As binary fractions, 3 x 0.3 is less than 0.9, and the third tick would not end the cycle."""
    [ramp] = ranges({"cells": "input 0", "kind": "ramp", "low": 0, "high": 2, "interval": 0.3, "period": 0.9})
    assert [registers_of(ramp, tick)[0] for tick in range(300)] == [0, 1, 2] * 100


def test_low_and_high_are_the_whole_cell_unless_given() -> None:
    [counter, blink] = ranges(COUNTER | {"step": 65535}, BLINK)
    assert [registers_of(counter, tick) for tick in range(3)] == [[0], [65535], [65534]]
    assert [blink.values(tick) for tick in range(3)] == [b"\x00", b"\x0f", b"\x00"]


def test_values_are_in_wire_order(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        ",".join(f"coils {n}" for n in range(9)) + ",input 0,input 1\n1,0,0,0,0,0,0,1,1,4660,5\n"
    )
    [coils, registers] = ranges(
        {"cells": "coils 0-8", "kind": "csv", "file": "a.csv"},
        {"cells": "input 0-1", "kind": "csv", "file": "a.csv"},
        folder=tmp_path,
    )
    assert coils.values(0) == b"\x81\x01"
    assert registers.values(0) == b"\x12\x34\x00\x05"


def sequence(raw: dict[str, Any], unit: int = 1) -> list[bytes]:
    [range_] = ranges(raw, unit=unit)
    return [range_.values(tick) for tick in range(50)]


def test_two_runs_are_equal_and_a_seed_a_unit_and_a_table_make_another() -> None:
    assert sequence(WALK) == sequence(WALK) == sequence(WALK | {"seed": 0})
    others = [sequence(WALK | {"seed": 7}), sequence(WALK, unit=2), sequence(WALK | {"cells": "holding 0-9"})]
    assert len({tuple(one) for one in [sequence(WALK), *others]}) == 4


def test_each_address_walks_its_own_way_whatever_range_names_it() -> None:
    [ten, one] = ranges(WALK, WALK | {"cells": "input 4"})
    ways = [registers_of(ten, tick) for tick in range(50)]
    assert len(set(zip(*ways, strict=True))) == 10
    assert [way[4] for way in ways] == [registers_of(one, tick)[0] for tick in range(50)]


# recordings


RECORDING = "time,input 1,input 0\n00:00,11,1\n00:01,12,2\n\n00:02, 13 ,65535\n"


def test_a_recording_is_played_by_the_names_of_its_columns(tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text(RECORDING)
    [range_] = ranges({"cells": "input 0-1", "kind": "csv", "file": "day.csv"}, folder=tmp_path)
    assert [registers_of(range_, tick) for tick in range(4)] == [[1, 11], [2, 12], [65535, 13], [1, 11]]


def test_a_recording_may_come_from_a_spreadsheet(tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_bytes(b'\xef\xbb\xbf"input 0","a ""b"", c"\r\n"7",x\r\n8,"y,\r\nz"\r\n')
    [range_] = ranges({"cells": "input 0", "kind": "csv", "file": "day.csv"}, folder=tmp_path)
    assert [registers_of(range_, tick) for tick in range(3)] == [[7], [8], [7]]


def edit(old: str, new: str) -> Callable[[Path], object]:
    assert old in RECORDING
    return lambda file: file.write_text(RECORDING.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "where", "problem"),
    [
        (edit("12", "1x"), "day.csv: line 3, column input 1", "'1x' is not a whole number from 0 to 65535"),
        (edit("65535", "65536"), "day.csv: line 5, column input 0", "'65536' is not a whole number"),
        (edit("12", "-1"), "day.csv: line 3, column input 1", "'-1' is not"),
        (edit("12", "1.5"), "day.csv: line 3, column input 1", "'1.5' is not"),
        (edit("12", "\u0661"), "day.csv: line 3, column input 1", "is not a whole number"),
        (edit("12", ""), "day.csv: line 3, column input 1", "'' is not"),
        (edit(",2", ""), "day.csv: line 3", "has 2 columns where the first line names 3"),
        (edit("12", "12,9"), "day.csv: line 3", "has 4 columns where the first line names 3"),
        (edit("input 1", "inptu 1"), "day.csv: line 1", "has no column 'input 1'"),
        (edit("time,input 1,input 0\n", ""), "day.csv: line 1", "has no column 'input 0'"),
        (edit("time", "input 0"), "day.csv: line 1", "names the column 'input 0' twice"),
        (edit("00:01", '"00:01'), "day.csv: line 5", "is not CSV"),
        (edit(RECORDING, ""), "day.csv: line 1", "has no column 'input 0'"),
        (edit(RECORDING.partition("\n")[2], ""), "day.csv", "holds no values"),
        (lambda file: file.write_bytes(b"input 0,input 1\n\xff,1\n"), "day.csv", "is not UTF-8 text"),
        (lambda file: file.unlink(), "day.csv", "cannot be read: No such file"),
        (lambda file: file.unlink() or file.mkdir(), "day.csv", "cannot be read: Is a directory"),
    ],
)
def test_a_recording_that_cannot_be_played_is_refused_with_its_place(
    tmp_path: Path, spoil: Callable[[Path], object], where: str, problem: str
) -> None:
    (tmp_path / "day.csv").write_text(RECORDING)
    spoil(tmp_path / "day.csv")
    with pytest.raises(ConfigError) as error:
        ranges({"cells": "input 0-1", "kind": "csv", "file": "day.csv"}, folder=tmp_path)
    assert error.value.where == str(tmp_path / where)
    assert problem in error.value.problem


def test_a_recording_of_bits_holds_0_and_1(tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text("coils 0\n1\n2\n")
    with pytest.raises(ConfigError, match="line 3, column coils 0: '2' is not a whole number from 0 to 1"):
        ranges({"cells": "coils 0", "kind": "csv", "file": "day.csv"}, folder=tmp_path)


# on a unit


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        ([SINE | {"cells": "input 19-20"}], "simulated input 19-20 do not exist: the table has 20 cells"),
        ([SINE, WALK | {"cells": "input 9-12"}], "input 9 is simulated twice"),
    ],
)
def test_a_simulation_that_does_not_fit_its_unit_is_refused(raw: list[dict[str, Any]], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Simulation(memory(), ranges(*raw))


@pytest.mark.parametrize(
    ("layout", "cells", "twin"),
    [
        (Layout.UNIFIED, "coils 5", "discrete 0-9"),
        (Layout.UNIFIED, "input 5", "holding 5"),
        (Layout.OVERLAID, "coils 5", "holding 0"),
        (Layout.OVERLAID, "input 1", "discrete 16"),
    ],
)
def test_cells_that_are_the_same_in_another_table_are_not_simulated_twice(
    layout: Layout, cells: str, twin: str
) -> None:
    one, other = ranges(*({"cells": text, "kind": "constant", "value": 1} for text in (cells, twin)))
    Simulation(memory(), [one, other])
    for both in ([one, other], [other, one]):
        with pytest.raises(ValueError, match="is simulated twice"):
            Simulation(memory(layout=layout), both)


def test_two_coils_of_one_register_are_two_cells() -> None:
    blinks = ranges(BLINK | {"cells": "coils 3"}, BLINK | {"cells": "coils 4"})
    Simulation(memory(layout=Layout.OVERLAID), blinks)


def test_bits_beside_the_simulated_ones_are_left_alone() -> None:
    unit = memory()
    unit.coils.write(0, 20, b"\xff\xff\x0f")
    Simulation(unit, ranges(BLINK)).start()
    assert unit.coils.read(0, 20) == b"\x87\xff\x0f"


def test_more_than_the_event_loop_can_bear_is_refused() -> None:
    half = SimulateSettings(cells="input 0-249", kind="constant", value=1, interval=0.01)
    one = UnitSettings(id=1, default=True, input=TableSettings(1000), simulate=(half,))
    two = replace(one, id=2, default=False)
    Settings(unit=(one, two))
    more = SimulateSettings(cells="input 250", kind="constant", value=1)
    with pytest.raises(ValueError, match="50001 simulated values a second are more than 50000"):
        Settings(unit=(one, replace(two, simulate=(half, more))))


async def test_a_large_range_is_worked_out_in_pieces_and_put_at_once() -> None:
    unit = memory(1000)
    (counted,) = ranges({"cells": "input 0-999", "kind": "counter", "interval": 0.01})
    turns = asyncio.create_task(_shared(counted, 7))
    await asyncio.sleep(0)
    assert not turns.done(), "others have their turn in between"
    assert await turns == [7] * 1000
    assert unit.input.read(0, 1) == b"\0\0"


def test_ranges_that_fit_side_by_side_are_taken_and_tick_0_is_put_at_once() -> None:
    unit = memory()
    watched = Watched(unit)
    simulation = Simulation(watched, ranges(SINE, WALK | {"cells": "input 10-19"}, BLINK | {"cells": "discrete 0-9"}))
    simulation.start()
    assert unit.input.read(0, 20) == (215).to_bytes(2, "big") * 20
    assert [(table, start, by) for table, start, _, by in watched.puts] == [
        (Table.INPUT, 0, "simulation"),
        (Table.INPUT, 10, "simulation"),
        (Table.DISCRETE, 0, "simulation"),
    ]


async def test_a_running_unit_changes_tick_by_tick_and_stands_still_afterwards() -> None:
    unit = memory()
    watched = Watched(unit)
    fast = {"interval": 0.01}
    simulated = ranges(WALK | fast, BLINK | fast | {"period": 0.02})
    async with Simulation(watched, simulated).running():
        assert len(watched.puts) == 2
        await watched.until(20)
        assert unit.input.read(0, 10) == [put for put in watched.puts if put[0] is Table.INPUT][-1][2]
    count, last = len(watched.puts), unit.input.read(0, 10)
    await asyncio.sleep(0.03)
    assert (len(watched.puts), unit.input.read(0, 10)) == (count, last)
    # every put is a tick of the sequence, in order, whole
    sequence = iter([simulated[0].values(tick) for tick in range(10_000)])
    assert all(put[2] in sequence for put in watched.puts if put[0] is Table.INPUT)
    assert {put[2] for put in watched.puts if put[0] is Table.COILS} == {b"\x00", b"\x0f"}


async def test_who_was_held_up_goes_on_with_the_tick_that_is_due() -> None:
    watched = Watched(memory())

    def hold_up() -> None:
        time.sleep(0.1)

    async with Simulation(watched, ranges(COUNTER | {"interval": 0.01})).running():
        await watched.until(3)
        hold_up()
        held = len(watched.puts)
        await watched.until(held + 2)
    ticks = [int.from_bytes(values, "big") for _, _, values, _ in watched.puts]
    assert ticks[held] - ticks[held - 1] >= 9
    assert ticks == sorted(set(ticks))


async def test_ranges_keep_their_own_intervals() -> None:
    watched = Watched(memory())
    slow, fast = COUNTER | {"interval": 0.05}, COUNTER | {"cells": "input 0", "interval": 0.01}
    async with Simulation(watched, ranges(slow, fast)).running():
        await watched.until(30)
    latest = {Table.HOLDING: 0, Table.INPUT: 0}
    for table, _, values, _ in watched.puts:
        latest[table] = int.from_bytes(values, "big")
        # the slower range is put first where both are due
        assert table is Table.HOLDING or latest[Table.HOLDING] == latest[Table.INPUT] // 5
    assert latest[Table.HOLDING] > 0


async def test_a_unit_without_signals_has_no_task() -> None:
    before = asyncio.all_tasks()
    async with Simulation(memory(), []).running():
        assert asyncio.all_tasks() == before


async def test_values_that_no_longer_go_in_stop_the_simulation_and_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Shrinking(Watched):
        def put(self, table: Table, start: int, values: bytes, by: str, /, *, quantity: int) -> None:
            super().put(table, start if len(self.puts) < 2 else 20, values, by, quantity=quantity)

    async with Simulation(Shrinking(memory()), ranges(COUNTER | {"interval": 0.01})).running():
        while not caplog.records:
            await asyncio.sleep(0)
    assert "the simulation has stopped and its cells stand still" in caplog.text


def test_paths_are_relative_to_the_settings_file(tmp_path: Path) -> None:
    raw = {"cells": "input 0", "kind": "csv", "file": "day.csv"}
    assert load(raw, tmp_path).file == tmp_path / "day.csv"
