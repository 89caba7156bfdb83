"""One SSH connection at the hub: a box that offers its name, or a client that reaches one; all else is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

import asyncssh

from fieldgate_tunnel.hub_names import box_at, box_behind
from fieldgate_tunnel.hub_policy import names_of, subject_of
from fieldgate_tunnel.limits import Gate, Limits
from fieldgate_tunnel.relay import End
from fieldgate_tunnel.ssh import WINDOW, ChannelAdapter, UnixSession
from fieldgate_tunnel.ssh_peer import Known, Opened, OpenedUnix, Peer, Refused

if TYPE_CHECKING:
    from fieldgate_tunnel.hub import Hub

OPEN_DEADLINE = 10.0
"""Seconds that a box has to take a connection."""
CHANNELS_OF_BOX = 256
"""Connections to one box at once; the box has limits of its own."""

Opener = Callable[[Callable[[], ChannelAdapter]], Awaitable[object]]
"""Opens a channel to the box that has offered, in the way that it has."""


class Offer:
    """A box's name, taken by the connection that has offered it; `since` in seconds since 1970."""

    def __init__(self, box: str, peer: HubPeer, subject: str, opener: Opener) -> None:
        self.box = box
        self.peer = peer
        self.subject = subject
        self.since = time.time()
        self.clients = 0
        self.carried = 0
        self._opener = opener

    async def open(self, end: End) -> None:
        """Lead one end of a relay to the box. Raises ChannelOpenError."""
        self.peer.check_channel(CHANNELS_OF_BOX)
        adapter = self.peer.adapter(end)
        opening = asyncio.ensure_future(self._opener(lambda: adapter))
        # a box that never answers keeps the places of all that it was asked: SSH can't take the question back
        opening.add_done_callback(lambda done: self._answered(done, adapter))
        try:
            async with asyncio.timeout(OPEN_DEADLINE):
                await asyncio.shield(opening)
        except BaseException as error:
            end.abandon()
            if isinstance(error, TimeoutError):
                raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, f"{self.box} does not answer") from None
            raise

    def _answered(self, done: asyncio.Future[object], adapter: ChannelAdapter) -> None:
        if done.cancelled() or done.exception() is not None:
            self.peer.release(adapter)


class HubPeer(Peer):
    """Serves one connection of the hub's."""

    def __init__(  # noqa: PLR0913
        self, hub: Hub, known: Known, refused: Refused, gate: Gate, peers: set[Peer], limits: Limits
    ) -> None:
        super().__init__(known, refused, gate, peers, limits)
        self._hub = hub
        self._boxes: dict[ChannelAdapter, str] = {}

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Take a connection, if these are not too many just now: who is turned away comes back a little later."""
        if self._hub.accepts.take():
            super().connection_made(conn)
        else:
            conn.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave, with all that was offered here."""
        super().connection_lost(exc)
        self._hub.left(self)

    @property
    def name(self) -> str:
        """The typed name of who has authenticated."""
        return names_of(self.proof)[0] if self.proof is not None else "?"

    @property
    def reaches(self) -> frozenset[str]:
        """The boxes to which channels of this connection lead now."""
        return frozenset(self._boxes.values())

    def release(self, adapter: ChannelAdapter) -> None:
        """Give the place of a channel back, wherever it has led."""
        super().release(adapter)
        self._boxes.pop(adapter, None)

    # what boxes ask

    def unix_server_requested(self, listen_path: str) -> asyncssh.SSHListener | bool:
        """Take an offer: `-R /BOX/mbaps:...`."""
        box = box_at(listen_path)
        if box is None:
            return super().unix_server_requested(listen_path)
        return self._offered(
            box,
            lambda made: self._connected.create_unix_connection(_session(made), listen_path, window=WINDOW),
        )

    def server_requested(self, listen_host: str, listen_port: int) -> asyncssh.SSHListener | bool:
        """Take an offer: `-R BOX:802:...`."""
        box = box_behind(listen_host, listen_port)
        if box is None:
            return super().server_requested(listen_host, listen_port)
        return self._offered(
            box,
            lambda made: self._connected.create_connection(made, listen_host, listen_port, window=WINDOW),
        )

    def _offered(self, box: str, opener: Opener) -> asyncssh.SSHListener | bool:
        proof = self.proof
        if proof is None:
            return False
        offer = Offer(box, self, subject_of(proof), opener)
        fault = self._hub.offer(offer)
        if fault is not None:
            self.refused(f"to offer {box}: {fault}")
            return False
        return _Withdrawal(lambda: self._hub.withdraw(offer))

    # what clients ask

    def unix_connection_requested(self, dest_path: str) -> OpenedUnix | bool:
        """Lead to a box: `-W /BOX/mbaps`. Raises ChannelOpenError."""
        box = box_at(dest_path)
        if box is None:
            return super().unix_connection_requested(dest_path)
        offer = self._reached(box)
        channel = self._connected.create_unix_channel(encoding=None, window=WINDOW)
        return channel, cast("Awaitable[UnixSession]", self._led(offer))

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Opened | bool:
        """Lead to a box: `-W BOX:802`. Raises ChannelOpenError."""
        box = box_behind(dest_host, dest_port)
        if box is None:
            return super().connection_requested(dest_host, dest_port, orig_host, orig_port)
        offer = self._reached(box)
        channel = self._connected.create_tcp_channel(encoding=None, window=WINDOW)
        return channel, self._led(offer)

    def _reached(self, box: str) -> Offer:
        proof = self.proof
        if proof is None or not self._hub.may_reach(proof, box):
            self.refused(f"to reach {box}")
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "there is no such box, or you may not reach it"
            )
        self.check_channel()
        offer = self._hub.offers.get(box)
        if offer is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, f"{box} has not dialled in")
        return offer

    def _led(self, offer: Offer) -> Awaitable[ChannelAdapter]:
        near, far = End.pair()
        # it takes its place now, before anything is awaited: who opens many at once has no more of them
        adapter = ChannelAdapter(near, lambda closed: self._ended(closed, offer, near, far))
        self.hold_with(adapter)
        self._boxes[adapter] = offer.box
        return self._open(adapter, offer, far)

    async def _open(self, adapter: ChannelAdapter, offer: Offer, far: End) -> ChannelAdapter:
        try:
            await offer.open(far)
        except BaseException:
            self.release(adapter)
            raise
        if self._connected.is_closed():
            # nobody would tell the near end that it is over
            far.abandon()
            self.release(adapter)
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the connection is gone")
        offer.clients += 1
        self._hub.tell("reached", self, offer.box)
        return adapter

    def _ended(self, adapter: ChannelAdapter, offer: Offer, near: End, far: End) -> None:
        self.release(adapter)
        offer.clients -= 1
        offer.carried += near.carried + far.carried
        self._hub.tell("left", self, offer.box, f" sent={near.carried} received={far.carried}")

    @property
    def _connected(self) -> asyncssh.SSHServerConnection:
        if self.connection is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the connection is gone")
        return self.connection


def _session(made: Callable[[], ChannelAdapter]) -> Callable[[], UnixSession]:
    return cast("Callable[[], UnixSession]", made)


class _Withdrawal(asyncssh.SSHListener):
    """What asyncssh closes when a box takes its offer back."""

    def __init__(self, withdraw: Callable[[], None]) -> None:
        super().__init__()
        self._withdraw = withdraw

    def close(self) -> None:
        self._withdraw()
