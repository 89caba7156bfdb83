"""The shell's tunnel: a supervised link that is asked like a single tunnel, and comes back when it is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from fieldgate_client.site import Site
from fieldgate_core.errors import DeadlineError, OutcomeUnknownError, TunnelLostError
from fieldgate_core.url import SiteUrl
from fieldgate_tunnel.keepalive import Probe
from fieldgate_tunnel.link import Link, to_site
from fieldgate_tunnel.link_events import LinkDegraded, LinkDown, LinkEvent, LinkUp, State
from fieldgate_tunnel.mux import Failure, Request


class LinkLine:
    """Takes requests as `Line` does; while the link is down they wait for it to their deadline."""

    def __init__(self, url: SiteUrl, link: Link) -> None:
        self.url = url
        self._link = link

    @property
    def is_open(self) -> bool:
        """Whether requests go through now."""
        return self._link.carrier.opened

    async def ask(self, unit: int, pdu: bytes, deadline: float) -> bytes:
        """Send one request, once, and give its reply's PDU; `deadline` in seconds from now.

        Raises TunnelLostError if it was not sent or a read was lost on the way, DeadlineError for a read and
        OutcomeUnknownError for a write that was sent and not answered, also where the asker is cancelled meanwhile.
        """
        answers: asyncio.Future[bytes | Failure] = asyncio.get_running_loop().create_future()
        asker = _Asker(answers)
        request = Request(asker, b"", unit, pdu, time.monotonic() + deadline)
        self._link.carrier.ask([request])
        try:
            answer = await answers
        except asyncio.CancelledError:
            if not request.writes:
                raise
            if request.sent_at is None:
                raise TunnelLostError(str(self.url), "not sent: stopped while it waited") from None
            raise OutcomeUnknownError(pdu[0], "stopped before its answer came") from None
        finally:
            self._link.carrier.leave(asker)
        if isinstance(answer, bytes):
            return answer
        why = self._link.reason
        if answer is Failure.NOT_SENT:
            raise TunnelLostError(str(self.url), f"not sent: {why or 'the link was busy'}")
        if request.writes:
            raise OutcomeUnknownError(pdu[0], why or f"no answer within {deadline:g} s")
        if self._link.state is State.DOWN:
            raise TunnelLostError(str(self.url), why)
        raise DeadlineError(f"{self.url}: function {pdu[0]}", deadline)

    def tell(self, unit: int, pdu: bytes) -> None:
        """Send one request, once, that has no reply."""
        self._link.carrier.ask([Request(_Asker(None), b"", unit, pdu, time.monotonic() + 1.0)])


class _Asker:
    """Waits for the end of one request; with no future, for nothing."""

    def __init__(self, answer: asyncio.Future[bytes | Failure] | None) -> None:
        self._answer = answer

    def answered(self, request: Request, answer: bytes | Failure) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)


@asynccontextmanager
async def kept(site: Site) -> AsyncIterator[Link]:
    """Open the tunnel, and open it again whenever it is lost, until the block ends.

    Raises what opens it not the first time: UnreachableError, NotTrustedError, RejectedError, ConfigError,
    DeadlineError or TunnelLostError.
    """
    site.prepare()
    link = Link(str(site.url), to_site(site.url, site.identity), probe=Probe(site.unit))
    task = asyncio.create_task(link.run())
    try:
        await _first(link)
        yield link
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _first(link: Link) -> None:
    """Wait until the tunnel stands. Raises why it does not."""
    stands: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def learn(event: LinkEvent) -> None:
        if stands.done():
            return
        if isinstance(event, LinkDown):
            stands.set_exception(event.error)
        elif isinstance(event, LinkUp | LinkDegraded):
            stands.set_result(None)

    forget = link.subscribe(learn)
    try:
        await stands
    finally:
        forget()


def tell_changes(link: Link, tell: Callable[[str], None]) -> Callable[[], None]:
    """Have each loss and each return told, in a line; call what is given back to end that."""
    bad = False

    def learn(event: LinkEvent) -> None:
        nonlocal bad
        if isinstance(event, LinkDown) and not bad and event.retry_in is not None:
            bad = True
            tell(f"the tunnel is lost: {event.problem}; it is being opened again")
            if event.error.hint:
                tell(f"hint: {event.error.hint}")
        elif isinstance(event, LinkDegraded):
            bad = True
            tell(f"the tunnel is not well: {event.reason}")
        elif isinstance(event, LinkUp) and bad:
            bad = False
            tell("the tunnel is up again")

    return link.subscribe(learn)
