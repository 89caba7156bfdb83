"""Change events: who wants to know of changed cells, and what they are told; pure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from fieldgate_core.modbus import Space

log = logging.getLogger("fieldgate.changes")


class Change(NamedTuple):
    """A run of cells that all changed: old and new values (bits as 0 and 1), and who changed them.

    `by` is the typed name of an identity, or the name of a part of the server ("simulation").
    """

    unit: int
    space: Space
    start: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    by: str


Subscriber = Callable[[Change], None]


class Changes:
    """Tells its subscribers of every change, in the order in which they happened, in the event loop's thread."""

    __slots__ = ("_subscribers", "wanted")

    def __init__(self) -> None:
        self._subscribers: tuple[Subscriber, ...] = ()
        self.wanted = False
        """Whether anybody wants to know: asked at every request."""

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Tell `subscriber` of changes from now on; it must return at once. Gives what ends the subscription."""
        self._subscribers += (subscriber,)
        self.wanted = True

        def unsubscribe() -> None:
            self._subscribers = tuple(one for one in self._subscribers if one is not subscriber)
            self.wanted = bool(self._subscribers)

        return unsubscribe

    def tell(self, change: Change) -> None:
        """Tell all subscribers; one that raises is logged and does not keep the others from hearing."""
        for subscriber in self._subscribers:
            try:
                subscriber(change)
            except Exception:
                log.exception("a subscriber failed at a change of %s %d", change.space, change.start)


def runs(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Give first and end offset of each run of places where two sequences of one length differ."""
    start: int | None = None
    for offset, (old, new) in enumerate(zip(before, after, strict=True)):
        if old != new:
            start = offset if start is None else start
        elif start is not None:
            yield start, offset
            start = None
    if start is not None:
        yield start, len(before)
