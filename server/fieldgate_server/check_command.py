"""`fieldgate server check`: is everything well with the files of a server that is to be started."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fieldgate_core.errors import EXIT_CONFIG, EXIT_OK

_ABOUT = """\
Checks the settings and every file that they name, and says all that is wrong at
once: settings, policy, keys, certificates (readable, modes, do they fit, chain,
dates), those for a remote syslog too, the folders of control socket and lock,
the users and groups of policy and metrics, recordings. It opens no socket.

Run it as the user that the server runs as: who may read a key is checked too.
Exit code 0: the server would start, be there warnings or not; 2: it would not.
"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `check`."""
    parser = commands.add_parser(
        "check",
        help="say all that is wrong with settings, policy, keys and certificates",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the settings file (TOML)")
    parser.set_defaults(carry_out=carry_out)


def carry_out(options: argparse.Namespace) -> int:
    """Check, and give the exit code: 0 well, 2 errors."""
    from fieldgate_server.checking import check

    found = check(options.config)
    for is_error, where, problem, hint in found:
        sys.stdout.write(f"{'error' if is_error else 'warning'}: {where}: {problem}\n")
        if hint:
            sys.stdout.write(f"  hint: {hint}\n")
    errors = sum(finding.is_error for finding in found)
    warnings = len(found) - errors
    sys.stdout.write(f"{options.config}: {_count(errors, 'error')}, {_count(warnings, 'warning')}\n")
    return EXIT_CONFIG if errors else EXIT_OK


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
