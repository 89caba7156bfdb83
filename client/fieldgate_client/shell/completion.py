"""What Tab offers at the end of a line: verbs, points, types, byte orders, units and letters; pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from fieldgate_client.points import Point
from fieldgate_client.shell import words
from fieldgate_client.values import TYPES
from fieldgate_core.byte_order import ORDERS
from fieldgate_core.errors import ConfigError

_OWN_TYPES = ("hex", "int", "float")
_CELL_TYPES = (*_OWN_TYPES, *(name for name in TYPES if name != "BOOL"))
_READ_TYPES = ("0", "1", "3", "4", *(f"{digit}:{name}" for digit in "34" for name in _CELL_TYPES))
_WRITE_TYPES = ("0", "4", *(f"4:{name}" for name in _CELL_TYPES))
_LETTERS = {"read": ("-a", "-r", "-0", "-c", "-t", "--order", "-B"), "write": ("-a", "-r", "-0", "-t", "--order", "-B")}


def offers(before: str, points: Sequence[Point], units: Iterable[int]) -> tuple[str, list[str]]:
    """Give the word that the cursor stands behind, and what it may become."""
    cut = before.rfind(" ") + 1
    word, said = before[cut:], before[:cut].split()
    return word, sorted({offer for offer in _offers(said, word, points, units) if offer.startswith(word)})


def _offers(said: list[str], word: str, points: Sequence[Point], units: Iterable[int]) -> Iterable[str]:
    if not said:
        return words.names()
    try:
        verb = words.verb(said[0])
    except ConfigError:
        return []
    if verb.name == "help":
        return words.names()
    if verb.name == "watch":
        inner = _offers(said[1:], word, points, units)
        # a command, or at once what `read` takes
        return (
            inner if said[1:2] and said[1] in words.names() else [*inner, *_of_read("read", said, word, points, units)]
        )
    if verb.name == "unit" or said[-1] == "-a":
        return [str(unit) for unit in units]
    if verb.stands_for:
        return _of_cells(said, word)
    return _of_read(verb.name, said, word, points, units)


def _of_cells(said: list[str], word: str) -> Iterable[str]:
    if said[-1] == "-t":
        return _CELL_TYPES
    if said[-1] == "--order":
        return ORDERS
    return ("-t", "--order", "-a", "-B") if word.startswith("-") else ()


def _of_read(verb: str, said: list[str], word: str, points: Sequence[Point], units: Iterable[int]) -> Iterable[str]:
    if verb not in _LETTERS:
        return []
    match said[-1]:
        case "-t":
            return _READ_TYPES if verb == "read" else _WRITE_TYPES
        case "--order":
            return ORDERS
        case "-a":
            return [str(unit) for unit in units]
        case "-r" | "-c" | "-l":
            return []
    if word.startswith("-"):
        return _LETTERS[verb]
    if verb == "write":
        return [f"{shlex.quote(point.name)}=" for point in points if point.writable]
    return [shlex.quote(point.name) for point in points]
