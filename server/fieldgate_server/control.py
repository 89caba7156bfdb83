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

from fieldgate_core import trusted_file
from fieldgate_core.errors import ConfigError

log = logging.getLogger("fieldgate.control")

LONGEST = 4096
"""Bytes of a request."""
DEADLINE = 5.0
"""Seconds that a peer has to ask, and again to take its answer."""
MOST = 16
"""Peers at once."""
_UCRED = Struct("=iII")
"""struct ucred of unix(7): pid, uid, gid."""

Answerer = Callable[[dict[str, object], int, int], Awaitable[dict[str, object]]]
"""Answers a request of a uid and pid."""


class ControlSocket:
    """Listens for an operator's commands; who asks is whom the kernel says (SO_PEERCRED)."""

    def __init__(self, answer: Answerer) -> None:
        self._answer = answer
        self._serving: set[asyncio.Task[None]] = set()

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
        if len(self._serving) >= MOST:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
            pid, uid, _ = _UCRED.unpack(raw)
            async with asyncio.timeout(DEADLINE):
                line = await reader.readuntil(b"\n")
            answer = await self._answered(line, uid, pid)
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

    async def _answered(self, line: bytes, uid: int, pid: int) -> dict[str, object]:
        try:
            asked = json.loads(line)
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            asked = {}
        return await self._answer(asked, uid, pid)


def _bind(path: Path) -> tuple[socket.socket, os.stat_result]:
    """Bind a socket that its owner and group may connect to, and tell which file it is. Raises ConfigError."""
    where = f"control {path}"
    if not path.parent.is_dir():
        raise ConfigError(where, "there is no such folder", hint=f"mkdir -m 750 {path.parent}")
    # who can write there can put a socket of their own in its place
    trusted_file.check(path.parent)
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
    """Remove the socket that a dead server has left. Raises ConfigError if it is not that."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise ConfigError(where, "is there already, and is no socket", hint="choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            log.warning("%s: replaced the socket of a server that is gone", where)
        except OSError as error:
            raise ConfigError(where, f"is there already: {error.strerror or error}") from None
        else:
            raise ConfigError(where, "another server listens there", hint="stop it, or choose another path")
