"""Find everything in files and folders that ends soon."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from fieldgate_certs import disk, inspecting
from fieldgate_certs.disk import CURRENT
from fieldgate_certs.inspecting import Item
from fieldgate_core.errors import PkiError

_LARGEST = 1 << 20
"""Bytes of a file that is looked into: no certificate or list here is larger."""


class Found(NamedTuple):
    """Something that ends, in a file; `soon` if within the days that were asked for."""

    file: Path
    item: Item
    soon: bool


class Looked(NamedTuple):
    """What ends, and what could not be looked into: its file, and why."""

    found: list[Found]
    closed: list[tuple[Path, str]]


def look(paths: Iterable[Path], now: datetime, days: int) -> Looked:
    """Look into files and folders, however deep. Of an identity's generations only the one in force counts.

    Raises PkiError for a path that is not there.
    """
    limit = now + timedelta(days=days)
    looked = Looked([], [])
    for path in dict.fromkeys(file for top in paths for file in _files(top)):
        try:
            with disk.told(path):
                data = path.read_bytes() if path.stat().st_size <= _LARGEST else None
        except PkiError as error:
            looked.closed.append((path, error.problem))
            continue
        if data is None:
            looked.closed.append((path, "is larger than 1 MiB, and was not looked into"))
            continue
        for item in inspecting.read(data):
            if item.not_after is not None:
                looked.found.append(Found(path, item, item.not_after <= limit))
            elif (note := item.facts.get("note", "")) and item.kind != "private key":
                looked.closed.append((path, f"{item.kind}: {note}"))
    return looked


def _files(path: Path) -> Iterator[Path]:
    with disk.told(path):
        if not path.is_dir():
            path.stat()
            yield path
            return
        entries = sorted(path.iterdir())
        in_force = path / CURRENT if (path / CURRENT).is_symlink() else None
    for entry in entries:
        superseded = in_force is not None and entry.name.isdecimal() and entry.name != in_force.readlink().name
        if entry.is_dir() and not entry.is_symlink() and not superseded:
            yield from _files(entry)
        elif entry.is_file():
            yield entry
