"""Who fails to authenticate is locked out, longer each time; nobody else is, and whoever is quiet is forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fieldgate_tunnel.limits import LOCKOUT, Gate, Limits, Lockout, Place

LIMITS = Limits(failures_before_lockout=3, lockout_first=1, lockout_longest=16, lockout_forgets=60, lockout_addresses=5)


def entered(gate: Gate, address: str) -> Place:
    """Take a place that there is."""
    place = gate.enter(address, lambda: None)
    assert isinstance(place, Place)
    return place


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_each_further_failure_locks_out_for_twice_as_long_up_to_the_longest() -> None:
    clock = Clock()
    lockout = Lockout(LIMITS, clock)
    assert [lockout.failed("a") for _ in range(3)] == [None, None, None]
    for seconds in (1, 2, 4, 8, 16, 16, 16):
        assert not lockout.locked("a")
        assert lockout.failed("a") == seconds
        clock.now += seconds - 0.001
        assert lockout.locked("a")
        clock.now += 0.001
    assert lockout.total == 7


def test_another_address_is_not_touched() -> None:
    lockout = Lockout(LIMITS, Clock())
    for _ in range(4):
        lockout.failed("a")
    assert lockout.locked("a")
    assert not lockout.locked("b")
    assert lockout.failed("b") is None
    assert lockout.now_locked() == 1


def test_a_success_clears() -> None:
    clock = Clock()
    lockout = Lockout(LIMITS, clock)
    for _ in range(4):
        lockout.failed("a")
    clock.now += 1
    lockout.succeeded("a")
    assert len(lockout) == 0
    assert [lockout.failed("a") for _ in range(4)] == [None, None, None, 1]


def test_failures_that_were_under_way_when_the_lockout_began_do_not_prolong_it() -> None:
    clock = Clock()
    lockout = Lockout(LIMITS, clock)
    for _ in range(4):
        lockout.failed("a")
    assert [lockout.failed("a") for _ in range(10)] == [None] * 10
    clock.now += 1
    assert not lockout.locked("a")
    assert lockout.failed("a") == 2


def test_whoever_is_quiet_long_enough_is_forgotten_and_begins_anew() -> None:
    clock = Clock()
    lockout = Lockout(LIMITS, clock)
    for _ in range(4):
        lockout.failed("a")
    clock.now += 59
    lockout.failed("b")
    assert len(lockout) == 2
    clock.now += 1
    lockout.failed("b")
    assert len(lockout) == 1
    assert [lockout.failed("a") for _ in range(3)] == [None, None, None]


def test_of_too_many_addresses_the_one_that_failed_longest_ago_goes() -> None:
    lockout = Lockout(LIMITS, Clock())
    for site in ("a", "b", "c", "d", "e", "a"):
        lockout.failed(site)
    lockout.failed("f")
    assert [lockout.failed("a") for _ in range(2)] == [None, 1], "its two failures were kept, b's was not"
    assert [lockout.failed("b") for _ in range(3)] == [None] * 3
    assert len(lockout) == 5


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["fail", "pass"]), st.sampled_from([0, 0.5, 1, 7, 61])),
        max_size=80,
    )
)
def test_it_agrees_with_a_plain_account_of_who_failed_when(steps: list[tuple[str, str, float]]) -> None:
    """The account keeps everything; the lock-out forgets, and must not be seen to."""
    limits = Limits(failures_before_lockout=3, lockout_first=1, lockout_longest=16, lockout_forgets=60)
    clock = Clock()
    lockout = Lockout(limits, clock)
    failures: dict[str, list[float]] = {}
    until: dict[str, float] = {}
    for site, what, pause in steps:
        locked = clock.now < until.get(site, 0)
        assert lockout.locked(site) is locked
        if what == "pass":
            failures.pop(site, None)
            until.pop(site, None)
            lockout.succeeded(site)
        elif locked:
            assert lockout.failed(site) is None
        else:
            past = failures.setdefault(site, [])
            if past and clock.now - past[-1] >= 60:
                past.clear()
            past.append(clock.now)
            seconds = min(2 ** (len(past) - 4), 16) if len(past) > 3 else None
            assert lockout.failed(site) == seconds
            until[site] = clock.now + (seconds or 0)
        assert lockout.now_locked() == sum(clock.now < end for end in until.values())
        clock.now += pause
    # nothing is kept of those who were quiet
    clock.now += 61
    lockout.failed("last")
    assert len(lockout) == 1


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 20)), max_size=100))
def test_it_never_remembers_more_than_it_may(steps: list[tuple[int, float]]) -> None:
    clock = Clock()
    lockout = Lockout(LIMITS, clock)
    for site, pause in steps:
        lockout.failed(str(site))
        assert len(lockout) <= LIMITS.lockout_addresses
        clock.now += pause


def test_the_gate_keeps_out_who_is_locked_out_and_counts_it() -> None:
    clock = Clock()
    gate = Gate(LIMITS, clock)
    said = [gate.failed(entered(gate, "2001:db8::1"), authentication=True) for _ in range(4)]
    assert said == [None] * 3 + ["2001:db8::/64 is locked out for 1 s: too many failed authentications"]
    assert gate.enter("2001:db8::2", lambda: None) == LOCKOUT, "a neighbour in its /64 is the same peer"
    entered(gate, "2001:db9::1")
    assert gate.hits == {LOCKOUT: 1}
    assert (gate.failed_total, gate.under_way) == (4, 1)
    clock.now += 1
    gate.succeeded(entered(gate, "2001:db8::1"))
    assert len(gate.lockout) == 0


def test_who_only_connects_is_not_locked_out() -> None:
    gate = Gate(LIMITS, Clock())
    for _ in range(50):
        assert gate.failed(entered(gate, "192.0.2.1"), authentication=False) is None
    assert gate.failed_total == 50
