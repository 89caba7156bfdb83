"""An identity gets its rate, over all its sessions and no more; it recovers, and who has left is forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldgate_server.rates import BURST, Bucket, Rates


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 10**12

    def __call__(self) -> int:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)


def test_a_second_s_worth_at_once_then_one_each_interval() -> None:
    clock = Clock()
    bucket = Bucket(10, clock)
    assert [bucket.take() for _ in range(12)] == [True] * 10 + [False] * 2
    clock.wait(0.1001)
    assert [bucket.take() for _ in range(2)] == [True, False]
    clock.wait(1000)
    assert [bucket.take() for _ in range(12)] == [True] * 10 + [False] * 2


def test_a_rate_below_one_a_second_still_lets_one_through() -> None:
    clock = Clock()
    bucket = Bucket(0.5, clock)
    assert [bucket.take(), bucket.take()] == [True, False]
    clock.wait(1.9)
    assert not bucket.take()
    clock.wait(0.2)
    assert bucket.take()


@given(
    per_second=st.integers(1, 50),
    pauses=st.lists(st.integers(0, 2000).map(lambda ms: ms / 1000), min_size=1, max_size=200),
)
def test_in_no_span_of_time_more_than_the_rate_and_one_burst(per_second: int, pauses: list[float]) -> None:
    clock = Clock()
    bucket = Bucket(per_second, clock)
    taken = []
    for pause in pauses:
        clock.wait(pause)
        taken += [clock.now] * sum(bucket.take() for _ in range(3))
    for first, start in enumerate(taken):
        for last, end in enumerate(taken[first:], first):
            assert last - first + 1 <= (end - start + BURST) // (10**9 // per_second)


@given(per_second=st.integers(1, 50), count=st.integers(1, 200))
def test_who_asks_no_faster_than_the_rate_is_never_refused(per_second: int, count: int) -> None:
    clock = Clock()
    bucket = Bucket(per_second, clock)
    for _ in range(count):
        assert bucket.take()
        clock.wait(1 / per_second)


def test_sessions_of_one_identity_share_and_another_identity_does_not() -> None:
    clock = Clock()
    rates = Rates(3, clock)
    one, two, other = rates.enter("tls:a"), rates.enter("tls:a"), rates.enter("tls:b")
    assert [one.take(), two.take(), one.take(), two.take()] == [True, True, True, False]
    assert [other.take() for _ in range(4)] == [True, True, True, False]


def test_to_leave_and_come_back_gives_nothing_anew() -> None:
    clock = Clock()
    rates = Rates(3, clock)
    bucket = rates.enter("tls:a")
    assert [bucket.take() for _ in range(3)] == [True] * 3
    rates.leave("tls:a")
    assert not rates.enter("tls:a").take()


def test_one_session_s_leave_is_not_another_s() -> None:
    clock = Clock()
    rates = Rates(3, clock)
    stays = rates.enter("tls:a")
    rates.enter("tls:a")
    assert [stays.take() for _ in range(3)] == [True] * 3
    rates.leave("tls:a")
    clock.wait(0.1)
    rates.enter("tls:b")
    assert rates.enter("tls:a") is stays
    rates.leave("tls:a")
    clock.wait(100)
    rates.enter("tls:c")
    assert rates.enter("tls:a") is stays, "it has had a session all the time"


def test_who_has_come_back_is_not_forgotten() -> None:
    clock = Clock()
    rates = Rates(3, clock)
    bucket = rates.enter("tls:a")
    rates.leave("tls:a")
    assert rates.enter("tls:a") is bucket
    clock.wait(100)
    rates.enter("tls:b")
    assert rates.enter("tls:a") is bucket, "two sessions of one identity share"


def test_who_has_left_is_forgotten_when_the_bucket_is_full() -> None:
    clock = Clock()
    rates = Rates(3, clock)
    for number in range(100):
        for _ in range(2):
            rates.enter(f"tls:{number}").take()
        rates.leave(f"tls:{number}")
        rates.leave(f"tls:{number}")
    assert len(rates) == 100
    clock.wait(1)
    rates.enter("tls:new")
    assert len(rates) == 1


def test_no_limit_is_the_default_and_a_new_rate_holds_for_who_is_connected() -> None:
    clock = Clock()
    rates = Rates(0, clock)
    bucket = rates.enter("tls:a")
    found = [bucket.limited]
    rates.change(2)
    found.append(bucket.limited)
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    found.append(rates.enter("tls:b").limited)
    rates.change(0)
    found.append(bucket.limited)
    assert found == [False, True, True, False]


@pytest.mark.parametrize("interval", [1e-6, 10.0])
def test_the_least_and_the_greatest_rate_of_the_settings(interval: float) -> None:
    clock = Clock()
    bucket = Bucket(1 / interval, clock)
    assert bucket.take()
    clock.wait(interval)
    assert bucket.take()
