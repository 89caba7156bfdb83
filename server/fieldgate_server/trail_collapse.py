"""Equal refusals become one line and a count, and nobody fills the trail by varying what is refused. Pure.

Of each source (an identity with its door, or a door before anybody is authenticated) the first refusals of a kind are
written, and then, at every tick, a count for each kind; what goes beyond its share is counted in one line. Sessions
have a share too, beyond which they are counted and summed up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from fieldgate_server.trail_text import facts_text

WINDOW = 10.0
"""Seconds between two counts."""
KINDS = 10
"""Kinds of refusal that are told apart, of one source."""
SESSION_LINES = 20
"""Lines on sessions that are written one by one, of one source and window."""
SOURCES = 500
"""Sources that are told apart; the rest are one."""

_Kind = tuple[str, str]


class _Source:
    """What is known of one source in this window."""

    __slots__ = ("beyond", "kinds", "sessions", "sums")

    def __init__(self) -> None:
        self.kinds: dict[_Kind, int] = {}
        self.beyond = 0
        self.sessions = 0
        self.sums: Counter[str] = Counter()


class Collapse:
    """Decides for each line whether it is written now or counted. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._sources: dict[str, _Source] = {}
        self._next: float | None = None

    def admit(self, event: str, who: str, facts: Mapping[str, object], now: float) -> bool:
        """Tell whether a line is to be written; if not, it has been counted."""
        if event not in {"refused", "session"}:
            return True
        if self._next is None:
            self._next = now + WINDOW
        name = _source_of(who, facts)
        source = self._sources.get(name)
        if source is None:
            if len(self._sources) >= SOURCES:
                name = ""
            source = self._sources.setdefault(name, _Source())
        return _refused(source, who, facts) if event == "refused" else _session(source, facts)

    def due(self, now: float, *, everything: bool = False) -> list[str]:
        """Give the counts that are to be written now, each a line from `event=` on."""
        if self._next is None or (now < self._next and not everything):
            return []
        lines: list[str] = []
        for name, source in list(self._sources.items()):
            lines += _counts(name, source)
            kinds = {kind: 0 for kind, count in source.kinds.items() if count}
            if kinds and not everything:
                # who goes on is only counted
                self._sources[name] = fresh = _Source()
                fresh.kinds = kinds
            else:
                del self._sources[name]
        self._next = now + WINDOW if self._sources else None
        return lines


def _refused(source: _Source, who: str, facts: Mapping[str, object]) -> bool:
    told = {name: value for name, value in facts.items() if name not in {"peer", "new"}}
    # before anybody is authenticated the peer's address is part of what is equal, its port is not
    kind = facts_text(told), "" if who else str(facts.get("peer", "")).rpartition(":")[0]
    if kind in source.kinds:
        source.kinds[kind] += 1
        return False
    if len(source.kinds) >= KINDS:
        source.beyond += 1
        return False
    source.kinds[kind] = 0
    return True


def _session(source: _Source, facts: Mapping[str, object]) -> bool:
    source.sessions += 1
    if source.sessions <= SESSION_LINES:
        return True
    source.sums[str(facts.get("state"))] += 1
    for name in ("reads", "writes", "refusals"):
        count = facts.get(name)
        if isinstance(count, int):
            source.sums[name] += count
    return False


def _counts(name: str, source: _Source) -> list[str]:
    who = f" {name}" if name else " what=others"
    lines = []
    for (told, address), count in source.kinds.items():
        if count:
            peer = f" peer={address}" if address else ""
            lines.append(f"event=refused{who}{peer} {_without_door(told, who)} repeated={count}")
    if source.beyond:
        lines.append(f"event=refused{who} what=further repeated={source.beyond}")
    if source.sums:
        lines.append(f"event=session{who} what=further {facts_text(source.sums)}")
    return lines


def _source_of(who: str, facts: Mapping[str, object]) -> str:
    if not who:
        return facts_text({"door": facts.get("door")})
    # the peer's address stands last, and its port changes
    return who.rpartition(" peer=")[0] or who.rstrip()


def _without_door(told: str, who: str) -> str:
    """Leave out the door where it names the source already."""
    return told.removeprefix(f"{who[1:]} ") if who.startswith(" door=") else told
