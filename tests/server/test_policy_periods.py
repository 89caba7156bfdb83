"""Grants that begin and end by themselves, what a moment is, and clocks that jump."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Iterator

import pytest

from fieldgate_core.errors import ConfigError
from fieldgate_server.periods import moment
from fieldgate_server.policy import LOOK_AGAIN, OwnerPolicy, Policy, parse

DAY = 86400.0
FIRST = 1_796_083_200.0
"""2026-12-01T00:00:00Z."""


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is an hour ahead of UTC in December, two in July."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def policy(*grants: str, now: float = FIRST, latest: float = 0.0) -> Policy:
    text = "".join(f"{{ {grant} }}," for grant in grants)
    return parse(tomllib.loads(f"[role.r]\ngrants = [{text}]"), where="p", now=now, latest=latest)


def units(given: Policy) -> set[int]:
    return set(given.rights("r").units)


VENDOR = 'units = "1", write = "coils 0-7", from = "2026-12-01T00:00:00Z", until = "2026-12-08T00:00:00Z"'


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ('"2026-12-01"', FIRST - 3600),
        ("2026-12-01", FIRST - 3600),
        ('"2026-07-01"', 1_782_856_800.0),
        ('"2026-12-01T06:00:00+01:00"', FIRST + 5 * 3600),
        ("2026-12-01T06:00:00+01:00", FIRST + 5 * 3600),
        ("2026-12-01 06:00:00Z", FIRST + 6 * 3600),
        ('"2026-12-01T06:00Z"', FIRST + 6 * 3600),
    ],
)
def test_a_moment_is_a_date_or_a_date_time_with_offset(written: str, seconds: float) -> None:
    assert moment(tomllib.loads(f"at = {written}")["at"]) == seconds
    bounded = f'units = "1", read = "all", from = {written}'
    assert units(policy(bounded, now=seconds - 1)) == set()
    assert units(policy(bounded, now=seconds)) == {1}


@pytest.mark.parametrize(
    ("bounds", "key", "problem"),
    [
        ('from = "2026-12-01T06:00:00"', "from", "has no offset"),
        ("until = 2026-12-01T06:00:00", "until", "has no offset"),
        ('from = "tomorrow"', "from", "is no date"),
        ('until = "2026-13-01"', "until", "is no date"),
        ('until = "1.12.2026"', "until", "is no date"),
        ('from = "2026-12-08", until = "2026-12-01"', "until", "comes before the grant begins"),
        ('from = "2026-12-01", until = "2026-12-01"', "until", "comes before the grant begins"),
        ("until = 06:00:00", "until", "must be a date"),
        ("until = 20261201", "until", "must be a date"),
        ("from = true", "from", "must be a date"),
    ],
)
def test_what_is_no_moment_is_refused_with_its_key(bounds: str, key: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy(f'units = "1", read = "all", {bounds}')
    assert caught.value.where == f"p: role.r.grants[0].{key}"
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    ("now", "holds"),
    [(FIRST - 1, False), (FIRST, True), (FIRST + 7 * DAY - 1, True), (FIRST + 7 * DAY, False), (FIRST + 9e9, False)],
)
def test_a_grant_holds_from_its_beginning_until_just_before_its_end(now: float, holds: bool) -> None:
    assert (units(policy(VENDOR, now=now)) == {1}) is holds
    assert (units(policy(VENDOR, now=0).at(now)) == {1}) is holds
    assert [grant.name for grant in policy(VENDOR, now=now).not_now("r")] == ([] if holds else ["r[0]"])


def test_functions_and_management_end_as_well() -> None:
    given = policy('units = "1", function = "identify", manage = ["kick"], until = "2026-12-08T00:00:00Z"')
    assert 17 in given.rights("r").units[1].functions
    assert given.rights("r").manage == {"kick": "r[0]"}
    ended = given.at(FIRST + 7 * DAY)
    assert units(ended) == set()
    assert ended.rights("r").manage == {}


def test_what_does_not_change_keeps_its_rights_object() -> None:
    roles = {name: {"grants": [{"units": "1", "read": "all"}]} for name in "ab"}
    roles["b"]["grants"].append({"units": "2", "read": "all", "until": "2026-12-08T00:00:00Z"})
    before = parse({"role": roles}, where="p", now=FIRST)
    after = before.at(FIRST + 7 * DAY)
    assert after.rights("a") is before.rights("a")
    assert after.rights("b") is not before.rights("b")
    assert before.at(FIRST + 1).rights("b") is before.rights("b")
    assert set(before.rights("b").units) == {1, 2}, "the policy before stays what it was"


def test_the_next_change_is_the_next_beginning_or_end_of_any_role() -> None:
    given = policy(VENDOR, 'units = "2", read = "all", until = "2026-12-03T00:00:00Z"', now=FIRST - DAY)
    moments = []
    while (change := given.next_change()) is not None:
        moments.append((change, units(given.at(change))))
        given = given.at(change)
    assert moments == [(FIRST, {1, 2}), (FIRST + 2 * DAY, {1}), (FIRST + 7 * DAY, set())]


def test_it_is_looked_at_again_in_time_and_often_enough_to_notice_a_clock_that_jumps() -> None:
    assert policy(VENDOR, now=FIRST - 3).look_again() == 3
    assert policy(VENDOR, now=FIRST - DAY).look_again() == LOOK_AGAIN
    assert policy(VENDOR, now=FIRST + 7 * DAY - 2).look_again() == 2
    assert policy(VENDOR, now=FIRST + 7 * DAY).look_again() is None, "what has ended never changes again"
    begun = policy('units = "1", read = "all", from = "2026-12-01T00:00:00Z"', now=FIRST + DAY)
    assert begun.look_again() == LOOK_AGAIN, "the clock may go back to before it"
    assert policy('units = "1", read = "all"').look_again() is None
    assert OwnerPolicy(1000).look_again() is None
    assert OwnerPolicy(1000).next_change() is None


def test_a_clock_that_is_set_back_revives_nothing_that_has_ended() -> None:
    ended = policy(VENDOR, now=FIRST + DAY).at(FIRST + 7 * DAY)
    assert units(ended) == set()
    assert units(ended.at(FIRST + DAY)) == set()
    assert units(ended.at(FIRST + DAY).at(FIRST + 2 * DAY)) == set()
    assert units(policy(VENDOR, now=FIRST + DAY, latest=ended.latest)) == set(), "nor does a reload"
    assert units(policy(VENDOR, now=FIRST + DAY, latest=FIRST)) == {1}


def test_a_clock_that_is_set_back_takes_what_had_begun_too_early() -> None:
    open_ended = 'units = "1", read = "all", from = "2026-12-01T00:00:00Z"'
    begun = policy(open_ended, now=FIRST + DAY)
    assert units(begun) == {1}
    assert units(begun.at(FIRST - DAY)) == set()
    assert units(begun.at(FIRST - DAY).at(FIRST)) == {1}


def test_a_clock_that_is_set_forward_ends_a_grant_at_once() -> None:
    assert units(policy(VENDOR, now=FIRST + DAY).at(FIRST + 400 * DAY)) == set()


def test_the_quick_start_has_no_time() -> None:
    owner = OwnerPolicy(1000)
    assert set(owner.at(FIRST).rights("owner").units) == set(range(1, 255))
