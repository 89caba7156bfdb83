"""The clock's floor: the newest moment that is known to have been, and what is said of a clock before it."""

from __future__ import annotations

import time

import pytest

from fieldgate_core.clock import BUILD, BUILT, Known, clock_floor, complaint, plausible


def test_the_build_date_is_a_day_that_has_been() -> None:
    assert BUILT % 86400 == 0
    assert plausible(time.time())


def test_the_newest_moment_counts_and_never_less_than_the_build() -> None:
    older, newer = Known(BUILT - 1, "older"), Known(BUILT + 1, "newer")
    assert clock_floor() == clock_floor(older) == BUILD
    assert clock_floor(older, newer) == clock_floor(newer, older) == newer


@pytest.mark.parametrize(("now", "right"), [(0.0, False), (BUILT - 1, False), (BUILT, True), (BUILT + 4e7, True)])
def test_a_clock_is_plausible_from_the_floor_on(now: float, right: bool) -> None:
    assert plausible(now) is right


def test_the_complaint_says_both_times_and_why() -> None:
    said = complaint(0.0, Known(BUILT, "this fieldgate was built"))
    assert said == (
        "the clock looks wrong: it says 1970-01-01 00:00Z, and must be after 2026-11-20 00:00Z, "
        "when this fieldgate was built"
    )
