"""The emergency lock: while it is held nothing can be written. Kept on disk, so that it outlives the server."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import NamedTuple

from fieldgate_core import trusted_file
from fieldgate_core.errors import ConfigError
from fieldgate_server import whole_file

_NAME = "locked"
_LONGEST = 8192


class Held(NamedTuple):
    """Who holds the lock, by typed name, and since when in seconds since 1970; None where it is not known."""

    by: str | None
    since: float | None


class Lock:
    """The lock of one server. Without a folder it can't be held."""

    def __init__(self, folder: Path | None = None) -> None:
        """Read whether it is held: a file that can't be read says yes.

        Raises ConfigError for a folder that is not there, or that others can write.
        """
        self._folder = folder
        self._busy = asyncio.Lock()
        self.held: Held | None = None
        if folder is not None:
            check_folder(folder)
            self.held = _read(folder / _NAME)

    async def take(self, by: str) -> None:
        """Lock at once, and return when the disk knows it. Raises ConfigError if it never will; it is held even so."""
        folder = self._known_folder()
        async with self._busy:
            held = self.held if self.held and self.held.by else Held(by, time.time())
            self.held = held
            try:
                await asyncio.to_thread(whole_file.write, folder / _NAME, json.dumps(held._asdict()).encode())
            except OSError as error:
                raise ConfigError(
                    str(folder / _NAME),
                    f"locked, but only until the server ends: {error.strerror}",
                    hint="make room there, and lock again",
                ) from None

    async def release(self) -> None:
        """Unlock when the disk knows it. Raises ConfigError if it can't be told; the lock is held then."""
        folder = self._known_folder()
        async with self._busy:
            try:
                await asyncio.to_thread(whole_file.remove, folder / _NAME)
            except OSError as error:
                raise ConfigError(str(folder / _NAME), f"cannot be removed: {error.strerror}") from None
            self.held = None

    def _known_folder(self) -> Path:
        if self._folder is None:
            raise ConfigError("state", "is not set, so a lock would not outlive the server")
        return self._folder


def check_folder(folder: Path) -> None:
    """Check that a folder can keep a lock. Raises ConfigError if it is not there, or others can write it."""
    if not folder.is_dir():
        raise ConfigError(str(folder), "no such folder", hint=f"mkdir -m 700 {folder}")
    trusted_file.check(folder)


def _read(path: Path) -> Held | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        return Held(None, None)
    try:
        found = json.loads(os.read(descriptor, _LONGEST))
        return Held(str(found["by"]), float(found["since"]))
    except (OSError, ValueError, TypeError, KeyError):
        return Held(None, None)
    finally:
        os.close(descriptor)
