"""A local plain Modbus port that leads through a link, for tools that know neither SSH nor TLS."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import cast

from fieldgate_core.adu import Framer, reply
from fieldgate_core.modbus import ExceptionCode, exception_pdu
from fieldgate_tunnel import unix_socket
from fieldgate_tunnel.binding import bind
from fieldgate_tunnel.carrier import Carrier
from fieldgate_tunnel.forward_settings import Address, TcpAddress
from fieldgate_tunnel.mux import Failure, Request
from fieldgate_tunnel.peer import PeerUsers, is_loopback_peer
from fieldgate_tunnel.ssh import peer_name

log = logging.getLogger("fieldgate.forward")

_CODES = {
    Failure.NOT_SENT: ExceptionCode.GATEWAY_PATH_UNAVAILABLE,
    Failure.NO_REPLY: ExceptionCode.GATEWAY_TARGET_FAILED,
}
"""What a local client is told (V1.1b3, 7): 0A, it was not sent; 0B, it was, and no answer came."""


class Forward:
    """The local side of one link: its listeners, and the clients that have connected."""

    def __init__(
        self, target: str, carrier: Carrier, *, admitted: frozenset[int], users: PeerUsers | None, deadline: float
    ) -> None:
        """`admitted` are uids that may connect, `users` tells those of TCP; `deadline` in seconds for each request."""
        self.target = target
        self.carrier = carrier
        self.deadline = deadline
        self.listening_on: list[str] = []
        self._admitted = admitted
        self._users = users
        self._clients: set[LocalClient] = set()

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    @contextlib.asynccontextmanager
    async def listening(self, where: Address) -> AsyncIterator[None]:
        """Listen there until the block ends, and close its clients then. Raises ConfigError if that can't be."""
        loop = asyncio.get_running_loop()
        servers: list[asyncio.Server] = []
        if isinstance(where, TcpAddress):

            async def listen() -> None:
                servers.append(await loop.create_server(self._client, where.host, where.port))

            await bind(f"listen {where}", listen)
            port = servers[0].sockets[0].getsockname()[1]
            self.listening_on.append(str(where._replace(port=port)))
            ending: Callable[[], None] = _nothing
        else:
            # who else may connect is decided by uid, when they do
            mode = 0o600 if len(self._admitted) == 1 else 0o666
            listener, made = unix_socket.bind(where, where=f"listen unix:{where}", mode=mode)
            servers.append(await loop.create_unix_server(self._client, sock=listener))
            self.listening_on.append(f"unix:{where}")

            def ending() -> None:
                unix_socket.remove(where, made)

        try:
            yield
        finally:
            servers[0].close()
            ending()
            for client in list(self._clients):
                client.close()

    def _client(self) -> LocalClient:
        return LocalClient(self)

    def enter(self, client: LocalClient, transport: asyncio.BaseTransport) -> str | None:
        """Let a client in, and give the words for it; None if it may not come in. Nothing has been read yet."""
        connection: socket.socket = transport.get_extra_info("socket")
        if connection.family == socket.AF_UNIX:
            pid, uid = unix_socket.peer(connection)
            peer: str = f"pid:{pid}"
            found: int | None = uid
        else:
            peer = peer_name(transport.get_extra_info("peername"))
            found = self._users.uid(connection) if self._users and is_loopback_peer(connection) else None
        if found is None or found not in self._admitted:
            who = "a user who can't be told" if found is None else f"uid {found}"
            log.warning("%s: closed a connection of %s (%s): allow_users does not name them", self.target, who, peer)
            return None
        self._clients.add(client)
        return peer

    def leave(self, client: LocalClient) -> None:
        """Take a client's leave."""
        self._clients.discard(client)
        self.carrier.leave(client)


class LocalClient(asyncio.Protocol):
    """One local connection: its requests in, each answered, by an exception of ours at the latest at its deadline."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._carrier = forward.carrier
        self._framer = Framer()
        self._transport: asyncio.Transport | None = None
        self._peer = ""
        self._owed = 0
        self._reading = True
        self._blocked = False
        self._peer_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made = cast("asyncio.Transport", transport)
        peer = self._forward.enter(self, transport)
        if peer is None:
            made.abort()
            return
        self._peer = peer
        self._transport = made

    def data_received(self, data: bytes) -> None:
        if self._transport is not None:
            self._framer.feed(data)
            self._take()

    def eof_received(self) -> bool:
        self._peer_ended = True
        return self._owed > 0

    def pause_writing(self) -> None:
        self._blocked = True
        self._regulate()

    def resume_writing(self) -> None:
        self._blocked = False
        self._take()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._forward.leave(self)

    def answered(self, request: Request, answer: bytes | Failure) -> None:
        """Take the end of a request, and tell the client."""
        if isinstance(answer, Failure):
            if answer is Failure.NO_REPLY and request.writes:
                log.warning(
                    "%s: outcome unknown: a write (function %d, unit %d) of %s was sent, and no answer came",
                    *(self._forward.target, request.pdu[0], request.unit, self._peer),
                )
            answer = exception_pdu(request.pdu[0], _CODES[answer])
        self._owed -= 1
        if self._transport is None:
            return
        self._transport.write(reply(request.tag, request.unit, answer))
        if self._peer_ended and not self._owed:
            self._transport.close()
        elif not self._reading:
            asyncio.get_running_loop().call_soon(self._take)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _take(self) -> None:
        """Take the requests that there is room for; the rest waits where it is, and so does the client."""
        if self._transport is None:
            return
        while not self._blocked and (frames := self._framer.take(self._carrier.room(self))):
            deadline = time.monotonic() + self._forward.deadline
            self._owed += len(frames)
            self._carrier.ask([Request(self, head, unit, pdu, deadline) for head, unit, pdu in frames])
        if self._framer.violation is not None:
            log.warning("%s: closed %s: %s", self._forward.target, self._peer, self._framer.violation)
            self._transport.abort()
            return
        self._regulate()

    def _regulate(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing() or self._peer_ended:
            return
        wanted = not self._blocked and self._carrier.room(self) > 0
        if wanted is not self._reading:
            self._reading = wanted
            if wanted:
                transport.resume_reading()
            else:
                transport.pause_reading()


def _nothing() -> None:
    pass
