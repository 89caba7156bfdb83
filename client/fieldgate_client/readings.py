"""What became of the items that were asked for: a value, or the error in its place; pure."""

from __future__ import annotations

from typing import NamedTuple

from fieldgate_client.selection import Item
from fieldgate_client.values import Value
from fieldgate_core.errors import DeadlineError, FieldgateError, TunnelError


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
