"""One tunnel's stream with requests in flight together: each is sent once, and waits for its own deadline."""

from __future__ import annotations

import asyncio
from typing import cast

from fieldgate_client.pipeline import MismatchError, Pipeline
from fieldgate_core.errors import DeadlineError, FieldgateError, OutcomeUnknownError, TunnelLostError, UnreachableError
from fieldgate_core.modbus import WRITE_FUNCTIONS, FunctionCode
from fieldgate_core.trace import Tracer
from fieldgate_core.url import SiteUrl
from fieldgate_tunnel.faults import explain

_HARMLESS = frozenset(FunctionCode) - WRITE_FUNCTIONS
"""What may be asked again; of a function that nobody knows, nobody knows what it does."""


class Line(asyncio.Protocol):
    """The client's end of a tunnel; at most `in_flight` requests are on the way, the others wait in their order."""

    def __init__(self, url: SiteUrl, *, in_flight: int, tracer: Tracer | None) -> None:
        self.url = url
        self._tracer = tracer
        self._pipeline = Pipeline()
        self._places = asyncio.Semaphore(in_flight)
        self._waiting: dict[int, asyncio.Future[bytes | None]] = {}
        self._unsent: dict[int, bytes] = {}
        self._transport: asyncio.Transport | None = None
        self._ended = False
        self._left = False
        self._cause: BaseException | None = None

    @property
    def is_open(self) -> bool:
        """True from the tunnel's opening to its end."""
        return self._transport is not None and not self._ended

    async def ask(self, unit: int, pdu: bytes, deadline: float) -> bytes:
        """Send one request, once, and give its reply's PDU; `deadline` in seconds, counted from when it is sent.

        Raises DeadlineError or TunnelLostError, or what the tunnel's end was; for a request that was sent and is no
        read, OutcomeUnknownError in their place. A cancelled request that has not left yet never does.
        """
        async with self._places:
            if not self.is_open:
                raise self._explain()
            loop = asyncio.get_running_loop()
            number = self._queue(loop, unit, pdu)
            answer: asyncio.Future[bytes | None] = loop.create_future()
            self._waiting[number] = answer
            try:
                async with asyncio.timeout(deadline):
                    reply = await answer
                if reply is None:
                    raise self._outcome(number, pdu[0], self._explain()) from self._cause
            except TimeoutError:
                slow = DeadlineError(f"{self.url}: function {pdu[0]}", deadline)
                raise self._outcome(number, pdu[0], slow) from None
            finally:
                self._leave(number)
            return reply

    def tell(self, unit: int, pdu: bytes) -> None:
        """Send one request, once, that has no reply; one that comes all the same is thrown away."""
        if not self.is_open:
            raise self._explain()
        self._pipeline.forget(self._queue(asyncio.get_running_loop(), unit, pdu))

    def end(self, cause: BaseException | None) -> None:
        """Learn that the tunnel has ended, and why: nothing is sent any more, and who waits is told."""
        if self._ended:
            return
        self._ended, self._cause = True, cause
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_result(None)

    # the protocol of the tunnel

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand each reply to who waits for it."""
        if self._tracer:
            self._tracer.received(data)
        try:
            for number, pdu in self._pipeline.received(data):
                answer = self._waiting.get(number)
                if answer is not None and not answer.done():
                    answer.set_result(pdu)
        except MismatchError as error:
            self.end(TunnelLostError(str(self.url), f"the reply is malformed: {error}"))
            cast("asyncio.Transport", self._transport).abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits."""
        if self._tracer:
            self._tracer.ended()
        self._left = not self._ended
        self.end(exc)

    def _queue(self, loop: asyncio.AbstractEventLoop, unit: int, pdu: bytes) -> int:
        try:
            number, frame = self._pipeline.ask(unit, pdu)
        except MismatchError as error:
            raise TunnelLostError(str(self.url), str(error)) from None
        # what is asked in one turn of the loop leaves together, in one segment or record
        if not self._unsent:
            loop.call_soon(self._send)
        self._unsent[number] = frame
        return number

    def _send(self) -> None:
        if self._ended:
            return
        leaving = []
        for number, frame in self._unsent.items():
            answer = self._waiting.get(number)
            if answer is not None and answer.cancelled():
                self._pipeline.withdraw(number)
                continue
            leaving.append(frame)
            if self._tracer:
                self._tracer.request(frame)
        self._unsent.clear()
        if leaving:
            cast("asyncio.Transport", self._transport).write(b"".join(leaving))

    def _leave(self, number: int) -> None:
        del self._waiting[number]
        if self._unsent.pop(number, None) is None:
            self._pipeline.forget(number)
        else:
            self._pipeline.withdraw(number)

    def _outcome(self, number: int, function: int, cause: FieldgateError) -> FieldgateError:
        """Give what a caller must know: of a write that was sent, that its outcome is unknown."""
        if number in self._unsent or function in _HARMLESS:
            return cause
        return OutcomeUnknownError(function, str(cause))

    def _explain(self) -> FieldgateError:
        cause = self._cause
        if isinstance(cause, FieldgateError):
            return cause
        if cause is None:
            return TunnelLostError(
                str(self.url), "the peer closed the tunnel" if self._left else "the tunnel is closed"
            )
        known = explain(self.url, cause)
        # what keeps a tunnel from opening, has broken one that stood
        return TunnelLostError(known.target, known.problem) if isinstance(known, UnreachableError) else known
