"""The control socket: a Unix socket that takes one line of JSON from a local user, and answers with another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from fieldgate_core import trusted_file
from fieldgate_core.errors import ConfigError

log = logging.getLogger("fieldgate.control")

LONGEST = 4096
"""Bytes of a request."""
DEADLINE = 5.0
"""Seconds that a peer has to ask, and again to take its answer."""
OF_ONE_USER = 2
"""Connections of one uid at once."""
WITHOUT_MANAGE = 8
"""Connections at once of all uids that may give no command."""
_UCRED = Struct("=iII")
"""struct ucred of unix(7): pid, uid, gid."""

Answerer = Callable[[dict[str, object], int, int], Awaitable[dict[str, object]]]
"""Answers a request of a uid and pid."""
Entitled = Callable[[int], bool]
"""Tells whether a uid may give any command."""
Refused = Callable[[str, str, str], None]
"""Told the door, the peer and what was refused to it."""


class _Peer(NamedTuple):
    uid: int
    pid: int
    entitled: bool


class ControlSocket:
    """Listens for an operator's commands; who asks is whom the kernel says (SO_PEERCRED)."""

    def __init__(self, answer: Answerer, entitled: Entitled, refused: Refused) -> None:
        """Prepare. Who is not entitled shares few places. Who finds none is refused."""
        self._answer = answer
        self._entitled = entitled
        self._refused = refused
        self._serving: dict[asyncio.Task[None], _Peer] = {}

    @contextlib.asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator[None]:
        """Listen until the block ends. Raises ConfigError if that can't be, or another server listens there."""
        listener, made = _bind(path)
        try:
            server = await asyncio.start_unix_server(self._connected, sock=listener, limit=LONGEST)
        except BaseException:
            listener.close()
            raise
        try:
            yield
        finally:
            server.close()
            _unlink(path, made)
            if self._serving:
                # who has asked to stop is still told that it is done
                await asyncio.wait(self._serving, timeout=1.0)
            for task in self._serving:
                task.cancel()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid, uid, _ = _UCRED.unpack(raw)
        peer = _Peer(uid, pid, self._entitled(uid))
        full = self._full(peer)
        if full is not None:
            writer.transport.abort()
            self._refused("control", f"pid:{pid}", full)
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer, peer))
        self._serving[task] = peer
        task.add_done_callback(self._serving.pop)

    def _full(self, peer: _Peer) -> str | None:
        """Say why a peer finds no place; None if it does. No user can take the places of those who are entitled."""
        if sum(other.uid == peer.uid for other in self._serving.values()) >= OF_ONE_USER:
            return f"uid {peer.uid} has {OF_ONE_USER} connections already"
        if not peer.entitled and sum(not other.entitled for other in self._serving.values()) >= WITHOUT_MANAGE:
            return f"users without manage have {WITHOUT_MANAGE} connections already"
        return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: _Peer) -> None:
        try:
            async with asyncio.timeout(DEADLINE):
                line = await reader.readuntil(b"\n")
            answer = await self._answered(line, peer)
            writer.write(json.dumps(answer).encode() + b"\n")
            async with asyncio.timeout(DEADLINE):
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # who asks nothing, too much or too slowly gets no answer
            writer.transport.abort()
        except Exception:
            log.exception("a command failed")
            writer.transport.abort()

    async def _answered(self, line: bytes, peer: _Peer) -> dict[str, object]:
        try:
            asked = json.loads(line)
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            asked = {}
        return await self._answer(asked, peer.uid, peer.pid)


def check_place(path: Path) -> None:
    """Check that the socket may be made in its folder. Raises ConfigError."""
    where = f"control {path}"
    if not path.parent.is_dir():
        raise ConfigError(where, "there is no such folder", hint=f"mkdir -m 750 {path.parent}")
    # who can write there can put a socket of their own in its place
    trusted_file.check(path.parent)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(where, "is there already, and is no socket", hint="choose another path")


def _bind(path: Path) -> tuple[socket.socket, os.stat_result]:
    """Bind a socket that its owner and group may connect to, and tell which file it is. Raises ConfigError."""
    where = f"control {path}"
    check_place(path)
    _clear(path, where)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setblocking(False)
        listener.bind(str(path))
        # nobody can connect before it listens
        path.chmod(0o660)
        return listener, path.stat()
    except OSError as error:
        listener.close()
        raise ConfigError(where, f"cannot listen: {error.strerror or error}") from None


def _unlink(path: Path, made: os.stat_result) -> None:
    """Remove our socket, unless another server's has taken its place."""
    with contextlib.suppress(OSError):
        if os.path.samestat(made, path.stat()):
            path.unlink()


def _clear(path: Path, where: str) -> None:
    """Remove the socket that a dead server has left. Raises ConfigError if a server answers there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            log.warning("%s: replaced the socket of a server that is gone", where)
        except OSError as error:
            raise ConfigError(where, f"is there already: {error.strerror or error}") from None
        else:
            raise ConfigError(where, "another server listens there", hint="stop it, or choose another path")
