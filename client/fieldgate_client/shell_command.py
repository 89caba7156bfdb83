"""`fieldgate client shell`: ask a site command by command, through a tunnel that comes back by itself."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from fieldgate_client.arguments import LOGIN, add_points, add_site, new_parser, site_of
from fieldgate_client.site import Site
from fieldgate_core.errors import ConfigError

_SHELL = (
    """\
Takes commands for a site, from a terminal or one a line from a pipe: read and
write as `fieldgate client read` and `write` have them, short forms of them (rc,
wc, rr, wr, ri), unit, watch, status, demo, help and quit. Addresses of the
short forms count from 0.

A write shows old and new, and asks; from a pipe it takes --yes. The tunnel is
kept, and opened again when it is lost; a command that cannot be sent waits for
it as long as for a reply. Nothing is sent twice: of a write whose answer does
not come the shell says that its outcome is unknown. Ctrl-C stops the command
that runs.

From a pipe it ends at the first command that fails, with its exit code. What
was typed at a terminal is kept in shell_history in your state folder
(~/.local/state/fieldgate)."""
    + LOGIN
)

_EXAMPLE = """\
examples:
  fieldgate client shell pump-7
  fieldgate client shell modbus+tls://192.0.2.17 --transcript pump.txt
  fieldgate client shell modbus+tls://192.0.2.17 <pump.txt
  echo 'wr 10 250' | fieldgate client shell --yes modbus://127.0.0.1

at the prompt:
  rr 0 4                      holding registers 0 to 3
  write setpoint=42.5         a point by its name
  watch rr 100 2 -t float     until Ctrl-C

exit codes: 0 ended by quit, Ctrl-D or the input's end; 3 the tunnel could not
  be opened at the start; from a pipe that of the first command that failed"""


def parser() -> argparse.ArgumentParser:
    """Build the command's parser."""
    made = new_parser("shell", _SHELL, _EXAMPLE)
    add_site(made, trace=False)
    made.add_argument("-a", type=int, metavar="UNIT", help="the unit that is chosen first (default: the site's, or 1)")
    add_points(made)
    made.add_argument("--yes", action="store_true", help="write without asking")
    transcript = "write what is asked and answered to a file, whose commands the shell can be given again"
    made.add_argument("--transcript", type=Path, metavar="FILE", help=transcript)
    going = "from a pipe, go on after a command that failed; the exit code is still its"
    made.add_argument("--keep-going", action="store_true", help=going)
    return made


def main(args: list[str]) -> int:
    """Run the command and return its exit code. Raises FieldgateError."""
    options = parser().parse_args(args)
    site = _site(options)
    # the arguments hold: now asyncio is worth its import
    from fieldgate_client import stopping

    return stopping.run(_run(site, options))


def _site(options: argparse.Namespace) -> Site:
    from fieldgate_core.modbus import unit_id

    site = site_of(options)
    try:
        unit = unit_id(site.unit if options.a is None else options.a)
    except ValueError as error:
        raise ConfigError(f"-a {options.a}", str(error)) from None
    return replace(site, unit=unit, points=options.points or site.points)


async def _run(site: Site, options: argparse.Namespace) -> int:
    from fieldgate_client import points_file
    from fieldgate_client.shell import voice
    from fieldgate_client.shell.session import Session
    from fieldgate_client.shell.tunnel import kept, tell_changes

    points = () if site.points is None else points_file.load(site.points)
    transcript = None if options.transcript is None else voice.transcript(options.transcript)
    says = voice.Voice(transcript)
    async with kept(site) as link:
        if transcript is not None:
            transcript.begin(str(site.url), site.unit)
        session = Session(options.url, site, link, says, yes=options.yes)
        forget = tell_changes(link, says.tell)
        try:
            if not (sys.stdin.isatty() and sys.stdout.isatty()):
                from fieldgate_client.shell import pipe

                return await pipe.run(session, keep_going=options.keep_going)
            # prompt_toolkit is worth its import only at a terminal
            from fieldgate_client.shell.start import terminal

            return await terminal(session, points).run()
        finally:
            forget()
