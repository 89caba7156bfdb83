"""What `explain` says, and what a real guard does: no request changes a cell that is said to be refused."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldgate_core.modbus import File, Space, Table
from fieldgate_server import explain
from fieldgate_server.explain import Case
from fieldgate_server.layout import Cells
from fieldgate_server.memory import MemoryUnit
from fieldgate_server.policy import Policy, parse
from support import policies
from support.counts import rounds
from support.guarded import LAYOUTS, changed, guard_of, held_values, snapshot, unit_of
from support.policies import NOW, Asked, RandomGrant, shown

raw_requests = st.builds(Asked, st.binary(min_size=1, max_size=20))


def case_of(policy: Policy, unit: MemoryUnit) -> Case:
    return Case(policy, "r", policy.rights("r"), 1, unit)


def cells_of(run: tuple[str, int, int]) -> Cells:
    space, first, count = run
    named: Space = File(int(space[5:])) if space.startswith("file") else Table(space)
    return Cells(named, first, count)


@pytest.mark.long
@pytest.mark.timeout(900)
@settings(max_examples=rounds(150, 1500), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(LAYOUTS),
    st.tuples(policies.roles, st.lists(policies.requests(), min_size=3, max_size=12))
    | st.lists(policies.pointed(), min_size=1, max_size=12).map(
        lambda some: (some[0][0], [asked for _, asked in some])
    ),
    held_values,
)
def test_no_sequence_of_requests_changes_a_cell_that_explain_refuses(
    layout: str, case: tuple[list[RandomGrant], list[Asked]], held: list[int]
) -> None:
    grants, sequence = case
    policy = parse(policies.policy(grants), where="p", now=NOW)
    unit = unit_of(layout, held)
    guard = guard_of(unit, policy)
    for asked in sequence:
        before = snapshot(unit)
        guard.answer(1, asked.pdu)
        after = snapshot(unit)
        reached: set[tuple[str, int]] = set()
        for run in asked.write:
            cells = cells_of(run)
            if not changed(before, after):
                break
            values = after[cells.space][cells.start : cells.start + cells.quantity]
            answer = explain.write(case_of(policy, unit), [cells], [values])
            assert answer.allowed, answer
            assert explain.write(case_of(policy, unit), [cells], None).allowed
            reached |= {name for cell in range(run[1], run[1] + run[2]) for name in shown(layout, run[0], cell)}
        assert {(str(space), cell) for space, cell in changed(before, after)} <= reached


@pytest.mark.long
@pytest.mark.timeout(900)
@settings(max_examples=rounds(150, 1500), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(LAYOUTS), policies.roles, held_values, st.lists(raw_requests, max_size=20))
def test_no_bytes_at_all_change_a_cell_that_explain_refuses(
    layout: str, grants: list[RandomGrant], held: list[int], sequence: list[Asked]
) -> None:
    policy = parse(policies.policy(grants), where="p", now=NOW)
    unit = unit_of(layout, held)
    guard = guard_of(unit, policy)
    before = snapshot(unit)
    for asked in sequence:
        guard.answer(1, asked.pdu)
    writable = [grant for grant in grants if grant.unit == 1 and grant.holds]
    for space, cell in changed(before, snapshot(unit)):
        names = {str(space), policies.EVERY_FILE} if isinstance(space, File) else {str(space)}
        assert any(name in names and first <= cell <= last for one in writable for name, first, last in one.write)


cases = st.tuples(policies.roles, st.lists(policies.requests(), min_size=8, max_size=8)) | policies.pointed().map(
    lambda case: (case[0], [case[1]])
)


@pytest.mark.long
@pytest.mark.timeout(900)
@settings(max_examples=rounds(300, 3000), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(LAYOUTS), cases, held_values)
def test_explain_agrees_with_the_guard_on_each_request(
    layout: str, case: tuple[list[RandomGrant], list[Asked]], held: list[int]
) -> None:
    """Where a request means just one run of cells, `explain` of these cells is its answer."""
    policy = parse(policies.policy(case[0]), where="p", now=NOW)
    for asked in case[1]:
        unit = unit_of(layout, held)
        verdicts = _verdicts(asked, layout, held, case_of(policy, unit))
        reply = guard_of(unit, policy).answer(1, asked.pdu)
        assert (reply != bytes((asked.pdu[0] | 0x80, 1))) is all(verdicts), asked


def _verdicts(asked: Asked, layout: str, held: list[int], case: Case) -> list[bool]:
    """Ask `explain` about each run of cells that a request reads or writes."""
    left = policies.result(asked, layout, held)
    verdicts = [explain.read(case, [cells_of(run)]).allowed for run in asked.read]
    for run in asked.write:
        cells, code = cells_of(run), asked.pdu[0]
        if cells.space is Table.HOLDING:
            registers = [left[cell] for cell in range(cells.start, cells.start + cells.quantity)]
            values = [value for value in registers if value is not None]
            known = values if len(values) == len(registers) else None
        elif cells.space is Table.COILS:
            known = [asked.pdu[3] >> 7] if code == 5 else [asked.pdu[6 + at // 8] >> at % 8 & 1 for at in range(run[2])]
        else:
            known = [0] * cells.quantity
        verdicts.append(explain.write(case, [cells], [known] if known is not None else None).allowed)
    return verdicts
