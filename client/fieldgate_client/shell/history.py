"""The file of what was typed: for its user alone, and never another user's."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from fieldgate_core.errors import ConfigError


def default_file() -> Path:
    """Give where it is: shell_history in the user's state folder."""
    import platformdirs

    return platformdirs.user_state_path("fieldgate") / "shell_history"


def load(file: Path) -> History:
    """Open a history that lasts. Raises ConfigError for a file that cannot be had, or is another user's."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(str(file), f"no history is kept: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise ConfigError(str(file), "no history is kept: it is no file of yours", hint="remove it")
        # one that others could read stays so no longer
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    return _Kept(str(file))


def forgotten() -> History:
    """Give a history that ends with the shell."""
    return InMemoryHistory()


class _Kept(FileHistory):
    def store_string(self, string: str) -> None:
        # a full disk must not come between a person and a device
        with suppress(OSError):
            super().store_string(string)
