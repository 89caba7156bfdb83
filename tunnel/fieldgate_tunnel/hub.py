"""A hub: boxes dial in and offer their names, clients reach them by name; it carries TLS that it can't read."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

import asyncssh

from fieldgate_core.credentials import SshCertificateCredentials
from fieldgate_core.logs import printable
from fieldgate_tunnel.accept_rate import AcceptRate
from fieldgate_tunnel.hub_peer import HubPeer, Offer
from fieldgate_tunnel.hub_policy import names_of, subject_of
from fieldgate_tunnel.hub_settings import HubFiles
from fieldgate_tunnel.limits import Gate
from fieldgate_tunnel.link_events import State
from fieldgate_tunnel.ssh_keys import SshProof
from fieldgate_tunnel.ssh_peer import Peer
from fieldgate_tunnel.status import Reported

log = logging.getLogger("fieldgate.hub")

CLOSE_DEADLINE = 2.0
"""Seconds that connections have to end when the hub closes."""
_LONGEST = 1000


@dataclass(frozen=True)
class OfferStatus:
    """A box of the policy's, now: up, if it has dialled in. `since` in seconds since 1970, `today` in bytes."""

    target: str
    state: State
    since: float
    reason: str
    clients: int
    today: int


class Hub:
    """Listens, and knows who offers what."""

    port = 0

    def __init__(self, found: HubFiles) -> None:
        self._files = found
        self._gate = Gate(found.settings.limits)
        self._peers: set[Peer] = set()
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self.accepts = AcceptRate(found.settings.accepts_per_second)
        self.offers: dict[str, Offer] = {}
        """Those that stand, by the box."""
        self._began = time.time()
        self._withdrawn: dict[str, float] = {}

    async def start(self) -> None:
        """Listen. Raises OSError."""
        at = self._files.settings
        self._acceptor = await asyncssh.listen(at.host, at.port, server_factory=self._peer, options=self._files.options)
        self.port = self._acceptor.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Take no more connections, and end those that are open."""
        if self._acceptor is not None:
            self._acceptor.close()
        for peer in self._peers:
            peer.close()
        if self._peers:
            ends = [asyncio.ensure_future(peer.gone.wait()) for peer in self._peers]
            await asyncio.wait(ends, timeout=CLOSE_DEADLINE)
            for end in ends:
                end.cancel()
        for peer in list(self._peers):
            peer.abort()

    def replace(self, found: HubFiles) -> None:
        """Go by other files from now on, and end the connections of those who may not do any more what they do."""
        self._files = found
        self._gate.limit(found.settings.limits)
        if self._acceptor is not None:
            self._acceptor.update(server_host_keys=list(found.host_keys))
        for peer in list(self._peers):
            if peer.proof is not None and not self._permitted(peer, peer.proof):
                peer.close()
        for offer in list(self.offers.values()):
            if not found.policy.may_offer(offer.subject, offer.box):
                offer.peer.close()

    # for its connections

    def may_reach(self, proof: SshProof, box: str) -> bool:
        """Tell whether somebody may reach a box."""
        return self._files.policy.may_reach(subject_of(proof), box)

    def offer(self, offer: Offer) -> str | None:
        """Take an offer, and say why not if it is not taken.

        Who comes again takes over from their own older connection, which may well be dead without knowing it. Another
        who may offer the same name has to wait until it is free.
        """
        if not self._files.policy.may_offer(offer.subject, offer.box):
            return "the hub's settings do not let them"
        older = self.offers.get(offer.box)
        if older is not None and older.subject != offer.subject:
            return f"{older.peer.name} from {older.peer.peer} holds it"
        self.offers[offer.box] = offer
        if older is None or older.peer is offer.peer:
            self.tell("offered", offer.peer, offer.box)
        else:
            self.tell("offered", offer.peer, offer.box, f' taken-over-from="{older.peer.peer}"')
            older.peer.abort()
        return None

    def withdraw(self, offer: Offer) -> None:
        """Take an offer back, if it still stands."""
        if self.offers.get(offer.box) is offer:
            del self.offers[offer.box]
            self._withdrawn[offer.box] = time.time()
            self.tell("withdrawn", offer.peer, offer.box)

    def left(self, peer: HubPeer) -> None:
        """Take back all that a connection has offered."""
        for offer in list(self.offers.values()):
            if offer.peer is peer:
                self.withdraw(offer)

    def tell(self, event: str, peer: HubPeer, box: str, more: str = "") -> None:
        """Write a line on what somebody has done."""
        log.info('event=%s box=%s identity="%s" peer=%s%s', event, box, _text(peer.name), peer.peer, more)

    def status(self) -> list[Reported]:
        """Tell how each box of the policy's stands."""
        return [self._status(box) for box in self._files.policy.boxes]

    # inside

    def _status(self, box: str) -> Reported:
        offer = self.offers.get(box)
        more: dict[str, object] = {"round_trip": None, "cap": None, "last_error": ""}
        if offer is None:
            since = self._withdrawn.get(box, self._began)
            return OfferStatus(box, State.DOWN, since, "has not dialled in", 0, 0), more | {"listen": []}
        by = f"{offer.peer.name} from {offer.peer.peer}"
        found = OfferStatus(box, State.UP, offer.since, "", offer.clients, offer.carried)
        return found, more | {"listen": [by]}

    def _peer(self) -> HubPeer:
        return HubPeer(self, self._known, self._refused, self._gate, self._peers, self._files.settings.limits)

    def _known(self, proof: SshProof) -> bool:
        if isinstance(proof, SshCertificateCredentials) and proof.ca not in self._files.authorities:
            return False
        if any(name in self._files.revoked for name in names_of(proof)):
            return False
        return self._files.policy.knows(subject_of(proof))

    def _permitted(self, peer: Peer, proof: SshProof) -> bool:
        """Tell whether somebody may still do all that they do."""
        if not self._known(proof):
            return False
        return not isinstance(peer, HubPeer) or all(self.may_reach(proof, box) for box in peer.reaches)

    def _refused(self, peer: str, what: str, proof: SshProof | None) -> None:
        who = names_of(proof)[0] if proof is not None else "?"
        log.warning('event=refused identity="%s" peer=%s what="%s"', _text(who), peer, _text(what))


def _text(text: str) -> str:
    return printable(text, _LONGEST)
