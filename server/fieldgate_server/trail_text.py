"""How a line of the trail is written: facts as name=value, which no fact can forge, and the wall time."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import UTC, datetime

from fieldgate_core.logs import printable

LONGEST = 2000
"""Characters of one fact: enough for any name that was authenticated, too few to be a flood."""


def facts_text(facts: Mapping[str, object]) -> str:
    """Write facts as name=value with spaces between, those that are None left out."""
    return " ".join([f"{name}={_shown(value)}" for name, value in facts.items() if value is not None])


def wall_time(at: float) -> str:
    """Write a time (seconds since 1970) in UTC, to the millisecond (RFC 3339)."""
    return f"{_second(int(at))}.{int(at * 1000) % 1000:03d}+00:00"


def _shown(value: object) -> str:
    if type(value) is int:
        return str(value)
    text = str(value)
    if text.isascii() and text.isalnum():
        return text
    text = printable(text, LONGEST)
    return text if text and not set(text) & {" ", "=", '"'} else f'"{text}"'


@functools.lru_cache(maxsize=2)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
