"""The gate never lets in more than its limits say, never less than it could, and forgets whoever has left."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldgate_tunnel.limits import HANDSHAKES, HANDSHAKES_PER_ADDRESS, Gate, Limits

ADDRESSES = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "?"])


@given(
    handshakes=st.integers(1, 6),
    each=st.integers(1, 4),
    steps=st.lists(st.tuples(st.booleans(), ADDRESSES), max_size=60),
)
def test_a_place_is_given_exactly_when_both_limits_leave_one(
    handshakes: int, each: int, steps: list[tuple[bool, str]]
) -> None:
    gate = Gate(Limits(handshakes=handshakes, handshakes_per_address=each))
    inside: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    for enters, address in steps:
        if enters:
            bites = None
            if inside.total() >= handshakes:
                bites = HANDSHAKES
            elif inside[address] >= each:
                bites = HANDSHAKES_PER_ADDRESS
            assert gate.enter(address) == bites
            inside[address] += bites is None
            hits.update([bites] if bites else [])
        elif inside[address]:
            gate.leave(address)
            inside[address] -= 1
        assert gate.under_way == inside.total()
        assert gate.hits == hits
    for address in list(inside.elements()):
        gate.leave(address)
    # all have left: there is room for as many as ever, and nothing is kept of addresses that have gone
    assert gate._by_site == {}
    found = [gate.enter(f"198.51.100.{n}") for n in range(handshakes + 1)]
    assert found == [None] * handshakes + [HANDSHAKES]


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
    assert gate.enter(one) is None
    assert gate.enter(other) == (HANDSHAKES_PER_ADDRESS if alike else None)
