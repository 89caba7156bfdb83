"""The chain's state beside the trail: sequence and key of the next line, and nothing from which an earlier key follows.

The file is one record of fixed size, written over in place by one pwrite(2) inside one disk sector: a kill or a power
cut leaves the old record or the new one, and no freed block keeps an old key as a rename would leave one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from pathlib import Path

from fieldgate_core.errors import ConfigError
from fieldgate_server.trail_chain import Link

_RECORD = re.compile(rb"(fieldgate-trail 1 ([0-9]{20}) ([0-9a-f]{64}) ([0-9a-f]{64})) ([0-9a-f]{16})\n")


class State:
    """The open state file. It belongs to the trail's one writer."""

    def __init__(self, descriptor: int, path: Path, link: Link) -> None:
        self._descriptor = descriptor
        self._path = path
        self.link = link

    def save(self, link: Link) -> None:
        """Go forward; the key before is gone. Raises OSError."""
        os.pwrite(self._descriptor, _record(link), 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def path_of(trail: Path) -> Path:
    """Give the state file of a trail."""
    return trail.with_name(f"{trail.name}.chain")


def create(trail: Path, link: Link) -> None:
    """Begin a chain: write its state, never over another one. Raises ConfigError."""
    path = path_of(trail)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ConfigError(
            str(path), "this trail is chained already, and its key is never made again", hint="begin another trail"
        ) from None
    except OSError as error:
        raise ConfigError(str(path), f"cannot be written: {error.strerror}") from None
    try:
        os.write(descriptor, _record(link))
        os.fsync(descriptor)
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise ConfigError(str(path), f"cannot be written: {error.strerror}") from None
    finally:
        os.close(descriptor)


def load(trail: Path) -> State | None:
    """Open the state of a trail; None if it is not chained. Raises ConfigError for a file that is not in order."""
    path = path_of(trail)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        hint = f"chown {os.geteuid()} {path}" if isinstance(error, PermissionError) else ""
        raise ConfigError(str(path), f"cannot be opened: {error.strerror}", hint=hint) from None
    try:
        return State(descriptor, path, _checked(descriptor, path))
    except BaseException:
        os.close(descriptor)
        raise


def _checked(descriptor: int, path: Path) -> Link:
    found = os.fstat(descriptor)
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(str(path), "others can read the trail's key", hint=f"chmod 600 {path}")
    record = _RECORD.fullmatch(os.pread(descriptor, 512, 0))
    if record is None or _check(record[1]) != record[5]:
        raise ConfigError(
            str(path),
            "is damaged, and the chain cannot go on",
            hint="move the trail and this file away together, verify them, and begin another: "
            "`fieldgate server audit init`",
        )
    return Link(int(record[2]), bytes.fromhex(record[3].decode()), bytes.fromhex(record[4].decode()))


def _record(link: Link) -> bytes:
    body = f"fieldgate-trail 1 {link.sequence:020d} {link.key.hex()} {link.previous.hex()}".encode()
    return body + b" " + _check(body) + b"\n"


def _check(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:16].encode()
