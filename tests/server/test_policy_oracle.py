"""The compiled policy, behind a real guard, against a naive oracle, on random policies and requests."""

from __future__ import annotations

from struct import pack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldgate_server.policy import parse
from support import policies
from support.counts import rounds
from support.guarded import LAYOUTS, guard_of, held_values, unit_of
from support.policies import NOW, SIZE, Asked, RandomGrant


@pytest.mark.long
@pytest.mark.timeout(900)
@settings(max_examples=rounds(300, 3000), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(LAYOUTS), policies.roles, held_values, st.data())
def test_the_guard_decides_as_any_grant_for_each_cell(
    layout: str, grants: list[RandomGrant], held: list[int], data: st.DataObject
) -> None:
    policy = parse(policies.policy(grants), where="p", now=NOW)
    for _ in range(8):
        asked = data.draw(policies.requests())
        unit = unit_of(layout, held)
        reply = guard_of(unit, policy).answer(1, asked.pdu)
        assert isinstance(reply, bytes)
        refused = reply == bytes((asked.pdu[0] | 0x80, 1))
        assert refused is not policies.allows(asked, grants, layout, held)
        if refused:
            assert unit.holding.read(0, SIZE) == pack(f">{SIZE}H", *held)


@pytest.mark.long
@pytest.mark.timeout(900)
@settings(max_examples=rounds(400, 4000), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from([*LAYOUTS, "overlaid"]), policies.pointed(), held_values)
def test_near_limits_the_guard_decides_as_any_grant_for_each_cell(
    layout: str, pointed: tuple[list[RandomGrant], Asked], held: list[int]
) -> None:
    grants, asked = pointed
    reply = guard_of(unit_of(layout, held), parse(policies.policy(grants), where="p", now=NOW)).answer(1, asked.pdu)
    assert isinstance(reply, bytes)
    assert (reply == bytes((asked.pdu[0] | 0x80, 1))) is not policies.allows(asked, grants, layout, held)


def test_there_are_random_requests_of_both_outcomes() -> None:
    """A property that is never tried is no property; in overlaid units the fewest writes are allowed."""
    outcomes: dict[tuple[bool, bool], int] = {}

    @settings(max_examples=400, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(policies.roles, held_values, policies.requests())
    def count(grants: list[RandomGrant], held: list[int], asked: Asked) -> None:
        key = bool(asked.write), policies.allows(asked, grants, "overlaid", held)
        outcomes[key] = outcomes.get(key, 0) + 1

    count()
    assert set(outcomes) == {(write, allowed) for write in (True, False) for allowed in (True, False)}
    assert min(outcomes.values()) >= 5, outcomes


def test_the_oracle_decodes_123_456_in_each_order() -> None:
    for order, words in {
        "ABCD": (0x42F6, 0xE979),
        "CDAB": (0xE979, 0x42F6),
        "BADC": (0xF642, 0x79E9),
        "DCBA": (0x79E9, 0xF642),
    }.items():
        assert policies.decode(words, "float32", order) == pytest.approx(123.456)
