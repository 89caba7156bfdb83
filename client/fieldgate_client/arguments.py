"""Command-line arguments that the client's commands share: which site, as whom, how long to wait, which cells."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from fieldgate_client.cells import DEFAULT_REFERENCE, DEFAULT_UNIT
from fieldgate_client.points import Point
from fieldgate_client.selection import Kind, kind
from fieldgate_client.site import Site, named
from fieldgate_core.errors import ConfigError
from fieldgate_tunnel.own_identity import default_identity

_NEGATIVE = re.compile(r"-(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|-0[xX][0-9a-fA-F]+")
REPLY_SECONDS = 3.0
DEFAULT_KIND = "4"
MAX_SECONDS = 3600.0

LOGIN = """

Who you are is in the identity folder, as `fieldgate certs issue client` makes
it. It is the one that --identity names, else the environment's
FIELDGATE_IDENTITY, else `fieldgate/identity` in your configuration folder
(~/.config). Without one, SSH uses your agent and ~/.ssh; a TLS door cannot be
entered without one."""
"""The end of a command's description."""


def new_parser(command: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """Make the parser of `fieldgate client COMMAND`; its texts are printed as they are written."""
    return argparse.ArgumentParser(
        prog=f"fieldgate client {command}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_site(parser: argparse.ArgumentParser, *, trace: bool = True) -> None:
    """Add the site, who we are there, how long we wait, and, unless told otherwise, the trace."""
    site = "a name in your site list, or a URL: modbus+ssh://ROLE@HOST, modbus+tls://HOST, modbus+tls+ssh://HUB/BOX"
    parser.add_argument("url", metavar="SITE", help=site)
    parser.add_argument("--identity", type=Path, metavar="DIR", help="the identity folder: who you are")
    wait = f"seconds for a reply (default: {REPLY_SECONDS:g}); opening the tunnel has its own 15"
    parser.add_argument("-o", "--timeout", type=seconds, default=REPLY_SECONDS, metavar="S", help=wait)
    parser.set_defaults(trace=False)
    if trace:
        frames = "show each frame on stderr, in hex and by field; addresses count from 0 there"
        parser.add_argument("--trace", action="store_true", help=frames)


def site_of(options: argparse.Namespace) -> Site:
    """Give the site that the arguments of `add_site` name. Raises ConfigError."""
    listed = named(options.url)
    return Site(
        listed.address,
        options.identity or listed.identity or default_identity(),
        options.timeout,
        options.trace,
        unit=DEFAULT_UNIT if listed.unit is None else listed.unit,
        points=listed.points,
    )


def add_place(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Add mbpoll's letters for a unit (or `several`, as text) and a start reference: -a, -r and -0."""
    of_site = f"(default: the site's, or {DEFAULT_UNIT})"
    if several:
        parser.add_argument("-a", metavar="UNITS", help=f"unit identifiers, as 1 or 32,33,36:40 {of_site}")
    else:
        parser.add_argument("-a", type=int, metavar="UNIT", help=f"unit identifier, 0 to 255 {of_site}")
    start = f"start reference (default: {DEFAULT_REFERENCE}, with -0 too)"
    parser.add_argument("-r", type=int, metavar="REF", help=start)
    parser.add_argument("-0", dest="pdu", action="store_true", help="references count from 0 (PDU addresses), not 1")


def reference_of(options: argparse.Namespace) -> int:
    """Give the start reference."""
    return DEFAULT_REFERENCE if options.r is None else int(options.r)


def add_points(parser: argparse.ArgumentParser) -> None:
    """Add the file of points, for a site that has none in the site list."""
    file = "a file that names points, for a site whose entry in your site list names none"
    parser.add_argument("--points", type=Path, metavar="FILE", help=file)


def no_letters(options: argparse.Namespace) -> None:
    """Check that no letter of mbpoll says what names say already. Raises ConfigError."""
    for letter, given in (("-r", options.r), ("-t", options.t), ("--order", options.order)):
        if given is not None:
            raise ConfigError(letter, "a point has its own address, type and byte order", hint="leave it out")
    for letter, given in (("-0", options.pdu), ("-B", options.big)):
        if given:
            raise ConfigError(letter, "a point has its own address, type and byte order", hint="leave it out")


def points_of(site: Site, options: argparse.Namespace) -> tuple[Path, tuple[Point, ...]]:
    """Give the file of points and what it holds. Raises ConfigError if there is none, or it is wrong."""
    from fieldgate_client import points_file

    file = options.points or site.points
    if file is None:
        raise ConfigError(options.url, "has no file of points", hint="name one with --points FILE, or in its entry")
    return file, points_file.load(file)


def add_kind(parser: argparse.ArgumentParser, tables: str) -> None:
    """Add what the cells are and hold: -t, --order and -B; `tables` says which digits there are."""
    kinds = f"{tables}; after a colon hex, int, float, or INT32, FLOAT64 and so on, as Telegraf names types"
    parser.add_argument("-t", metavar="TYPE", help=kinds)
    order = "byte order: ABCD, CDAB, BADC or DCBA (default: ABCD; of :int and :float CDAB, as mbpoll has it)"
    parser.add_argument("--order", metavar="ORDER", help=order)
    parser.add_argument("-B", dest="big", action="store_true", help="high word first for :int and :float (ABCD)")


def kind_of(options: argparse.Namespace) -> Kind:
    """Give what the arguments of `add_kind` name. Raises ConfigError."""
    return kind(options.t or DEFAULT_KIND, order=options.order, big=options.big)


def base_of(options: argparse.Namespace) -> int:
    """Give the reference of address 0: 1, or 0 with -0."""
    return 0 if options.pdu else 1


def values_first(args: list[str]) -> list[str]:
    """Put a space before negative numbers, and before all that follows `--`: so argparse takes them for values.

    -0 stays what it is, mbpoll's letter.
    """
    end = args.index("--") if "--" in args else len(args)
    before = [f" {arg}" if _NEGATIVE.fullmatch(arg) and arg != "-0" else arg for arg in args[:end]]
    return before + [f" {arg}" for arg in args[end + 1 :]]


def seconds(text: str) -> float:
    """Read a number of seconds, 0.01 to 3600."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.01 <= value <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not 0.01 to {MAX_SECONDS:g} seconds")
    return value
