"""The gate never lets in more than its limits say, never less than it could, and forgets whoever has left."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldgate_tunnel.limits import HANDSHAKES, HANDSHAKES_PER_ADDRESS, SHUT, Gate, Limits, Place

ADDRESSES = st.sampled_from(["192.0.2.1", "192.0.2.2", "192.0.2.3", "?"])


def nothing() -> None:
    """End no connection."""


@given(
    handshakes=st.integers(1, 6),
    each=st.integers(1, 4),
    steps=st.lists(st.tuples(st.booleans(), ADDRESSES), max_size=60),
)
def test_a_place_is_given_exactly_when_it_is_fair(handshakes: int, each: int, steps: list[tuple[bool, str]]) -> None:
    gate = Gate(Limits(handshakes=handshakes, handshakes_per_address=each))
    inside: dict[str, list[Place]] = {}
    hits: Counter[str] = Counter()
    ended: list[str] = []
    for enters, address in steps:
        own = inside.setdefault(address, [])
        full = sum(map(len, inside.values())) >= handshakes
        most = max(map(len, inside.values()))
        if enters:
            place = gate.enter(address, partial(ended.append, address))
            if len(own) >= each:
                assert place == HANDSHAKES_PER_ADDRESS
                hits[HANDSHAKES_PER_ADDRESS] += 1
            else:
                hits[HANDSHAKES] += full
                # who has as many as anybody gets no more of a full gate
                assert (place == HANDSHAKES) is (full and len(own) >= most)
            if isinstance(place, Place):
                for loser in ended:
                    # the oldest of one who has most makes room, and exactly one
                    assert len(inside[loser]) == most
                    assert inside[loser].pop(0).ousted
                assert len(ended) == full
                own.append(place)
            else:
                assert ended == []
            ended.clear()
        elif own:
            gate.leave(own.pop())
        assert gate.under_way == sum(map(len, inside.values())) <= handshakes
        assert gate.hits == hits
    for places in inside.values():
        for place in places:
            gate.leave(place)
    # all have left, and nothing is kept of them
    assert gate._by_site == {}
    assert gate.under_way == 0


def test_who_was_ousted_leaves_nothing_twice_and_is_not_locked_out_for_it() -> None:
    gate = Gate(Limits(handshakes=1, failures_before_lockout=1))
    first = gate.enter("192.0.2.1", nothing)
    second = gate.enter("192.0.2.2", nothing)
    assert isinstance(first, Place)
    assert isinstance(second, Place)
    assert (first.ousted, second.ousted) == (True, False)
    for _ in range(3):
        gate.failed(first, authentication=True)
    assert (gate.under_way, gate.failed_total, len(gate.lockout)) == (1, 3, 0)
    gate.succeeded(second)
    assert gate.under_way == 0


def test_a_gate_that_is_shut_lets_nobody_in_and_counts_no_limit() -> None:
    gate = Gate(Limits())
    gate.shut = "why"
    assert gate.enter("192.0.2.1", nothing) == SHUT
    gate.shut = None
    assert isinstance(gate.enter("192.0.2.1", nothing), Place)
    assert gate.hits == {}


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, alike: bool) -> None:
    gate = Gate(Limits(handshakes_per_address=1))
    assert isinstance(gate.enter(one, nothing), Place)
    assert (gate.enter(other, nothing) == HANDSHAKES_PER_ADDRESS) is alike


def test_behind_one_address_of_many_the_oldest_makes_room_there_and_nowhere_else() -> None:
    gate = Gate(Limits(handshakes=8, handshakes_per_address=2))
    ended: list[str] = []
    other = gate.enter("192.0.2.1", partial(ended.append, "other"))
    places = [gate.enter("via hub", partial(ended.append, name), of_many=True) for name in ("a", "b", "c")]
    assert ended == ["a"]
    assert all(isinstance(place, Place) for place in (other, *places))
    assert gate.under_way == 3
    assert gate.hits == {HANDSHAKES_PER_ADDRESS: 1}
    # of one address that stands for itself nobody makes room
    alone = [gate.enter("192.0.2.2", partial(ended.append, name)) for name in ("d", "e", "f")]
    assert alone[2] == HANDSHAKES_PER_ADDRESS
    assert ended == ["a"]
