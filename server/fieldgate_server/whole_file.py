"""Writing a small file whole or not at all, through a crash and a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """Put a new file in the place of an old one; when this returns the disk knows it. Raises OSError."""
    written = path.with_name(f"{path.name}.new")
    # what a crash may have left there
    with contextlib.suppress(FileNotFoundError):
        written.unlink()
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if os.write(descriptor, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    written.replace(path)
    _sync(path.parent)


def remove(path: Path) -> None:
    """Remove a file, if it is there; when this returns the disk knows it. Raises OSError."""
    path.unlink(missing_ok=True)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
