"""`fieldgate client write`: what is to be written where, asked about on a terminal, written once, and read back."""

from __future__ import annotations

import argparse
import json
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
    values_first,
)
from fieldgate_client.selection import Item, Kind, Style, items, named
from fieldgate_client.site import Site
from fieldgate_client.terminal import read_line, say
from fieldgate_core.errors import EXIT_OK, ConfigError
from fieldgate_core.modbus import MAX_WRITE_BITS, MAX_WRITE_REGISTERS, Table, unit_id

if TYPE_CHECKING:
    from fieldgate_client.writing import Change

EXIT_NOT_CONFIRMED = 130
"""As after Ctrl-C, which is the other way to answer."""

_WRITE = (
    """\
Writes points by their names, each with a request of its own; or values from the
start reference on, with one request: function 5 or 6 for one coil or register,
15 or 16 for several. It reads the old values first, shows old and new, and asks
on a terminal; in a script it takes --yes. Afterwards it reads back, and says
where something else stands there: the exit code is still 0, for the write was
done.

Values are numbers, with a sign or a fraction where the type has them; 0x0f is
understood. A register of no type takes -32768 to 65535.

The request is sent once. If its answer does not come, the exit code is 5: the
write may have taken effect or not; read back before you write again."""
    + LOGIN
)

_EXAMPLE = """\
examples:
  fieldgate client write pump-7 setpoint=42.5
  fieldgate client write modbus+ssh://operator@box-1.example.com -r 10 250
  fieldgate client write modbus+tls://192.0.2.17 -a 3 -t 4:float -r 100 -5.5 3
  fieldgate client write modbus://127.0.0.1 -t 0 -r 5 1 --yes

exit codes: 0 ok, 1 Modbus exception, 2 usage or configuration, 3 tunnel or
  authentication, 4 time-out, 5 outcome unknown, 130 not confirmed or Ctrl-C"""


class _NotConfirmedError(Exception):
    """The person at the terminal did not say yes."""


def parser() -> argparse.ArgumentParser:
    """Build the command's parser."""
    made = new_parser("write", _WRITE, _EXAMPLE)
    add_site(made)
    add_points(made)
    made.add_argument("--yes", action="store_true", help="write without asking")
    made.add_argument("--json", action="store_true", help="print old, written and read value on stdout as JSON")
    add_changes(made)
    return made


def add_changes(parser: argparse.ArgumentParser) -> None:
    """Add what to write: points by name, or values from a reference on."""
    add_place(parser)
    add_kind(parser, "0 coil, 4 holding register (default: 4)")
    values = "what to write: POINT=VALUE, or values from -r on: 250, -5, 1.5, 0x0f; 0 or 1 for coils"
    parser.add_argument("values", nargs="+", metavar="VALUE", help=values)


def main(args: list[str]) -> int:
    """Run the command and return its exit code. Raises FieldgateError."""
    options = parser().parse_args(values_first(args))
    site = site_of(options)
    changes = changes_of(site, options)
    if not options.yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError("write", "there is no terminal to ask on", hint="--yes writes without asking")
    # the arguments hold: now asyncio is worth its import
    from fieldgate_client import stopping

    return stopping.run(_write(site, changes, ask=not options.yes, as_json=options.json))


def changes_of(site: Site, options: argparse.Namespace) -> list[Change]:
    """Give what `add_changes` names: one request for each point, or one for all values from the start reference on.

    Raises ConfigError.
    """
    texts = [text.removeprefix(" ") for text in options.values]
    unit = site.unit if options.a is None else options.a
    pairs = [text.partition("=") for text in texts if "=" in text]
    if not pairs or (options.t or "").partition(":")[2].upper().startswith("STRING"):
        return [_change(kind_of(options), unit, texts, options)]
    if len(pairs) != len(texts):
        raise ConfigError(" ".join(texts), "is points in part, and values without a name in part", hint="NAME=VALUE")
    no_letters(options)
    from fieldgate_client import points_file
    from fieldgate_client.writing import Change

    file, points = points_of(site, options)
    try:
        found = named(points_file.find(points, _once([name for name, _, _ in pairs]), str(file)), unit)
    except ValueError as error:
        raise ConfigError(f"-a {unit}", str(error)) from None
    return [Change((item,), tuple(_words(item, text))) for item, (_, _, text) in zip(found, pairs, strict=True)]


def _once(names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(name, "is to be written twice", hint="which of the values is meant?")
    return names


def _change(what: Kind, number: int, texts: list[str], options: argparse.Namespace) -> Change:
    """Give the one request for values from the start reference on. Raises ConfigError for what it cannot hold."""
    from fieldgate_client.writing import Change

    table = what.table
    if table not in {Table.COILS, Table.HOLDING}:
        name = "discrete inputs" if table is Table.DISCRETE else "input registers"
        raise ConfigError(f"-t {options.t}", f"{name} are read only", hint="-t 0 writes coils, -t 4 holding registers")
    try:
        unit = unit_id(number)
    except ValueError as error:
        raise ConfigError(f"-a {number}", str(error)) from None
    places = items([unit], what, reference_of(options), len(texts), base=base_of(options))
    words = tuple(word for place, text in zip(places, texts, strict=True) for word in _words(place, text))
    most = MAX_WRITE_BITS if table.is_bits else MAX_WRITE_REGISTERS
    if len(words) > most:
        cells = "coils" if table.is_bits else "holding registers"
        hint = "write the rest with another command; the two are not one change for the device"
        raise ConfigError(f"{len(words)} {cells}", f"one request writes 1 to {most}", hint=hint)
    return Change(tuple(places), words)


def _words(item: Item, text: str) -> Sequence[int]:
    what = f"value {text}" if item.reference is not None else item.label
    try:
        if item.reference is None and not item.point.writable:
            raise ConfigError(what, "is read only", hint="the file of points says what is writable")
        value = item.point.parse(text)
        # a register of no type is read with its sign too, so it is written with one
        if item.style is not Style.PLAIN and not isinstance(value, str) and -0x8000 <= value < 0:
            value += 0x10000
        return item.point.encode(value)
    except ValueError as error:
        raise ConfigError(what, str(error)) from None


async def _write(site: Site, changes: Sequence[Change], *, ask: bool, as_json: bool) -> int:
    from fieldgate_client import writing

    async def confirm(lines: list[str]) -> None:
        say("".join(f"{line}\n" for line in lines))
        if ask:
            await _confirmed()

    try:
        async with site.open() as client:
            done = await writing.write(client, changes, confirm)
    except _NotConfirmedError:
        say("Nothing was written.\n")
        return EXIT_NOT_CONFIRMED
    say(f"Written {len(done)} references.\n")
    say("".join(f"fieldgate: warning: {line}\n" for line in writing.doubts(done)))
    if as_json:
        document = {
            "site": str(site.url),
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "values": [written.record() for written in done],
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return EXIT_OK


async def _confirmed() -> None:
    """Ask on the terminal. Raises _NotConfirmedError for every answer but yes."""
    say("Write? [y/N] ")
    if (await read_line()).strip().lower() not in {"y", "yes"}:
        raise _NotConfirmedError
