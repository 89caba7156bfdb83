"""The day's bytes: counted to midnight UTC, a warning before the cap, keepalives spread only where bytes run ahead."""

from hypothesis import given
from hypothesis import strategies as st

from fieldgate_tunnel.budget import DAY, MOST_SPREAD, Budget, Level

NOON = 20_000 * DAY + DAY // 2


def test_a_day_warns_at_four_fifths_is_spent_at_its_cap_and_ends_at_midnight() -> None:
    budget = Budget(1000)
    assert budget.spend(799, NOON) is Level.FINE
    assert budget.spend(1, NOON) is Level.WARNED
    assert budget.spend(199, NOON + 1) is Level.WARNED
    assert budget.spend(1, NOON + 2) is Level.SPENT
    assert budget.rest_of_day(NOON) == DAY / 2
    assert budget.spend(0, NOON + DAY // 2 - 1) is Level.SPENT
    assert budget.spend(0, NOON + DAY // 2) is Level.FINE
    assert budget.used == 0


@given(st.lists(st.integers(0, 10**9), max_size=20))
def test_without_a_cap_bytes_are_counted_and_nothing_else(counts: list[int]) -> None:
    budget = Budget()
    assert all(budget.spend(count, NOON) is Level.FINE for count in counts)
    assert budget.used == sum(counts)
    assert budget.spread(NOON) == 1.0


def test_keepalives_are_spread_as_the_cap_gets_near_unless_the_day_has_got_as_far() -> None:
    budget = Budget(1000)
    budget.spend(500, NOON)
    assert budget.spread(NOON) == 1.0
    budget.spend(250, NOON)
    assert budget.spread(NOON) == 1.0 + (MOST_SPREAD - 1.0) / 2
    assert budget.spread(NOON + DAY // 4) == 1.0
    budget.spend(10_000, NOON)
    assert budget.spread(NOON) == MOST_SPREAD
