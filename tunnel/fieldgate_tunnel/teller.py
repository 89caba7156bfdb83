"""Write the events of one link or dial to the log, a failure that repeats only once."""

from __future__ import annotations

import logging

from fieldgate_tunnel.link_events import (
    BudgetWarning,
    LinkConnecting,
    LinkDegraded,
    LinkDown,
    LinkEvent,
    LinkUp,
    NameTaken,
)

log = logging.getLogger("fieldgate.link")


class Teller:
    """Writes the events of one link to the log, and a failure that repeats only once."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._told = ""

    def tell(self, event: LinkEvent) -> None:
        """Write a line, or none."""
        match event:
            case LinkConnecting(attempt):
                if attempt == 1:
                    log.info("%s: connecting", self._target)
            case LinkUp(round_trip):
                self._told = ""
                log.info("%s: up, round trip %.1f ms", self._target, 1000 * round_trip)
            case NameTaken(name):
                self._told = ""
                log.info("%s: up: the hub knows this box as %s", self._target, name)
            case LinkDegraded(reason):
                log.warning("%s: degraded: %s", self._target, reason)
            case LinkDown():
                self._down(event)
            case BudgetWarning(used, cap):
                log.warning("%s: %d of today's %d bytes are used", self._target, used, cap)

    def _down(self, event: LinkDown) -> None:
        if event.unknown_writes:
            count = event.unknown_writes
            log.warning("%s: outcome unknown of %d writes that were on the way", self._target, count)
        problem = event.problem
        if problem == self._told:
            return
        self._told = problem
        if event.retry_in is None:
            log.info("%s: down: %s", self._target, problem)
            return
        more = "; time alone does not mend this, so it is tried rarely" if event.hopeless else "; trying again"
        hint = f" ({event.error.hint})" if event.error.hint else ""
        log.warning("%s: down: %s%s%s", self._target, problem, hint, more)
