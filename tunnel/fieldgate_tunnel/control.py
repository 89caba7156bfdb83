"""The control socket: a Unix socket that takes one line of JSON from a local user, and answers with another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from fieldgate_tunnel import unix_socket

log = logging.getLogger("fieldgate.control")

LONGEST = 4096
"""Bytes of a request."""
DEADLINE = 5.0
"""Seconds that a peer has to ask, and again to take its answer."""
OF_ONE_USER = 2
"""Connections of one uid at once."""
WITHOUT_MANAGE = 8
"""Connections at once of all uids that may give no command."""

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
    async def listening(self, path: Path, *, mode: int = 0o660) -> AsyncIterator[None]:
        """Listen until the block ends. Raises ConfigError if that can't be, or another server listens there."""
        listener, made = unix_socket.bind(path, where=f"control {path}", mode=mode)
        try:
            server = await asyncio.start_unix_server(self._connected, sock=listener, limit=LONGEST)
        except BaseException:
            listener.close()
            raise
        try:
            yield
        finally:
            server.close()
            unix_socket.remove(path, made)
            if self._serving:
                # who has asked to stop is still told that it is done
                await asyncio.wait(self._serving, timeout=1.0)
            for task in self._serving:
                task.cancel()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pid, uid = unix_socket.peer(writer.get_extra_info("socket"))
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
