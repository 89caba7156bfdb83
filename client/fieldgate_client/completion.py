"""What a shell asks for when Tab is pressed: commands, options, site names and point names, by argcomplete."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable, Iterable
from typing import NoReturn

import argcomplete
from argcomplete.completers import FilesCompleter
from argcomplete.io import warn
from argcomplete.lexers import split_line

from fieldgate_client import points_file, site_names
from fieldgate_client.cli import COMMANDS as CLIENT_COMMANDS
from fieldgate_core.cli import COMMANDS
from fieldgate_core.errors import FieldgateError

Completer = Callable[[str, argparse.Namespace], Iterable[str]]


def main(_args: list[str]) -> int:
    """Answer the shell, which has asked in the environment (_ARGCOMPLETE, COMP_LINE, COMP_POINT)."""
    before = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3]
    if len(before) < 2:
        parser = argparse.ArgumentParser(prog="fieldgate")
        parser.add_argument("-V", "--version", action="store_true")
        parser.add_argument("command", choices=list(COMMANDS))
        _answer(parser)
    if before[1] == "client":
        _client(before)
    if before[1] in COMMANDS:
        # the command is the program of its own parser, which it builds to read arguments with
        os.environ["_ARGCOMPLETE"] = "2"
        argparse.ArgumentParser.parse_args = _answer  # type: ignore[method-assign,assignment]
        importlib.import_module(COMMANDS[before[1]][0]).main([])
    return 0


def _client(before: list[str]) -> NoReturn:
    """Answer for one of the client's commands, each a program with a parser of its own."""
    os.environ["_ARGCOMPLETE"] = "2"
    if len(before) < 3 or before[2] not in CLIENT_COMMANDS:
        parser = argparse.ArgumentParser(prog="fieldgate client")
        parser.add_argument("command", choices=list(CLIENT_COMMANDS))
        _answer(parser)
    os.environ["_ARGCOMPLETE"] = "3"
    _answer(importlib.import_module(CLIENT_COMMANDS[before[2]][0]).parser())


def _answer(parser: argparse.ArgumentParser, *_: object) -> NoReturn:
    """Print what fits, and end."""
    _teach(parser)
    argcomplete.autocomplete(parser)
    raise SystemExit


def _teach(parser: argparse.ArgumentParser) -> None:
    """Tell argcomplete which arguments are sites and points, by their names in our parsers."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to its arguments
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for inner in action.choices.values():
                _teach(inner)
        elif action.dest in _COMPLETERS:
            action.completer = _told(_COMPLETERS[action.dest])  # type: ignore[attr-defined]


def _told(complete: Completer) -> Callable[..., list[str]]:
    """Let a broken file be told instead of completed."""

    def completer(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
        try:
            return [name for name in complete(prefix, parsed_args) if name.startswith(prefix)]
        except FieldgateError as error:
            warn(f"fieldgate: {error}")
            return []

    return completer


def _sites(_prefix: str, _options: argparse.Namespace) -> Iterable[str]:
    return site_names.load().sites


def _sites_and_files(prefix: str, options: argparse.Namespace) -> Iterable[str]:
    files: list[str] = FilesCompleter(("toml",))(prefix)
    return [*_sites(prefix, options), *files]


def _points(_prefix: str, options: argparse.Namespace) -> Iterable[str]:
    file = site_names.target(options.url).points
    return [] if file is None else [point.name for point in points_file.load(file)]


_COMPLETERS: dict[str, Completer] = {"url": _sites, "points_of": _sites_and_files, "names": _points}
"""What completes an argument, by its destination."""
