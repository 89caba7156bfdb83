"""The work of one decision, counted in lines of Python that run: the same for 1 grant and for 10,000."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import Table
from fieldgate_server.policy import Policy, examine, parse
from support.guarded import guard_of, unit_of

MANY = 10_000
"""The cells that are asked for, from 20000 on, come after those of 10,000 other grants."""


def work(call: Callable[[], object]) -> int:
    """Count the lines that run, of three times the fewest: other tests' leavings may be tidied up meanwhile."""
    return min(_lines(call) for _ in range(3))


def _lines(call: Callable[[], object]) -> int:
    lines = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return lines


def elsewhere(index: int) -> dict[str, str]:
    """A grant that has nothing to do with the cells that are asked for."""
    return {"units": "1", "read": f"holding {index}", "write": f"holding {index}", "values": f"0..{index}"}


def beside(index: int) -> dict[str, str]:
    """A limit on the same cells, apart from all others."""
    return {"units": "1", "write": "holding 20000-20009", "values": f"{6 * index}..{6 * index + 2}"}


def typed(index: int) -> dict[str, str]:
    """A limit on the same values, apart from all others."""
    low = 20 * index
    return {"units": "1", "write": "holding 20000-20009", "values": f"{low}..{low + 5}", "type": "uint32 ABCD"}


@functools.cache
def policy_of(more: Callable[[int], dict[str, str]], size: int) -> Policy:
    some = [{"units": "1", "read": "holding 20000-20009"}, *(more(index) for index in range(size))]
    return parse({"role": {"r": {"grants": some}}}, where="p")


@pytest.mark.parametrize("more", [elsewhere, beside, typed])
@pytest.mark.parametrize("pdu", ["034e20000a", "064e290001", "104e2000020400000001", "104e20000408000000010000000a"])
def test_a_decision_costs_the_same_with_1_grant_and_with_10000(more: Callable[[int], dict[str, str]], pdu: str) -> None:
    counts = {}
    for size in (1, MANY):
        guard = guard_of(unit_of("separate", [0]), policy_of(more, size))
        guard.answer(1, bytes.fromhex(pdu))
        counts[size] = work(lambda guard=guard: guard.answer(1, bytes.fromhex(pdu)))  # type: ignore[misc]
    assert counts[1] == counts[MANY]


def test_the_count_sees_work_that_grows() -> None:
    """Else the test above would show nothing: to ask each grant in turn is 10,000 times the work."""
    grants = [(index, index + 1) for index in range(MANY)]
    naive = {size: work(lambda size=size: _naive(grants[:size])) for size in (1, MANY)}  # type: ignore[misc]
    assert naive[MANY] > 1000 * naive[1]


def _naive(grants: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [
        (start, end)
        for start, end in grants
        if start <= MANY < end
    ]  # fmt: skip


def stairs(index: int) -> dict[str, str]:
    """A limit on cells that overlap with those of its ten neighbours."""
    return {"units": "1", "write": f"holding {2 * index}-{2 * index + 19}", "values": f"{index}..{index + 1}"}


def wide(index: int) -> dict[str, str]:
    """A limit on a range of its own that overlaps with all others."""
    return {"units": "1", "write": f"holding {index}-{20000 + index}", "values": f"{3 * index}..{3 * index + 1}"}


def free(index: int) -> dict[str, str]:
    return {"units": "1", "write": f"holding {index}-{20000 + index}"}


def compiled(more: Callable[[int], dict[str, str]], size: int) -> list[ConfigError]:
    raw = {"role": {"r": {"grants": [more(index) for index in range(size)]}}}
    return examine(raw, where="p")[1]


@pytest.mark.parametrize(("more", "faults"), [(stairs, 0), (free, 0), (wide, 1)])
def test_twice_the_grants_are_twice_the_work_to_compile_or_to_refuse(
    more: Callable[[int], dict[str, str]], faults: int
) -> None:
    counts = {}
    for size in (1500, 3000):
        assert len(compiled(more, size)) == faults
        counts[size] = _lines(lambda size=size: compiled(more, size))  # type: ignore[misc]
    assert counts[3000] < 2.2 * counts[1500]


def test_limits_that_overlap_in_too_many_ways_are_refused_and_those_on_the_same_cells_are_not() -> None:
    [fault] = compiled(wide, 1100)
    assert (fault.where, fault.problem) == ("p: role.r.grants", "its limits overlap in more than 1,000,000 ways")
    assert compiled(wide, 900) == []
    assert compiled(beside, MANY) == []


def test_limits_that_do_not_hold_now_are_counted_too() -> None:
    later = [{**wide(index), "from": "2090-01-01"} for index in range(1100)]
    [fault] = examine({"role": {"r": {"grants": later}}}, where="p")[1]
    assert "its limits overlap" in fault.problem


def test_units_alike_are_compiled_once() -> None:
    policy = parse({"role": {"r": {"grants": [{"units": "all", "write": "holding 20000-20009"}]}}}, where="p")
    units = policy.rights("r").units
    assert len(units) == 254
    assert len({id(rights) for rights in units.values()}) == 1
    assert units[254].write[Table.HOLDING]
