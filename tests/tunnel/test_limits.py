"""The gate never lets in more than its limits say, never less than it could, and forgets whoever has left."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fieldgate_tunnel.limits import Gate, Limits

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
    for enters, address in steps:
        if enters:
            room = inside.total() < handshakes and inside[address] < each
            assert gate.enter(address) is room
            inside[address] += room
        elif inside[address]:
            gate.leave(address)
            inside[address] -= 1
    for address in list(inside.elements()):
        gate.leave(address)
    # all have left: there is room for as many as ever, and nothing is kept of addresses that have gone
    assert gate._by_address == {}
    assert [gate.enter(f"198.51.100.{n}") for n in range(handshakes + 1)] == [True] * handshakes + [False]
