"""The metrics' listener: GET /metrics over HTTP/1.1 on loopback, for the local users who may, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import cast

from fieldgate_server import users
from fieldgate_tunnel.peer import PeerUsers, is_loopback_peer
from fieldgate_tunnel.ssh import peer_name

log = logging.getLogger("fieldgate.metrics")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATH = "/metrics"
HOLD = 1.0
"""Seconds for which the text of one scrape serves all: a reader that hammers costs the server no more than that."""

Refused = Callable[[str, str, str], None]
"""Told the door, the peer and what was refused to it."""


@dataclass(frozen=True)
class Bounds:
    """What readers may cost: bytes of a request, seconds from connecting to the end, readers in all and of one user."""

    request: int = 4096
    deadline: float = 5.0
    readers: int = 8
    of_one_user: int = 2


BOUNDS = Bounds()


class MetricsListener:
    """Serves the text that `scrape` makes."""

    port = 0

    def __init__(  # noqa: PLR0913
        self,
        scrape: Callable[[], bytes],
        peers: PeerUsers,
        allowed: tuple[str, ...] | None,
        refused: Refused,
        *,
        bounds: Bounds = BOUNDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`allowed` are the names of the local users who may read; None: all of them."""
        self._scrape = scrape
        self._peers = peers
        self._allowed = allowed
        self._refused = refused
        self.bounds = bounds
        self._clock = clock
        self._text = b""
        self._good_until = clock()
        self._server: asyncio.Server | None = None
        self.readers: set[_Reader] = set()
        """Connections of those who may read."""

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError."""
        self._server = await asyncio.get_running_loop().create_server(partial(_Reader, self), host, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Take no more connections, and end those that are open."""
        if self._server is not None:
            self._server.close()
        for reader in list(self.readers):
            reader.abort()

    def uid(self, connection: socket.socket) -> int | None:
        """Tell the uid of a peer; None if it is not certain."""
        return self._peers.uid(connection)

    def may_read(self, connection: socket.socket, peer: str, uid: int | None) -> bool | None:
        """Tell whether a peer may read, by its user; None if it is not to be answered at all."""
        if not is_loopback_peer(connection):
            self._refused("metrics", peer, "a peer that is not on loopback")
            return None
        if self._allowed is None:
            return True
        user = users.lookup(uid) if uid is not None else None
        if user is not None and user.name in self._allowed:
            return True
        who = "a peer whose user is not known" if user is None else f"user {user.name}"
        self._refused("metrics", peer, f"{who}: metrics.users does not name it")
        return False

    def has_place(self, uid: int | None) -> bool:
        """Tell whether a user may hold one more connection; all whose user is not known count as one."""
        return sum(reader.uid == uid for reader in self.readers) < self.bounds.of_one_user

    def text(self) -> bytes:
        """Give the metrics, at most HOLD seconds old."""
        now = self._clock()
        if now >= self._good_until:
            self._text = self._scrape()
            self._good_until = now + HOLD
        return self._text


class _Reader(asyncio.Protocol):
    """One connection: one request, one answer, and its end, all before the deadline."""

    uid: int | None = None

    def __init__(self, listener: MetricsListener) -> None:
        self._listener = listener
        self._request = b""
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the peer's user, once, before a byte is read; who may not read takes no place."""
        self._transport = cast("asyncio.Transport", transport)
        listener = self._listener
        if len(listener.readers) >= listener.bounds.readers:
            self.abort()
            return
        connection = transport.get_extra_info("socket")
        self.uid = listener.uid(connection)
        allowed = listener.may_read(connection, peer_name(transport.get_extra_info("peername")), self.uid)
        if allowed and listener.has_place(self.uid):
            listener.readers.add(self)
            self._deadline = asyncio.get_running_loop().call_later(listener.bounds.deadline, self.abort)
        elif allowed is False:
            self._reply(HTTPStatus.FORBIDDEN)
        else:
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes until the request's head is there; what comes after it is not looked at."""
        if self._transport is None or self._transport.is_closing():
            return
        self._request += data
        if b"\r\n\r\n" in self._request[: self._listener.bounds.request]:
            self._answer()
        elif len(self._request) >= self._listener.bounds.request:
            self._reply(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave."""
        self._transport = None
        self._request = b""
        self._listener.readers.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _answer(self) -> None:
        words = self._request.partition(b"\r\n")[0].split(b" ")
        if len(words) != 3 or words[2] not in {b"HTTP/1.1", b"HTTP/1.0"}:
            self._reply(HTTPStatus.BAD_REQUEST)
        elif words[1].partition(b"?")[0] != PATH.encode():
            self._reply(HTTPStatus.NOT_FOUND)
        elif words[0] != b"GET":
            self._reply(HTTPStatus.METHOD_NOT_ALLOWED, headers="Allow: GET\r\n")
        else:
            try:
                text = self._listener.text()
            except Exception:
                log.exception("the metrics cannot be made")
                self._reply(HTTPStatus.INTERNAL_SERVER_ERROR)
            else:
                self._reply(HTTPStatus.OK, text, CONTENT_TYPE)

    def _reply(
        self, status: HTTPStatus, body: bytes | None = None, content: str = "text/plain", headers: str = ""
    ) -> None:
        """Answer and close; a peer that does not take it is cut off at the deadline."""
        if self._transport is None:
            return
        if body is None:
            body = f"{status.phrase}\n".encode()
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content}\r\n"
        head += f"Content-Length: {len(body)}\r\n{headers}Connection: close\r\n\r\n"
        self._request = b""
        self._transport.write(head.encode() + body)
        self._transport.close()
