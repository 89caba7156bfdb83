"""What a person who watches wants to know of each item: value, change, age and quality; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fieldgate_client.output import shown_value
from fieldgate_client.readings import Reading
from fieldgate_client.selection import Item
from fieldgate_client.values import Value


@dataclass(frozen=True)
class Row:
    """An item as it stands: `value` is the last good one, `age` its seconds, `problem` why it is not a new one."""

    label: str
    value: str
    change: str
    age: float | None
    quality: str
    problem: str


@dataclass
class _State:
    last: Reading | None = None
    good: Reading | None = None
    since: float = 0.0
    change: str = ""


class Watch:
    """Takes poll after poll; times are those of a monotonic clock, in seconds."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._states = [_State() for _ in items]
        self._labels = [_label(item, several=len({item.unit for item in items}) > 1) for item in items]

    def update(self, readings: Sequence[Reading], now: float) -> None:
        """Take a poll, in the order of the items."""
        for state, reading in zip(self._states, readings, strict=True):
            state.last = reading
            if reading.value is None:
                continue
            state.change = _change(state.good.value if state.good else None, reading.value)
            state.good, state.since = reading, now

    def rows(self, now: float) -> list[Row]:
        """Give the rows as they stand now."""
        return [self._row(label, state, now) for label, state in zip(self._labels, self._states, strict=True)]

    def _row(self, label: str, state: _State, now: float) -> Row:
        problem = "" if state.last is None or state.last.error is None else str(state.last.error)
        return Row(
            label,
            shown_value(state.good) if state.good else "-",
            state.change,
            now - state.since if state.good else None,
            state.last.quality if state.last else "",
            problem,
        )


def _label(item: Item, *, several: bool) -> str:
    return f"{item.unit}: {item.label}" if several else item.label


def _change(before: Value | None, after: Value) -> str:
    if before is None or before == after:
        return ""
    if isinstance(before, str) or isinstance(after, str):
        return "changed"
    if isinstance(before, int) and isinstance(after, int):
        return f"{after - before:+d}"
    return f"{after - before:+.6g}"
