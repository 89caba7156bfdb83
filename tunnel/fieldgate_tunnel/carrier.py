"""Carries the requests of many askers over one link's tunnels: sends when it may, ends each at its deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from fieldgate_core.errors import DeadlineError, OutcomeUnknownError, TunnelLostError
from fieldgate_tunnel.meter import Meter
from fieldgate_tunnel.mux import Answer, Asker, Failure, Mux, Request
from fieldgate_tunnel.wire import Wire


class Carrier:
    """The multiplexer with its clock, and the tunnel that stands now. `why` says in words what is wrong with it."""

    def __init__(self, target: str, in_flight: int, meter: Meter, why: Callable[[], str]) -> None:
        self._target = target
        self._mux = Mux(in_flight)
        self._meter = meter
        self._why = why
        self._wire: Wire | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._opened = False
        self.waits = True
        """Whether new work waits while none may go; otherwise it fails at once."""

    # for who asks

    def room(self, asker: Asker) -> int:
        """Tell how many more requests of an asker are taken now."""
        return self._mux.room(asker)

    def ask(self, requests: Iterable[Request]) -> None:
        """Take requests, each with a deadline in monotonic seconds; the asker is told how each ends."""
        for request in requests:
            if not (self._opened or self.waits) and request.asker is not None:
                request.asker.answered(request, Failure.NOT_SENT)
                continue
            self._mux.ask(request)
            self._arm(request.deadline)
        self.pump()

    def leave(self, asker: Asker) -> None:
        """Forget an asker: it is told nothing more."""
        self._mux.leave(asker)

    async def request(self, unit: int, pdu: bytes, *, deadline: float) -> bytes:
        """Ask once, and give the PDU of the reply, which may be an exception; `deadline` in seconds from now.

        Raises TunnelLostError if it was not sent or, being no write, was on the way as the tunnel was lost;
        OutcomeUnknownError for a write that was sent and not answered, DeadlineError for any other request that was.
        """
        asker = _Once(asyncio.get_running_loop().create_future())
        request = Request(asker, b"", unit, pdu, time.monotonic() + deadline)
        self.ask([request])
        try:
            answer = await asker.future
        finally:
            self.leave(asker)
        if isinstance(answer, bytes):
            return answer
        if answer is Failure.NOT_SENT:
            raise TunnelLostError(self._target, f"not sent: {self._why() or 'the link was busy'}")
        if request.writes:
            raise OutcomeUnknownError(pdu[0], f"{self._target}: {self._why() or 'no answer in time'}")
        if time.monotonic() < request.deadline:
            raise TunnelLostError(self._target, self._why() or "lost before the answer came")
        raise DeadlineError(f"{self._target}: function {pdu[0]}", deadline)

    # for the link

    @property
    def opened(self) -> bool:
        """Whether requests may go."""
        return self._opened

    def open(self, opened: bool) -> None:
        """Let requests go, or hold them back."""
        self._opened = opened
        self.pump()

    def attach(self, wire: Wire) -> None:
        """Take a fresh tunnel; nothing but probes goes until it is opened."""
        self._mux.connected()
        self._wire = wire

    def detach(self) -> None:
        """Leave a tunnel that is lost."""
        self._wire = None
        self._opened = False

    def end(self, *, keep_reads: bool) -> int:
        """End what a lost tunnel leaves open; give the number of writes that were sent and not answered."""
        unknown = self._mux.unknown_writes
        self._deliver(self._mux.lost(keep_reads=keep_reads))
        return unknown

    def stop(self) -> None:
        """End the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def probe(self, request: Request) -> None:
        """Send a probe, whatever else waits; where the network takes nothing, none can go."""
        if self._wire is not None and not self._wire.full and request.asker is not None:
            self._mux.ask(request)
            self._arm(request.deadline)
            self._write(self._wire, self._mux.to_send(time.monotonic(), request.asker))

    def received(self, data: bytes) -> tuple[list[Answer], str | None]:
        """Take what has come, and give the answers in it and, if it can't be trusted, why not."""
        self._meter.received += len(data)
        return self._mux.received(data), self._mux.fault

    def deliver(self, answers: list[Answer]) -> None:
        """Tell who asked, and send what has found room."""
        self._deliver(answers)
        self.pump()

    def pump(self) -> None:
        """Send what may go."""
        if self._opened and self._wire is not None and not self._wire.full:
            self._write(self._wire, self._mux.to_send(time.monotonic()))

    # inside

    def _deliver(self, answers: Iterable[Answer]) -> None:
        for request, answer in answers:
            if request.asker is not None:
                request.asker.answered(request, answer)

    def _write(self, wire: Wire, frames: list[bytes]) -> None:
        if frames:
            data = frames[0] if len(frames) == 1 else b"".join(frames)
            self._meter.sent += len(data)
            wire.write(data)

    def _arm(self, deadline: float) -> None:
        """See to it that requests end at their deadlines; one timer, at the first of them."""
        loop = asyncio.get_running_loop()
        # a loop may count in whole milliseconds
        when = loop.time() + max(0.0, deadline - time.monotonic()) + 0.001
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = loop.call_at(when, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._deliver(self._mux.expire(time.monotonic()))
        upcoming = self._mux.next_deadline
        if upcoming is not None:
            self._arm(upcoming)
        self.pump()


class _Once:
    """Asks one request, and waits for its end."""

    def __init__(self, future: asyncio.Future[bytes | Failure]) -> None:
        self.future = future

    def answered(self, request: Request, answer: bytes | Failure) -> None:
        if not self.future.done():
            self.future.set_result(answer)
