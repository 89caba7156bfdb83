"""Keep a PKI's folder: modes, nothing overwritten, generations of an identity and the symlink to the one in force."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from fieldgate_certs.layout import ISSUING_CERT, File, Files
from fieldgate_certs.subjects import Subject
from fieldgate_core.errors import PkiError

CURRENT = "current"
"""The symlink beside an identity's generations that names the one in force."""
_STAGE = ".new"
_NEXT = ".current"
_FOLDER_MODE, _PRIVATE_MODE, _PUBLIC_MODE = 0o700, 0o600, 0o644


class Store:
    """A folder that holds a PKI. Raises PkiError if it holds none, or if others may write in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with _told(folder):
            if not (folder / ISSUING_CERT.path).exists():
                hint = "name the PKI's folder (--dir DIR), or make one: fieldgate certs init DIR"
                raise PkiError(str(folder), "holds no PKI", hint=hint)
            _refuse_writable_by_others(folder)

    @classmethod
    def create(cls, folder: Path, files: Files) -> Store:
        """Write a new PKI in `folder`, which may be there already. Raises PkiError if it holds one, or half of one."""
        with _told(folder):
            _make_folder(folder)
            _refuse_writable_by_others(folder)
            tops = sorted({Path(file.path).parts[0] for file in files})
            with _locked(folder):
                for name in (*tops, "issued"):
                    if os.path.lexists(folder / name):
                        hint = "choose another folder; to issue from a PKI that is there: fieldgate certs issue --help"
                        raise PkiError(str(folder / name), "is there already, and nothing is overwritten", hint=hint)
                with _staged(folder, files) as stage:
                    for name in tops:
                        (stage / name).rename(folder / name)
                    _sync_folder(folder)
        return cls(folder)

    def read(self, file: File) -> bytes:
        """Read one file of the PKI. Raises PkiError for a private key that group or others have rights to."""
        path = self.folder / file.path
        with _told(path), path.open("rb") as stream:
            if file.private:
                _refuse_shared_key(path, os.fstat(stream.fileno()))
            return stream.read()

    def add(self, subject: Subject, files: Files) -> Path:
        """Write a new generation of an identity, put it in force, and return its folder.

        The swap is one rename: whatever happens, `current` names a whole generation, the old one or the new one.
        """
        folder = self.folder / "issued" / subject.kind / subject.name
        with _told(folder), _locked(self.folder):
            for parent in (folder.parent.parent, folder.parent, folder):
                _make_folder(parent)
            number = max((int(path.name) for path in folder.iterdir() if path.name.isdecimal()), default=0) + 1
            generation = folder / f"{number:06}"
            with _staged(folder, files) as stage:
                stage.rename(generation)
                _sync_folder(folder)
            (folder / _NEXT).unlink(missing_ok=True)
            (folder / _NEXT).symlink_to(generation.name)
            (folder / _NEXT).replace(folder / CURRENT)
            _sync_folder(folder)
        return generation


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into an error that names the file."""
    try:
        yield
    except OSError as error:
        raise PkiError(str(error.filename or path), error.strerror or "cannot be used") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the PKI alone: two that issue to one name at once must not swap `current` backwards."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _staged(folder: Path, files: Files) -> Iterator[Path]:
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
            _sync_folder(path)
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _write(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(descriptor)


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        path.mkdir(_FOLDER_MODE)
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_writable_by_others(folder: Path) -> None:
    if folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        hint = f"chmod go-w {shlex.quote(str(folder))}"
        raise PkiError(str(folder), "group or others may write here, and so could put their own CA in it", hint=hint)


def _refuse_shared_key(path: Path, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        problem = f"group or others have rights to this private key (mode {mode:04o})"
        raise PkiError(str(path), problem, hint=f"chmod 600 {shlex.quote(str(path))}")
    if status.st_uid not in {0, os.geteuid()}:
        problem = f"this private key belongs to another user (uid {status.st_uid})"
        raise PkiError(str(path), problem, hint=f"chown {os.geteuid()} {shlex.quote(str(path))}")
