"""The arguments of read, write and watch, as the command line has them; the site and its file of points are given."""

from __future__ import annotations

import argparse
from typing import NoReturn

from fieldgate_client.arguments import values_first
from fieldgate_client.read_command import POLL_MILLISECONDS, add_asked, asked_for, milliseconds
from fieldgate_client.selection import Item
from fieldgate_client.site import Site
from fieldgate_client.write_command import add_changes, changes_of
from fieldgate_client.writing import Change
from fieldgate_core.errors import ConfigError


class _Parser(argparse.ArgumentParser):
    def __init__(self, verb: str, site: Site) -> None:
        super().__init__(prog=verb, add_help=False, allow_abbrev=False)
        self.set_defaults(url=str(site.url), points=None)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(self.prog, message, hint=f"help {self.prog} tells what it takes")


def read(site: Site, args: list[str]) -> list[Item]:
    """Give what `read` is to read. Raises ConfigError."""
    parser = _Parser("read", site)
    add_asked(parser)
    return asked_for(site, parser.parse_intermixed_args(args))


def watch(site: Site, args: list[str]) -> tuple[list[Item], float]:
    """Give what `watch` is to read, and every how many seconds. Raises ConfigError."""
    parser = _Parser("watch", site)
    add_asked(parser)
    parser.add_argument("-l", dest="rate", type=milliseconds, default=POLL_MILLISECONDS)
    options = parser.parse_intermixed_args(args)
    return asked_for(site, options), options.rate / 1000


def write(site: Site, args: list[str]) -> list[Change]:
    """Give what `write` is to write. Raises ConfigError."""
    parser = _Parser("write", site)
    add_changes(parser)
    return changes_of(site, parser.parse_args(values_first(args)))
