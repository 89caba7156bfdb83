"""Compiled coverage against a naive oracle that walks the grants cell by cell."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fieldgate_server.coverage import CellGrant, Coverage

cells = st.integers(0, 30) | st.integers(65520, 65535)


@st.composite
def grants(draw: st.DrawFn) -> CellGrant:
    start = draw(cells)
    end = draw(st.integers(start + 1, min(start + 12, 65536)))
    if draw(st.booleans()):
        return CellGrant(start, end, None, None, draw(st.sampled_from("abc")))
    low = draw(st.integers(0, 20))
    return CellGrant(start, end, low, draw(st.integers(low, 20)), draw(st.sampled_from("abc")))


def naive(some: list[CellGrant], start: int, count: int, values: list[int] | None) -> bool:
    for offset in range(count):
        cell = start + offset
        if cell > 65535:
            continue
        if not any(
            grant.start <= cell < grant.end
            and (values is None or grant.low is None or grant.low <= values[offset] <= (grant.high or 0))
            for grant in some
        ):
            return False
    return True


@settings(max_examples=500)
@given(st.lists(grants(), max_size=6), cells, st.integers(1, 20), st.data())
def test_the_compiled_decision_is_the_naive_one(
    some: list[CellGrant], start: int, count: int, data: st.DataObject
) -> None:
    coverage = Coverage(some)
    values = data.draw(st.lists(st.integers(0, 22), min_size=count, max_size=count))
    assert (coverage.allows(start, count) is not None) == naive(some, start, count, None)
    assert (coverage.allows_values(start, count, values) is not None) == naive(some, start, count, values)
    assert (coverage.allows_values(start, count, None) is not None) == naive(some, start, count, None)
    assert bool(coverage) == bool(some)


def test_the_grants_that_allow_are_named() -> None:
    coverage = Coverage([CellGrant(0, 5, None, None, "a"), CellGrant(5, 9, 0, 9, "b"), CellGrant(5, 9, 20, 30, "c")])
    assert coverage.allows(1, 2) == "a"
    assert coverage.allows_values(4, 3, [99, 5, 25]) == "a+b+c"
    assert coverage.allows_values(4, 3, [99, 5, 15]) is None
