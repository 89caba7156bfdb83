"""`fieldgate client`: read and write cells from a terminal, with mbpoll's letters."""

from __future__ import annotations

import argparse
from pathlib import Path

from fieldgate_client import commands, doctor_cli, points_cli, sequence
from fieldgate_client.cells import DEFAULT_REFERENCE, DEFAULT_UNIT, TYPES, to_read, to_write
from fieldgate_client.site import Site, default_identity
from fieldgate_core.url import parse

REPLY_SECONDS = 3.0
MAX_SECONDS = 3600.0

_AS_WRITTEN = argparse.RawDescriptionHelpFormatter

_CLIENT = """\
Asks a site for values, or writes them, through the tunnel that its URL names:

  modbus+ssh://ROLE@HOST[:PORT]  through the SSH door; ROLE is the login (2222)
  modbus+tls://HOST[:PORT]       through the TLS door; mbaps:// is the same (802)
  modbus://127.0.0.1[:PORT]      plain, on this machine only (5020)

The server is always verified, and there is no way to switch that off. A write is
sent once and never again. The letters are those of mbpoll."""

_CLIENT_EXAMPLE = """\
example:
  fieldgate client read modbus+ssh://viewer@box-1.example.com -r 1 -c 10
  fieldgate client write modbus+tls://box-1.example.com --identity ana -t 0 -r 5 1
  fieldgate client demo modbus://127.0.0.1

exit codes: 0 ok, 1 Modbus exception, 2 usage or configuration,
  3 tunnel or authentication, 4 time-out, 5 outcome of a write unknown"""

_LOGIN = """

Who you are is in the identity folder, as `fieldgate certs issue client` makes it.
It is the one that --identity names, else the environment's FIELDGATE_IDENTITY,
else `fieldgate/identity` in your configuration folder (~/.config). Without one,
SSH uses your agent and ~/.ssh; a TLS door cannot be entered without one."""

_READ = (
    """\
Reads cells with one request (function 1, 2, 3 or 4) and prints a line for each:
its reference, and its value. A register of 32768 or more is followed by its
value as a signed number. Nothing else is printed on stdout."""
    + _LOGIN
)

_READ_EXAMPLE = """\
examples:
  fieldgate client read modbus+ssh://viewer@box-1.example.com
  fieldgate client read modbus+tls://192.0.2.17 -a 3 -t 3 -r 100 -c 20
  fieldgate client read modbus://127.0.0.1 -0 -r 0 -c 125 --timeout 1

what is printed, for -r 1 -c 2:
  [1]:    17
  [2]:    65535 (-1)"""

_WRITE = (
    """\
Writes values to cells with one request: function 5 or 6 for one value, 15 or 16
for several, from the start reference on. The values are numbers, 0 to 65535 for
registers, 0 or 1 for coils; 0x0f is understood.

The request is sent once. If its answer does not come, the exit code is 5: the
write may have taken effect or not; read back before you write again."""
    + _LOGIN
)

_WRITE_EXAMPLE = """\
examples:
  fieldgate client write modbus+ssh://operator@box-1.example.com -r 10 250
  fieldgate client write modbus+tls://192.0.2.17 -a 3 -r 100 1 2 3
  fieldgate client write modbus://127.0.0.1 -t 0 -r 5 1"""

_DEMO = (
    """\
Plays a short sequence against a site, and tells each step with its milliseconds:
writes a coil, reads coils, writes a register, reads holding registers, writes
several, reads input registers. At the end it puts the old values back, also when
a step failed or you pressed Ctrl-C.

It changes, for a moment, one coil and three holding registers from the start
reference on: point it at cells that move nothing."""
    + _LOGIN
)

_DEMO_EXAMPLE = """\
example:
  fieldgate client demo modbus+ssh://operator@box-1.example.com -r 50

exit codes: as for all commands; 1 also when a step came out wrong"""


def main(args: list[str]) -> int:
    """Run `fieldgate client` with `args` and return its exit code. Raises FieldgateError."""
    options = _parser().parse_args(args)
    if "carry_out" in options:
        code: int = options.carry_out(options)
        return code
    site = Site(parse(options.url), options.identity or default_identity(), options.timeout, options.trace)
    base = 0 if options.pdu else 1
    match options.command:
        case "read":
            work = commands.read(site, to_read(options.a, TYPES[options.t], options.r, options.c, base=base))
        case "write":
            cells = to_write(options.a, TYPES[options.t], options.r, options.values, base=base)
            work = commands.write(site, cells, options.values)
        case _:
            work = sequence.play(site, sequence.places(options.a, options.r, base=base))
    # the arguments hold: now asyncio is worth its import
    from fieldgate_client import stopping

    return stopping.run(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fieldgate client", description=_CLIENT, epilog=_CLIENT_EXAMPLE, formatter_class=_AS_WRITTEN
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    texts = {
        "read": ("read cells", _READ, _READ_EXAMPLE),
        "write": ("write values to cells", _WRITE, _WRITE_EXAMPLE),
        "demo": ("play a short sequence, and put everything back", _DEMO, _DEMO_EXAMPLE),
    }
    leaves = {
        name: commands.add_parser(name, help=line, description=description, epilog=epilog, formatter_class=_AS_WRITTEN)
        for name, (line, description, epilog) in texts.items()
    }
    for leaf in leaves.values():
        leaf.add_argument("url", metavar="URL", help="the site: modbus+ssh://ROLE@HOST, modbus+tls://HOST")
        unit = f"unit identifier, 0 to 255 (default: {DEFAULT_UNIT})"
        leaf.add_argument("-a", type=int, default=DEFAULT_UNIT, metavar="UNIT", help=unit)
        start = f"start reference (default: {DEFAULT_REFERENCE}, with -0 too)"
        leaf.add_argument("-r", type=int, default=DEFAULT_REFERENCE, metavar="REF", help=start)
        leaf.add_argument("-0", dest="pdu", action="store_true", help="references count from 0 (PDU addresses), not 1")
    leaves["read"].add_argument("-c", type=int, default=1, metavar="COUNT", help="number of cells (default: 1)")
    kinds = "0 coil, 1 discrete input, 3 input register, 4 holding register (default: 4)"
    leaves["read"].add_argument("-t", choices=tuple(TYPES), default="4", help=kinds)
    kinds = "0 coil, 4 holding register (default: 4)"
    leaves["write"].add_argument("-t", choices=tuple(TYPES), default="4", help=kinds)
    for leaf in leaves.values():
        leaf.add_argument("--identity", type=Path, metavar="DIR", help="the identity folder: who you are")
        wait = f"seconds for a reply (default: {REPLY_SECONDS:g}); opening the tunnel has its own 15"
        leaf.add_argument("-o", "--timeout", type=_seconds, default=REPLY_SECONDS, metavar="S", help=wait)
        trace = "show each frame on stderr, in hex and by field; addresses count from 0 there"
        leaf.add_argument("--trace", action="store_true", help=trace)
    for module in (doctor_cli, points_cli):
        module.add_to(commands)
    values = "0 to 65535; 0 or 1 for coils"
    leaves["write"].add_argument("values", type=_number, nargs="+", metavar="VALUE", help=values)
    return parser


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.01 <= seconds <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not 0.01 to {MAX_SECONDS:g} seconds")
    return seconds
