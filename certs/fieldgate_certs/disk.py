"""Write files so that a kill or a power cut leaves whole ones: stages, generations, one rename each."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from fieldgate_certs.layout import Files
from fieldgate_core.errors import PkiError

CURRENT = "current"
"""The symlink beside an identity's generations that names the one in force."""
_STAGE = ".new"
_NEXT = ".current"
_FOLDER_MODE, _PRIVATE_MODE, _PUBLIC_MODE = 0o700, 0o600, 0o644


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into a PkiError that names the file."""
    try:
        yield
    except OSError as error:
        raise PkiError(str(error.filename or path), error.strerror or "cannot be used") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder alone: two that issue to one name at once must not swap `current` backwards."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def staged(folder: Path, files: Files) -> Iterator[Path]:
    """Write files in a folder of their own, safe on disk, for the caller to rename into place; else nothing stays."""
    stage = folder / _STAGE
    shutil.rmtree(stage, ignore_errors=True)  # of a run that was killed
    folders = sorted({stage / parent for file in files for parent in PurePath(file.path).parents})
    try:
        for path in folders:
            path.mkdir(_FOLDER_MODE)
        for file, data in files.items():
            _write(stage / file.path, data, _PRIVATE_MODE if file.private else _PUBLIC_MODE)
        for path in folders:
            sync_folder(path)
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def add_generation(folder: Path, files: Files) -> Path:
    """Write files as the next generation in `folder`, put it in force, and return it; the caller holds the lock.

    The swap is one rename: whatever happens, `current` names a whole generation, the old one or the new one.
    """
    number = max((int(path.name) for path in folder.iterdir() if path.name.isdecimal()), default=0) + 1
    generation = folder / f"{number:06}"
    with staged(folder, files) as stage:
        stage.rename(generation)
        sync_folder(folder)
    (folder / _NEXT).unlink(missing_ok=True)
    (folder / _NEXT).symlink_to(generation.name)
    (folder / _NEXT).replace(folder / CURRENT)
    sync_folder(folder)
    return generation


def replace(path: Path, data: bytes) -> None:
    """Put a public file in the place of an older one, by one rename."""
    stage = path.with_name(f".{path.name}.new")
    stage.unlink(missing_ok=True)
    try:
        _write(stage, data, _PUBLIC_MODE)
        stage.replace(path)
    finally:
        stage.unlink(missing_ok=True)
    sync_folder(path.parent)


def create(path: Path, data: bytes, *, private: bool) -> None:
    """Write a file that is not there yet. Raises PkiError if it is: nothing is overwritten."""
    with told(path):
        try:
            _write(path, data, _PRIVATE_MODE if private else _PUBLIC_MODE)
        except FileExistsError:
            raise PkiError(
                str(path), "is there already, and nothing is overwritten", hint="name another file"
            ) from None
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        sync_folder(path.parent)


def append(path: Path, line: str) -> None:
    """Add a line to a private file that only grows; after a power cut it is there, or it is not."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, _PRIVATE_MODE)
    with os.fdopen(descriptor, "rb+", buffering=0) as stream:
        size = stream.seek(0, os.SEEK_END)
        # half a line that a power cut has left must not swallow this one
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        stream.write(f"{chr(10) if torn else ''}{line}\n".encode())
        os.fsync(descriptor)


def clear(path: Path) -> None:
    """Remove a folder and all that is in it, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)


def make_folder(path: Path) -> None:
    """Make a folder that only we can use, if it is not there; its parent must be."""
    if not path.is_dir():
        path.mkdir(_FOLDER_MODE)
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder safe on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path, *, private: bool = False) -> bytes:
    """Read a file. Raises PkiError, also for a private key that group or others have rights to."""
    with told(path), path.open("rb") as stream:
        if private:
            _refuse_shared_key(path, os.fstat(stream.fileno()))
        return stream.read()


def refuse_writable_by_others(folder: Path) -> None:
    """Raise PkiError if group or others may write in a folder."""
    if folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        hint = f"chmod go-w {shlex.quote(str(folder))}"
        raise PkiError(str(folder), "group or others may write here, and so could put their own CA in it", hint=hint)


def _write(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(descriptor)


def _refuse_shared_key(path: Path, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        problem = f"group or others have rights to this private key (mode {mode:04o})"
        raise PkiError(str(path), problem, hint=f"chmod 600 {shlex.quote(str(path))}")
    if status.st_uid not in {0, os.geteuid()}:
        problem = f"this private key belongs to another user (uid {status.st_uid})"
        raise PkiError(str(path), problem, hint=f"chown {os.geteuid()} {shlex.quote(str(path))}")
