"""`fieldgate client check`: walk the way to a site, and say at which step it stops."""

from __future__ import annotations

import argparse
import json
import sys

from fieldgate_client.arguments import LOGIN, add_place, add_site, base_of, new_parser, reference_of, site_of
from fieldgate_client.cells import TYPES, Cells, to_read
from fieldgate_client.check_report import Outcome, Step, exit_code
from fieldgate_client.site import Site
from fieldgate_core.errors import EXIT_OK, ConfigError
from fieldgate_core.modbus import Table

_CHECK = (
    """\
Walks the way to a site: this machine's clock, who you are, the host's name, a
route, a TCP connection, the TLS or SSH door, whether it lets you in, what your
role may do, a first read. Each step prints how long it took; the first that
fails says why and what to try. What is wrong with your own identity does not
keep the way from being tried. The way is that of ~/.ssh/config where SSH is
used: with ProxyJump it begins at the first jump host.

The read is one cell (-t, -r; the unit is -a). --write sends that cell back with
the value that was read, to prove that writes go through: something that changes
it in between loses its change, so name a cell that holds still. It leaves its
line in the site's trail. --expiry DAYS fails when a certificate that was used
ends within DAYS days; that of an SSH host is not shown to clients."""
    + LOGIN
)

_EXAMPLE = """\
examples:
  fieldgate client check pump-7
  fieldgate client check modbus+tls://box-1.example.com --identity ana
  fieldgate client check modbus+ssh://viewer@box-1.example.com --json
  fieldgate client check modbus+tls://box-1.example.com --expiry 30

exit codes: 0 all is well, 1 refused by the site or a certificate ends soon,
  2 usage or configuration, 3 tunnel or authentication, 4 time-out,
  5 outcome of --write unknown"""


def parser() -> argparse.ArgumentParser:
    """Build the command's parser."""
    made = new_parser("check", _CHECK, _EXAMPLE)
    add_site(made)
    add_place(made)
    kinds = "0 coil, 1 discrete input, 3 input register, 4 holding register (default: 4)"
    made.add_argument("-t", choices=tuple(TYPES), default="4", help=kinds)
    made.add_argument("--write", action="store_true", help="write the cell back as it was read")
    made.add_argument("--expiry", type=_days, metavar="DAYS", help="fail if a certificate ends within DAYS days")
    made.add_argument("--json", action="store_true", help="one JSON object")
    return made


def main(args: list[str]) -> int:
    """Run the command and return its exit code. Raises FieldgateError."""
    options = parser().parse_args(args)
    site = site_of(options)
    unit = site.unit if options.a is None else options.a
    cells = to_read(unit, TYPES[options.t], reference_of(options), 1, base=base_of(options))
    if options.write and cells.table not in {Table.COILS, Table.HOLDING}:
        raise ConfigError(f"-t {options.t}", "these cells are read only", hint="-t 0 or -t 4 with --write")
    # the arguments hold: now asyncio is worth its import
    from fieldgate_client import stopping

    return stopping.run(_check(site, cells, options.write, options.expiry, as_json=options.json))


async def _check(site: Site, cells: Cells, write: bool, expiry: int | None, *, as_json: bool) -> int:  # noqa: FBT001
    from fieldgate_client.check import Walk

    site.prepare()
    steps: list[Step] = []
    async for step in Walk(site, cells, write_back=write, expiry_days=expiry).steps():
        steps.append(step)
        if not as_json:
            sys.stdout.write(f"{step.line()}\n")
            sys.stdout.flush()
    code = exit_code(steps)
    if as_json:
        stopped = next((step.name for step in steps if step.outcome is Outcome.FAILED), None)
        report = {
            "site": str(site.url),
            "ok": code == EXIT_OK,
            "stopped": stopped,
            "steps": [s.fields() for s in steps],
        }
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return code


def _days(text: str) -> int:
    try:
        days = int(text)
    except ValueError:
        days = -1
    if not 0 <= days <= 36500:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days, 0 to 36500")
    return days
