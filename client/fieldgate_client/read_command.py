"""`fieldgate client read`: what the arguments ask for, once or again and again, in the format that they name."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fieldgate_client.arguments import (
    LOGIN,
    add_kind,
    add_place,
    add_points,
    add_site,
    base_of,
    kind_of,
    new_parser,
    no_letters,
    points_of,
    reference_of,
    site_of,
)
from fieldgate_client.selection import Item, items, named, units
from fieldgate_client.site import Site
from fieldgate_client.terminal import say
from fieldgate_core.errors import EXIT_OK, ConfigError
from fieldgate_core.modbus import unit_id

if TYPE_CHECKING:
    from fieldgate_client.readings import Reading

FORMATS = ("table", "json", "jsonl", "csv", "plain")
POLL_MILLISECONDS = 1000
_FASTEST, _SLOWEST = 10, 86_400_000

_READ = (
    """\
Reads points by their names, or values by reference, and prints a line for each.
A register of no type that is 32768 or more is followed by its value as a signed
number. Messages go to stderr; stdout has the values and nothing else.

With -l it asks again and again until Ctrl-C, and with --watch it shows a table
that moves, with change, age and quality of each value: good, stale (no answer),
error (the answer is an exception). Without a terminal --watch does as -l. A
lost tunnel is opened again."""
    + LOGIN
)

_EXAMPLE = """\
examples:
  fieldgate client read pump-7 flow pressure
  fieldgate client read modbus+ssh://viewer@box-1.example.com
  fieldgate client read modbus+tls://192.0.2.17 -a 3 -t 3:float -r 100 -c 20
  fieldgate client read modbus://127.0.0.1 -0 -r 0 -t 4:INT32 --order CDAB \\
      --json
  fieldgate client read modbus://127.0.0.1 -a 1,4:6 -c 10 --watch

what is printed, for -r 1 -c 2:
  [1]:    17
  [2]:    65535 (-1)

exit codes: 0 ok, 1 Modbus exception (of several requests: what the others
  brought is printed), 2 usage or configuration, 3 tunnel or authentication,
  4 time-out, 130 stopped by Ctrl-C"""


def parser() -> argparse.ArgumentParser:
    """Build the command's parser."""
    made = new_parser("read", _READ, _EXAMPLE)
    add_site(made)
    add_points(made)
    add_asked(made)
    style = made.add_mutually_exclusive_group()
    style.add_argument("--format", choices=FORMATS, default="table", help="how values are printed (default: table)")
    style.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
    again = made.add_argument_group("again and again")
    once = again.add_mutually_exclusive_group()
    once.add_argument("-1", dest="once", action="store_true", help="once, as without -l and --watch")
    once.add_argument("--watch", action="store_true", help="a table that moves, on a terminal")
    rate = f"poll rate in milliseconds, {_FASTEST} or more (with --watch: {POLL_MILLISECONDS})"
    again.add_argument("-l", dest="rate", type=milliseconds, metavar="MS", help=rate)
    return made


def add_asked(parser: argparse.ArgumentParser) -> None:
    """Add what to read: points by name, or cells by mbpoll's letters."""
    add_place(parser, several=True)
    parser.add_argument("-c", type=int, metavar="COUNT", help="number of values (default: 1)")
    add_kind(parser, "0 coil, 1 discrete input, 3 input register, 4 holding register (default: 4)")
    parser.add_argument("names", nargs="*", metavar="POINT", help="points to read (default: all, where none is named)")


def main(args: list[str]) -> int:
    """Run the command and return its exit code. Raises FieldgateError."""
    options = parser().parse_intermixed_args(args)
    site = site_of(options)
    asked = asked_for(site, options)
    again = options.watch or (options.rate is not None and not options.once)
    if again and options.format == "json":
        raise ConfigError("--format json", "is one document, and polls have no end", hint="jsonl has a line for each")
    # the arguments hold: now asyncio is worth its import
    from fieldgate_client import stopping

    if not again:
        return stopping.run(_once(site, asked, options.format))
    seconds = (options.rate or POLL_MILLISECONDS) / 1000
    drawn = options.watch and options.format == "table" and can_draw()
    return stopping.run(_drawn(site, asked, seconds) if drawn else _again(site, asked, seconds, options.format))


def asked_for(site: Site, options: argparse.Namespace) -> list[Item]:
    """Give what `add_asked` names: points by name, all of a site's points, or cells by mbpoll's letters.

    Raises ConfigError.
    """
    letters = [options.r, options.c, options.t, options.order]
    by_name = options.names or options.points or (site.points and letters == [None] * 4 and not options.pdu)
    of = [unit_id(site.unit)] if options.a is None else units(options.a)
    if not by_name:
        count = 1 if options.c is None else options.c
        return items(of, kind_of(options), reference_of(options), count, base=base_of(options))
    no_letters(options)
    if options.c is not None or len(of) != 1:
        raise ConfigError("-c" if options.c is not None else f"-a {options.a}", "points are read one by one")
    file, points = points_of(site, options)
    from fieldgate_client import points_file

    return named(points_file.find(points, options.names or [point.name for point in points], str(file)), of[0])


async def _once(site: Site, asked: Sequence[Item], style: str) -> int:
    from fieldgate_client import output
    from fieldgate_client.asking import ask
    from fieldgate_client.readings import failures

    async with site.open() as client:
        readings = await ask(client, asked)
    errors = failures(readings)
    sys.stdout.write(output.write(style, str(site.url), datetime.now(UTC), readings))
    _tell(readings)
    return errors[0].exit_code if errors else EXIT_OK


async def _again(site: Site, asked: Sequence[Item], seconds: float, style: str) -> int:
    from fieldgate_client import output
    from fieldgate_client.polling import poll

    first = True

    def show(when: datetime, readings: list[Reading]) -> None:
        nonlocal first
        sys.stdout.write(output.write(style, str(site.url), when, readings, first=first))
        sys.stdout.flush()
        _tell(readings)
        first = False

    await poll(site, asked, seconds, show)
    return EXIT_OK


async def _drawn(site: Site, asked: Sequence[Item], seconds: float) -> int:
    # rich is worth its import only where something is drawn
    from fieldgate_client.live import live
    from fieldgate_client.polling import poll

    await live(str(site.url), asked, lambda show: poll(site, asked, seconds, show))
    return EXIT_OK


def _tell(readings: Sequence[Reading]) -> None:
    from fieldgate_client.readings import problems

    say("".join(f"fieldgate: error: {line}\n" for line in problems(readings)))


def can_draw() -> bool:
    """Tell whether stdout is a terminal that can be drawn on."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def milliseconds(text: str) -> int:
    """Read a poll rate."""
    if not text.isdecimal() or not _FASTEST <= int(text) <= _SLOWEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not {_FASTEST} to {_SLOWEST} milliseconds")
    return int(text)
