"""Signals: bounds of every kind, values worked out by hand, and the same values in every run."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from hashlib import blake2b
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldgate_server.signals import Constant, Counter, Playback, Ramp, Signal, Sine, Square, Walk

TENTH = Fraction(1, 10)
SPANS = st.tuples(st.integers(0, 65534), st.integers(1, 65535)).map(lambda ends: (ends[0], min(65535, sum(ends))))
TURNS = st.builds(Fraction, st.integers(1, 500), st.integers(1000, 10**9))
TICKS = st.integers(0, 10**12)


def first(signal: Signal, count: int) -> list[int]:
    return [signal.at(tick) for tick in range(count)]


def test_a_constant_stays() -> None:
    assert first(Constant(17), 3) == [17, 17, 17]


def test_a_ramp_gives_every_value_its_share_of_a_cycle() -> None:
    assert first(Ramp(0, 4, TENTH), 12) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 0, 0]


def test_a_sine_begins_midway_and_rises() -> None:
    # 100 + 100 sin(36 degrees x tick): sines 0, .588, .951, .951, .588
    assert first(Sine(0, 200, TENTH), 11) == [100, 159, 195, 195, 159, 100, 41, 5, 5, 41, 100]


def test_a_sine_reaches_both_ends() -> None:
    assert first(Sine(180, 250, Fraction(1, 4)), 5) == [215, 250, 215, 180, 215]


def test_a_square_is_low_first_then_high() -> None:
    assert first(Square(0, 1, TENTH), 12) == [0] * 5 + [1] * 5 + [0, 0]
    assert first(Square(3, 8, Fraction(1, 3)), 6) == [3, 3, 8, 3, 3, 8]


def test_a_counter_rolls_over_as_a_register_does() -> None:
    assert first(Counter(10, 19, 4), 6) == [10, 14, 18, 12, 16, 10]
    assert Counter(0, 65535, 3).at(21845) == 65535
    assert Counter(0, 65535, 3).at(21846) == 2


def test_a_recording_begins_again_at_its_end() -> None:
    assert first(Playback([5, 6, 7]), 7) == [5, 6, 7, 5, 6, 7, 5]


def walk_by_hand(low: int, high: int, step: int, stream: str, ticks: int) -> list[int]:
    """Go one step after the other, in exact fractions, and turn back at both ends."""
    drawn = b"".join(blake2b(f"{stream} {block}".encode()).digest() for block in range(ticks // 64 + 1))
    value, direction, way = Fraction((low + high) // 2), 1, []
    for byte in drawn[:ticks]:
        way.append(round(value))
        value += direction * Fraction(step * (2 * byte - 255), 255)
        while not low <= value <= high:
            value = 2 * (low if value < low else high) - value
            direction = -direction
    return way


@pytest.mark.parametrize(("low", "high", "step"), [(180, 250, 3), (0, 1, 1), (7, 12, 5), (0, 65535, 4000)])
def test_a_walk_is_its_formula_step_by_step(low: int, high: int, step: int) -> None:
    assert first(Walk(low, high, step, "7 1 input 0"), 1000) == walk_by_hand(low, high, step, "7 1 input 0", 1000)


def test_a_walk_keeps_its_values() -> None:
    """What a user has seen in one release is what the next one shows."""
    way = first(Walk(0, 100, 3, "7 1 input 0"), 70)
    assert way[:12] == [50, 50, 51, 48, 48, 49, 50, 52, 50, 52, 52, 54]
    assert way[64:] == [75, 77, 76, 79, 79, 82]


@given(SPANS, st.data(), st.lists(TICKS.map(lambda tick: tick % 5000), min_size=1, max_size=8))
def test_a_walk_does_not_care_which_ticks_were_asked_before(
    span: tuple[int, int], data: st.DataObject, ticks: list[int]
) -> None:
    low, high = span
    step = data.draw(st.integers(1, high - low))
    signal = Walk(low, high, step, "0 1 holding 4")
    assert [signal.at(tick) for tick in ticks] == [Walk(low, high, step, "0 1 holding 4").at(tick) for tick in ticks]


@given(SPANS, st.data(), st.text(max_size=10))
def test_a_walk_stays_within_its_ends_and_its_step(span: tuple[int, int], data: st.DataObject, stream: str) -> None:
    low, high = span
    step = data.draw(st.integers(1, high - low))
    way = first(Walk(low, high, step, stream), 200)
    assert all(low <= value <= high for value in way)
    assert all(abs(after - before) <= step for before, after in pairwise(way))


def test_walks_of_other_streams_are_others() -> None:
    streams = ["0 1 input 0", "0 1 input 1", "0 1 holding 0", "0 2 input 0", "1 1 input 0", "0 11 input 0"]
    assert len({tuple(first(Walk(0, 65535, 500, stream), 20)) for stream in streams}) == len(streams)


@pytest.mark.parametrize("kind", [Ramp, Sine, Square])
@given(span=SPANS, turn=TURNS, tick=TICKS)
def test_what_goes_in_cycles_stays_within_its_ends_and_repeats_exactly(
    kind: Callable[[int, int, Fraction], Signal], span: tuple[int, int], turn: Fraction, tick: int
) -> None:
    signal = kind(*span, turn)
    assert span[0] <= signal.at(tick) <= span[1]
    assert signal.at(tick) == signal.at(tick + turn.denominator)


@pytest.mark.parametrize("kind", [Ramp, Sine, Square])
def test_what_goes_in_cycles_reaches_both_ends(kind: Callable[[int, int, Fraction], Signal]) -> None:
    values = first(kind(180, 250, Fraction(1, 400)), 400)
    assert (min(values), max(values)) == (180, 250)


@given(SPANS, st.data(), TICKS)
def test_a_counter_stays_within_its_ends(span: tuple[int, int], data: st.DataObject, tick: int) -> None:
    low, high = span
    signal = Counter(low, high, data.draw(st.integers(1, high - low)))
    assert low <= signal.at(tick) <= high


@given(st.lists(st.integers(0, 65535), min_size=1), TICKS)
def test_a_recording_plays_only_what_it_holds(values: list[int], tick: int) -> None:
    assert Playback(values).at(tick) == values[tick % len(values)]
