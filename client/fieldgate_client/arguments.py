"""Command-line arguments that the client's commands share: which site, as whom, how long to wait, which cells."""

from __future__ import annotations

import argparse
from pathlib import Path

from fieldgate_client.cells import DEFAULT_REFERENCE, DEFAULT_UNIT
from fieldgate_client.site import Site
from fieldgate_core.url import parse
from fieldgate_tunnel.own_identity import default_identity

REPLY_SECONDS = 3.0
MAX_SECONDS = 3600.0

LOGIN = """

Who you are is in the identity folder, as `fieldgate certs issue client` makes it.
It is the one that --identity names, else the environment's FIELDGATE_IDENTITY,
else `fieldgate/identity` in your configuration folder (~/.config). Without one,
SSH uses your agent and ~/.ssh; a TLS door cannot be entered without one."""
"""The end of a command's description."""


def new_parser(command: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """Make the parser of `fieldgate client COMMAND`; its texts are printed as they are written."""
    return argparse.ArgumentParser(
        prog=f"fieldgate client {command}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_site(parser: argparse.ArgumentParser) -> None:
    """Add the site, who we are there, how long we wait, and the trace."""
    parser.add_argument("url", metavar="URL", help="the site: modbus+ssh://ROLE@HOST, modbus+tls://HOST")
    parser.add_argument("--identity", type=Path, metavar="DIR", help="the identity folder: who you are")
    wait = f"seconds for a reply (default: {REPLY_SECONDS:g}); opening the tunnel has its own 15"
    parser.add_argument("-o", "--timeout", type=seconds, default=REPLY_SECONDS, metavar="S", help=wait)
    trace = "show each frame on stderr, in hex and by field; addresses count from 0 there"
    parser.add_argument("--trace", action="store_true", help=trace)


def site_of(options: argparse.Namespace) -> Site:
    """Give the site that the arguments of `add_site` name. Raises ConfigError."""
    return Site(parse(options.url), options.identity or default_identity(), options.timeout, options.trace)


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add mbpoll's letters for a unit and a start reference: -a, -r and -0."""
    unit = f"unit identifier, 0 to 255 (default: {DEFAULT_UNIT})"
    parser.add_argument("-a", type=int, default=DEFAULT_UNIT, metavar="UNIT", help=unit)
    start = f"start reference (default: {DEFAULT_REFERENCE}, with -0 too)"
    parser.add_argument("-r", type=int, default=DEFAULT_REFERENCE, metavar="REF", help=start)
    parser.add_argument("-0", dest="pdu", action="store_true", help="references count from 0 (PDU addresses), not 1")


def base_of(options: argparse.Namespace) -> int:
    """Give the reference of address 0: 1, or 0 with -0."""
    return 0 if options.pdu else 1


def seconds(text: str) -> float:
    """Read a number of seconds, 0.01 to 3600."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.01 <= value <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not 0.01 to {MAX_SECONDS:g} seconds")
    return value
