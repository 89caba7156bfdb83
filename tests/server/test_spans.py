"""Labelled ranges: every look-up finds what a search address by address finds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fieldgate_server.spans import Spans

RANGES = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 10), st.sampled_from("abc")).map(lambda s: (s[0], s[0] + s[1], s[2])),
    max_size=8,
)


@given(RANGES, st.integers(0, 35), st.integers(1, 12))
def test_a_look_up_finds_every_range_that_holds_one_of_the_addresses(
    ranges: list[tuple[int, int, str]], start: int, quantity: int
) -> None:
    asked = set(range(start, start + quantity))
    expected = {label for first, end, label in ranges if asked & set(range(first, end))}
    found = Spans(ranges).over(start, quantity)
    assert set(found) == expected
    assert len(found) == len(expected), "each label once"
