"""What became of the items that were asked for: a value, or the error in its place; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fieldgate_client.selection import Item
from fieldgate_client.values import Value
from fieldgate_core.errors import DeadlineError, ExceptionReplyError, FieldgateError, TunnelError


class Reading(NamedTuple):
    """An item with its value, or with the error in its place."""

    item: Item
    value: Value | None
    error: FieldgateError | None = None

    @property
    def quality(self) -> str:
        """Say good, stale (no answer: what was known before may still hold) or error (the answer is no)."""
        if self.error is None:
            return "good"
        return "stale" if isinstance(self.error, TunnelError | DeadlineError) else "error"


def failures(readings: Sequence[Reading]) -> list[FieldgateError]:
    """Give the exceptions that came among answers. Raises any other error, and the first where no answer came."""
    errors = [reading.error for reading in readings if reading.error is not None]
    for error in errors:
        # what the others answered is worth printing only where an answer came at all
        if len(errors) == len(readings) or not isinstance(error, ExceptionReplyError):
            raise error
    return errors


def problems(readings: Sequence[Reading]) -> list[str]:
    """Write each error once, with the unit that it is of where there are several."""
    several = len({reading.item.unit for reading in readings}) > 1
    said = (
        (f"unit {reading.item.unit}: " if several else "") + str(reading.error) for reading in readings if reading.error
    )
    return [*dict.fromkeys(said)]
