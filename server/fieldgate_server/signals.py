"""The values of simulated signals: what each kind is at its n-th tick; pure, and the same in every run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import blake2b
from typing import Protocol


class Signal(Protocol):
    """One simulated cell."""

    def at(self, tick: int) -> int:
        """Give the value at a tick, counted from 0; it depends on nothing else."""


@dataclass(frozen=True, slots=True)
class Constant:
    """Always `value`."""

    value: int

    def at(self, tick: int) -> int:  # noqa: ARG002
        return self.value


@dataclass(frozen=True, slots=True)
class Ramp:
    """From `low` up to `high`, every value for the same share of a cycle, then `low` again; `turn` cycles a tick."""

    low: int
    high: int
    turn: Fraction

    def at(self, tick: int) -> int:
        return self.low + _part(tick, self.turn) * (self.high - self.low + 1) // self.turn.denominator


@dataclass(frozen=True, slots=True)
class Sine:
    """Between `low` and `high`, from midway upwards; `turn` cycles a tick."""

    low: int
    high: int
    turn: Fraction

    def at(self, tick: int) -> int:
        angle = math.tau * _part(tick, self.turn) / self.turn.denominator
        return round((self.low + self.high) / 2 + (self.high - self.low) / 2 * math.sin(angle))


@dataclass(frozen=True, slots=True)
class Square:
    """`low` for the first half of a cycle, `high` for the second; `turn` cycles a tick."""

    low: int
    high: int
    turn: Fraction

    def at(self, tick: int) -> int:
        return self.low if 2 * _part(tick, self.turn) < self.turn.denominator else self.high


@dataclass(frozen=True, slots=True)
class Counter:
    """From `low`, `step` more a tick; what goes past `high` goes on from `low`, as a meter rolls over."""

    low: int
    high: int
    step: int

    def at(self, tick: int) -> int:
        return self.low + tick * self.step % (self.high - self.low + 1)


class Walk:
    """A random walk from midway between `low` and `high`, reflected at both; at most `step` a tick.

    The n-th tick goes by `step` x (2b - 255) / 255, where b is the n-th byte of the endless text
    BLAKE2b("`stream` 0"), BLAKE2b("`stream` 1"), ... of 64 bytes each. Only the sum of the bytes matters, so ticks
    that were left out cost a hash for 64 of them.
    """

    __slots__ = ("_before", "_block", "_high", "_low", "_step", "_stream")

    def __init__(self, low: int, high: int, step: int, stream: str) -> None:
        self._low = low
        self._high = high
        self._step = step
        self._stream = stream
        self._block = 0
        self._before = 0  # the sum of all bytes before that block

    def at(self, tick: int) -> int:
        block, bytes_of_it = divmod(tick, 64)
        if block < self._block:
            self._block = self._before = 0
        while self._block < block:
            self._before += sum(self._bytes(self._block))
            self._block += 1
        total = self._before + sum(self._bytes(block)[:bytes_of_it])
        # in steps of 1/255, so that nothing is rounded before the end
        span = 255 * (self._high - self._low)
        way = (255 * ((self._high - self._low) // 2) + self._step * (2 * total - 255 * tick)) % (2 * span)
        return self._low + (min(way, 2 * span - way) + 127) // 255

    def _bytes(self, block: int) -> bytes:
        return blake2b(f"{self._stream} {block}".encode()).digest()


@dataclass(frozen=True, slots=True)
class Playback:
    """A recording of one value a tick, that begins again at its end."""

    values: Sequence[int]

    def at(self, tick: int) -> int:
        return self.values[tick % len(self.values)]


def _part(tick: int, turn: Fraction) -> int:
    """Give the part of the cycle that is over at a tick, in shares of `turn`'s denominator; exact at any tick."""
    return tick * turn.numerator % turn.denominator
