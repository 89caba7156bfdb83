"""What the words of `fieldgate certs` share: help in the house's form, options that return, quoting, dates."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from fieldgate_certs.choices import KEY_KINDS
from fieldgate_certs.validity import DEFAULT_DAYS, MAX_DAYS

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001
Run = Callable[[argparse.Namespace], int]
_MOST_DAYS = 36500


def command(  # noqa: PLR0913
    commands: Commands, name: str, line: str, about: str, example: str, run: Run | None, codes: str = ""
) -> argparse.ArgumentParser:
    """Add a command: one line for the list, a text, and an example with the exit codes below it."""
    parser = commands.add_parser(
        name,
        help=line,
        description=about,
        epilog=f"example:\n{example}\n\nexit codes: {codes or '0 done, 2 refused or wrong usage'}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if run is not None:
        parser.set_defaults(run=run)
    return parser


def add_dir(parser: argparse.ArgumentParser) -> None:
    """Add --dir."""
    parser.add_argument("--dir", type=Path, default=Path(), help="the PKI's folder (default: the current folder)")


def add_ca(parser: argparse.ArgumentParser) -> None:
    """Add --ca."""
    parser.add_argument("--ca", metavar="NAME", help="the issuing CA (default: the one that init made)")


def add_days(parser: argparse.ArgumentParser) -> None:
    """Add --days; None where it is not said."""
    days = f"days until both certificates end, 1 to {MAX_DAYS} (default: {DEFAULT_DAYS})"
    parser.add_argument("--days", type=int, help=days)


def days_from(least: int) -> Callable[[str], int]:
    """Give what reads the --days of something else than a leaf: `least` to a hundred years."""

    def read(text: str) -> int:
        if not (text.isdecimal() and len(text) < 10 and least <= int(text) <= _MOST_DAYS):
            raise argparse.ArgumentTypeError(f"{text!r} is not {least} to {_MOST_DAYS} days")
        return int(text)

    return read


def add_key(parser: argparse.ArgumentParser, default: str) -> None:
    """Add --key."""
    text = f"X.509 keys: ECDSA P-256, or RSA of 3072 bits (default: {default})"
    parser.add_argument("--key", choices=KEY_KINDS, help=text)


def add_root(parser: argparse.ArgumentParser) -> None:
    """Add where the root's key is, and its passphrase."""
    parser.add_argument("--root", metavar="DIR", type=Path, help="the folder of the root's key, if not in the PKI's")
    file = "a file with its passphrase, mode 0600 (default: asked on the terminal)"
    parser.add_argument("--root-passphrase-file", metavar="FILE", type=Path, help=file)


def add_server_names(parser: argparse.ArgumentParser) -> None:
    """Add --dns and --ip."""
    parser.add_argument("--dns", metavar="HOST", action="append", default=[], help="a DNS name; may be repeated")
    parser.add_argument("--ip", metavar="ADDR", action="append", default=[], help="an IP address; may be repeated")


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Add --source-address."""
    text = "a network that it may use the SSH door from; may be repeated (default: any)"
    parser.add_argument("--source-address", metavar="NET", action="append", default=[], help=text)


def dir_option(folder: Path) -> str:
    """Give --dir for a printed command; nothing for the current folder."""
    return "" if folder == Path() else f" --dir {quoted(folder)}"


def ca_option(name: str | None) -> str:
    """Give --ca for a printed command; nothing for the one that init made."""
    return f" --ca {quoted(name)}" if name else ""


def quoted(text: Path | str) -> str:
    """Quote for a shell."""
    return shlex.quote(str(text))


def date(moment: datetime) -> str:
    """Write a moment for people."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"
