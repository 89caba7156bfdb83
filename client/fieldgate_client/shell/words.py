"""A line of the shell as a command: its verbs, their short forms, and what those stand for; pure."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from fieldgate_core.errors import ConfigError

COMMENT = "#"


class Verb(NamedTuple):
    """A verb, its other names, what follows it, and what it does.

    `stands_for` are the words that it is short for; what comes behind is then an address, and a count or values.
    """

    name: str
    others: tuple[str, ...]
    usage: str
    line: str
    more: str = ""
    stands_for: tuple[str, ...] = ()


class Command(NamedTuple):
    """A verb by its long name, and its arguments: for read, write and watch those of the command line."""

    verb: str
    args: list[str]


_CELLS = """\
An address counts from 0, as in the request; in `read -r` a reference counts
from 1. -t TYPE is hex, int, float, INT32, FLOAT64 and so on, --order ORDER
the byte order, -a UNIT another unit than the one that is chosen."""
_BITS = """\
An address counts from 0, as in the request. -a UNIT is another unit than the
one that is chosen."""
_READ = """\
By name: read flow pressure; alone it reads all points of the site. By
reference, with the letters of `fieldgate client read`: read -t 4:float -r 100"""
_WRITE = """\
By name: write setpoint=42.5. By reference: write -t 4:float -r 100 -5.5 3. It
shows old and new, asks, writes once, and reads back. A write whose answer
does not come is never sent again; the shell says that its outcome is unknown."""
_WATCH = """\
watch flow, watch rr 0 4, or watch -l 500 read -t 3 -r 1: asks every so many
milliseconds (1000) until Ctrl-C. From a pipe it asks once."""
_DEMO = """\
Writes a coil and three registers from an address on (0), reads them, and puts
the old values back. It opens tunnels of its own."""

VERBS = (
    Verb("read", (), "[POINT...] | -r REF [-c COUNT] [-t TYPE]", "read points, or values by reference", _READ),
    Verb("write", (), "POINT=VALUE... | -r REF [-t TYPE] VALUE...", "write, after showing old and new", _WRITE),
    Verb("read-coils", ("rc",), "ADDRESS [COUNT]", "read coils", _BITS, ("read", "0")),
    Verb("write-coil", ("wc",), "ADDRESS VALUE...", "write a coil, or several: 0 or 1", _BITS, ("write", "0")),
    Verb("read-registers", ("rr",), "ADDRESS [COUNT] [-t TYPE]", "read holding registers", _CELLS, ("read", "4")),
    Verb("read-inputs", ("ri",), "ADDRESS [COUNT] [-t TYPE]", "read input registers", _CELLS, ("read", "3")),
    Verb("write-register", ("wr",), "ADDRESS VALUE... [-t TYPE]", "write holding registers", _CELLS, ("write", "4")),
    Verb("unit", (), "[UNIT]", "choose the unit, 0 to 255, or show it"),
    Verb("watch", (), "[-l MS] POINT... | [-l MS] COMMAND", "read again and again until Ctrl-C", _WATCH),
    Verb("status", (), "", "tell how the tunnel stands"),
    Verb("demo", (), "[ADDRESS]", "play a short sequence, and put everything back", _DEMO),
    Verb("help", ("?",), "[VERB]", "show the verbs, or one of them"),
    Verb("quit", ("exit",), "", "end the shell; so does Ctrl-D"),
)
_LETTERS = {"-t", "--order", "-a"}
_KNOWN = {name: verb for verb in VERBS for name in (verb.name, *verb.others)}


def parse(line: str) -> Command | None:
    """Read a line; None for an empty one and for a comment, which begins with #. Quotes are those of a POSIX shell.

    Raises ConfigError for an unknown verb, an open quote, and a character that a person cannot see.
    """
    if line.lstrip().startswith(COMMENT):
        return None
    if not line.replace("\t", " ").isprintable():
        raise ConfigError("line", "holds a character that cannot be printed", hint="type it, or paste plain text")
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ConfigError(line.strip(), str(error).lower()) from None
    return _command(words) if words else None


def verb(name: str) -> Verb:
    """Give a verb by one of its names. Raises ConfigError that names near matches."""
    if name not in _KNOWN:
        import difflib

        near = difflib.get_close_matches(name, _KNOWN, n=2)
        raise ConfigError(name, "is no verb", hint=f"did you mean {' or '.join(near)}?" if near else "try help")
    return _KNOWN[name]


def names() -> list[str]:
    """Give the names of all verbs, long and short."""
    return list(_KNOWN)


def usage() -> str:
    """Give what `help` shows."""
    heads = [", ".join((verb.name, *verb.others)) for verb in VERBS]
    width = max(map(len, heads))
    rows = "".join(f"  {head:<{width}}  {verb.line}\n" for head, verb in zip(heads, VERBS, strict=True))
    return f"{rows}`help VERB` tells more. Ctrl-C stops a command, Ctrl-D ends the shell.\n"


def told(one: Verb) -> str:
    """Give what `help VERB` shows."""
    lines = [f"{name} {one.usage}".strip() for name in (one.name, *one.others)]
    return "\n".join([*lines, f"  {one.line}", *(f"  {line}" for line in one.more.splitlines())]) + "\n"


def _command(words: list[str]) -> Command:
    found = verb(words[0])
    if found.name == "watch":
        return Command("watch", _watched(words[1:]))
    if found.stands_for:
        return Command(found.stands_for[0], _cells(found, words[1:]))
    return Command(found.name, words[1:])


def _watched(args: list[str]) -> list[str]:
    """Give what is watched as the arguments of `read`: points and letters are, and so is a command that reads."""
    rate, rest = (args[:2], args[2:]) if args[:1] == ["-l"] else ([], args)
    if not rest or rest[0] not in _KNOWN:
        return rate + rest
    inner = _command(rest)
    if inner.verb != "read":
        raise ConfigError(f"watch {rest[0]}", "only what is read can be watched", hint=_usage(verb("watch")))
    return rate + inner.args


def _cells(found: Verb, words: list[str]) -> list[str]:
    """Give the arguments of `read` or `write` that an address, a count or values, and letters stand for."""
    name, letter = found.stands_for
    rest: list[str] = []
    options: list[str] = []
    waiting = iter(words)
    for word in waiting:
        if word in _LETTERS:
            value = next(waiting, "")
            if not value:
                raise ConfigError(f"{found.name} {word}", "needs a value", hint=_usage(found))
            if word == "-t":
                letter = f"{letter}:{value}"
            else:
                options += [word, value]
        else:
            (options if word == "-B" else rest).append(word)
    least, most = (1, 2) if name == "read" else (2, len(rest))
    if not least <= len(rest) <= most or not rest[0].isdecimal():
        problem = f"{' '.join(words)!r} is not what it takes" if words else "needs an address"
        raise ConfigError(found.name, problem, hint=_usage(found))
    count = ["-c"] if name == "read" and rest[1:] else []
    return ["-0", "-r", rest[0], "-t", letter, *options, *count, *rest[1:]]


def _usage(one: Verb) -> str:
    return f"{one.name} {one.usage}"
