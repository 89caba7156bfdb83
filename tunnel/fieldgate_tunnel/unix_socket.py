"""Unix sockets to listen on: bound in a trusted folder, in place of a dead process's, and removed with care."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from fieldgate_core import trusted_file
from fieldgate_core.errors import ConfigError

log = logging.getLogger("fieldgate.tunnel")

_UCRED = Struct("=iII")
"""struct ucred of unix(7): pid, uid, gid."""


class Peer(NamedTuple):
    """Who the kernel says has connected (SO_PEERCRED)."""

    pid: int
    uid: int


def peer(connection: socket.socket) -> Peer:
    """Tell who is at the other end of an accepted connection."""
    pid, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(pid, uid)


def check_place(path: Path, *, where: str) -> None:
    """Check that a socket may be made in its folder. Raises ConfigError."""
    if not path.parent.is_dir():
        raise ConfigError(where, "there is no such folder", hint=f"mkdir -m 750 {path.parent}")
    # who can write there can put a socket of their own in its place
    trusted_file.check(path.parent)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(where, "is there already, and is no socket", hint="choose another path")


def bind(path: Path, *, where: str, mode: int) -> tuple[socket.socket, os.stat_result]:
    """Bind a socket that whom `mode` allows may connect to, and tell which file it is. Raises ConfigError."""
    check_place(path, where=where)
    _clear(path, where)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setblocking(False)
        listener.bind(str(path))
        # nobody can connect before it listens
        path.chmod(mode)
        return listener, path.stat()
    except OSError as error:
        listener.close()
        raise ConfigError(where, f"cannot listen: {error.strerror or error}") from None


def remove(path: Path, made: os.stat_result) -> None:
    """Remove our socket, unless another process's has taken its place."""
    with contextlib.suppress(OSError):
        if os.path.samestat(made, path.stat()):
            path.unlink()


def _clear(path: Path, where: str) -> None:
    """Remove the socket that a dead process has left. Raises ConfigError if it is not that."""
    if not os.path.lexists(path):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            log.warning("%s: replaced the socket of a process that is gone", where)
        except OSError as error:
            raise ConfigError(where, f"is there already: {error.strerror or error}") from None
        else:
            raise ConfigError(where, "another process listens there", hint="stop it, or choose another path")
