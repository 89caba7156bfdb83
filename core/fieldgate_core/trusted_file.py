"""Files that decide who is trusted must not be for others to write."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fieldgate_core.errors import ConfigError


def check(path: Path) -> None:
    """Check that only we or root can write a file. Raises ConfigError with the command that mends it."""
    try:
        found = path.stat()
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(
            str(path), "others can write this file, and so decide who is trusted", hint=f"chmod go-w {path}"
        )
    if found.st_uid not in {os.geteuid(), 0}:
        raise ConfigError(str(path), "belongs to another user", hint=f"chown {os.geteuid()} {path}")
