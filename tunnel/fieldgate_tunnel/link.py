"""Supervise one tunnel, be it SSH, TLS or plain: keep it up, know how it stands, carry the requests of many askers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from fieldgate_core.errors import (
    ConfigError,
    DeadlineError,
    FieldgateError,
    NotTrustedError,
    OutcomeUnknownError,
    RejectedError,
    TunnelLostError,
    UnreachableError,
)
from fieldgate_core.modbus import ExceptionCode, exception_meaning
from fieldgate_core.url import SiteUrl
from fieldgate_tunnel.backoff import Backoff
from fieldgate_tunnel.budget import Budget, Level
from fieldgate_tunnel.dialers import Tunnel, explain, open_tunnel
from fieldgate_tunnel.keepalive import NORMAL, Due, Keepalive, Probe, Pulse
from fieldgate_tunnel.link_events import (
    BudgetWarning,
    LinkConnecting,
    LinkDegraded,
    LinkDown,
    LinkEvent,
    LinkStatus,
    LinkUp,
    State,
)
from fieldgate_tunnel.meter import Meter
from fieldgate_tunnel.mux import IN_FLIGHT, Answer, Asker, Failure, Mux, Request
from fieldgate_tunnel.wire import Wire

log = logging.getLogger("fieldgate.link")

OPEN_DEADLINE = 15.0
"""Seconds for name, route, handshake and login together."""
FIRST_REPLY = 5.0
"""Seconds for the first round trip of a fresh tunnel."""
_LOOK = 1.0
"""Seconds between two looks at a tunnel's bytes, where they are capped."""
_LONGEST_HOLD = 60.0
"""Seconds between two looks at the clock while a spent budget holds a link down: it may be set meanwhile."""
_HOPELESS = (NotTrustedError, RejectedError, ConfigError)
"""What time alone can't mend."""

OpenWay = Callable[[asyncio.Protocol], Awaitable[Tunnel]]
"""Opens a tunnel as the transport of a protocol, within a deadline of its own. Raises FieldgateError."""
Subscriber = Callable[[LinkEvent], None]


def to_site(url: SiteUrl, identity: Path | None, *, deadline: float = OPEN_DEADLINE) -> OpenWay:
    """Give the way to a site that its URL names."""

    def open_way(protocol: asyncio.Protocol) -> Awaitable[Tunnel]:
        return open_tunnel(url, protocol, identity=identity, deadline=deadline)

    return open_way


class Link:
    """One supervised tunnel to `target` (a URL, as it is shown). `run` keeps it until it is cancelled."""

    def __init__(  # noqa: PLR0913
        self,
        target: str,
        open_way: OpenWay,
        *,
        keepalive: Keepalive = NORMAL,
        waits: bool = True,
        probe: Probe | None = None,
        in_flight: int = IN_FLIGHT,
        bytes_per_day: int | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """`waits`: new work waits for the link to its own deadline; otherwise it fails at once while there is none."""
        self.target = target
        self._open_way = open_way
        self._keepalive = keepalive
        self._waits = waits
        self._probe = probe or Probe()
        self._mux = Mux(in_flight)
        self._meter = Meter(bytes_per_day, lambda used, cap: self._tell(BudgetWarning(used, cap)))
        self._backoff = backoff or Backoff(keepalive.retry_cap)
        self._subscribers: list[Subscriber] = []
        self._prober = _Prober(self._probed)
        self._wire: Wire | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._state = State.CONNECTING
        self._since = time.time()
        self._reason = "not tried yet"
        self._last_error = ""
        self._last_error_at: float | None = None
        self._round_trip: float | None = None
        self._connects = 0

    # for who asks

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Have each event told; call what is given back to end that."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    def room(self, asker: Asker) -> int:
        """Tell how many more requests of an asker are taken now."""
        return self._mux.room(asker)

    def ask(self, requests: Iterable[Request]) -> None:
        """Take requests, each with a deadline in monotonic seconds; the asker is told how each ends."""
        for request in requests:
            if not (self._serving or self._may_wait) and request.asker is not None:
                request.asker.answered(request, Failure.NOT_SENT)
                continue
            self._mux.ask(request)
            self._arm(request.deadline)
        self._pump()

    def leave(self, asker: Asker) -> None:
        """Forget an asker: it is told nothing more."""
        self._mux.leave(asker)

    async def request(self, unit: int, pdu: bytes, *, deadline: float) -> bytes:
        """Ask once, and give the PDU of the reply, which may be an exception; `deadline` in seconds from now.

        Raises TunnelLostError if it was not sent, OutcomeUnknownError for a write that was sent and not answered,
        DeadlineError for any other request that was.
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
            raise TunnelLostError(self.target, f"not sent: {self._reason or 'the link was busy'}")
        if request.writes:
            raise OutcomeUnknownError(pdu[0], f"{self.target}: {self._reason or 'no answer in time'}")
        raise DeadlineError(f"{self.target}: function {pdu[0]}", deadline)

    @property
    def state(self) -> State:
        """Where it stands."""
        return self._state

    @property
    def reason(self) -> str:
        """Why it is not up, in one line."""
        return self._reason

    def status(self) -> LinkStatus:
        """Tell all that is known now."""
        self._meter.count()
        return LinkStatus(
            target=self.target,
            state=self._state,
            since=self._since,
            reason=self._reason,
            last_error=self._last_error,
            last_error_at=self._last_error_at,
            round_trip=self._round_trip,
            connects=self._connects,
            sent=self._meter.sent,
            received=self._meter.received,
            wire=self._meter.wire,
            today=self._meter.budget.used,
            cap=self._meter.budget.cap,
        )

    # its life

    async def run(self) -> None:
        """Open the tunnel, and again whenever it is lost, without end. Cancel it to stop."""
        attempt = 0
        try:
            while True:
                await self._hold_within_budget()
                attempt += 1
                self._tell(LinkConnecting(attempt))
                if attempt == 1:
                    self._enter(State.CONNECTING, self._reason)
                before, began = self._connects, time.monotonic()
                error = await self._once()
                attempt = attempt if self._connects == before else 0
                hopeless = isinstance(error, _HOPELESS)
                up = time.monotonic() - began if self._connects != before else 0.0
                if self._meter.level is not Level.SPENT:
                    wait = self._backoff.failed(hopeless=hopeless, up=up)
                    self._down(error, wait, hopeless=hopeless)
                    await asyncio.sleep(wait)
        finally:
            self._down(TunnelLostError(self.target, "stopped"), None, hopeless=False)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    async def _hold_within_budget(self) -> None:
        self._meter.count()
        if self._meter.level is not Level.SPENT:
            return
        error = TunnelLostError(
            self.target,
            f"the {self._meter.budget.cap} bytes of today are spent: held down until 00:00 UTC or a new start",
        )
        self._down(error, Budget.rest_of_day(time.time()), hopeless=False)
        while self._meter.level is Level.SPENT:
            await asyncio.sleep(min(_LONGEST_HOLD, Budget.rest_of_day(time.time())))
            self._meter.count()

    async def _once(self) -> FieldgateError:
        """Open the tunnel and hold it; give why it ended or could not be opened."""
        wire = Wire(self._got, self._pump, Pulse(self._keepalive, time.monotonic()))
        try:
            tunnel = await self._open_way(wire)
        except FieldgateError as error:
            return error
        try:
            lost = await self._hold(wire, tunnel)
        except BaseException:
            self._let_go()
            await tunnel.close()
            raise
        self._let_go()
        tunnel.abort()
        return lost

    async def _hold(self, wire: Wire, tunnel: Tunnel) -> FieldgateError:
        """Hold an open tunnel until it is lost, and give why."""
        keepalive, now = self._keepalive, time.monotonic()
        tunnel.set_keepalive(keepalive.interval, keepalive.count)
        wire.tcp.set_patience(keepalive.patience)
        self._mux.connected()
        self._wire = wire
        self._meter.attach(wire.tcp)
        pulse = wire.pulse
        pulse.heard(now)
        first = now + max(FIRST_REPLY, min(keepalive.interval, 2 * FIRST_REPLY))
        self._send_probe(first)
        interval = keepalive.interval
        while True:
            now = time.monotonic()
            until = pulse.next if wire.proved else first
            if self._meter.budget.cap is not None:
                until = min(until, now + _LOOK)
            await asyncio.wait({wire.gone}, timeout=max(0.0, until - now))
            now = time.monotonic()
            if wire.gone.done():
                return self._explain(wire.gone.result())
            self._meter.count()
            if self._meter.level is Level.SPENT:
                return TunnelLostError(self.target, "the bytes of today are spent")
            if not wire.proved:
                if now >= first:
                    return TunnelLostError(
                        self.target, "the tunnel opened, but Modbus is silent behind it: does a server run there?"
                    )
                continue
            wanted = keepalive.interval * self._meter.budget.spread(time.time())
            if wanted != interval:
                interval = wanted
                pulse.stretch(interval)
                tunnel.set_keepalive(interval, keepalive.count)
                wire.tcp.set_patience(interval * (keepalive.count + 1))
            match pulse.look(now):
                case Due.LOST:
                    return TunnelLostError(self.target, self._silence(wire, now))
                case Due.PROBE:
                    self._judge()
                    self._send_probe(now + interval)
                case Due.NOTHING if wire.fault and now - wire.probed_at >= interval:
                    # traffic of other units says nothing of this one
                    self._send_probe(now + interval)

    def _let_go(self) -> None:
        """Take leave of the tunnel, before it is closed: nothing it says counts any more."""
        self._meter.detach()
        self._wire = None

    def _explain(self, cause: Exception | str | None) -> FieldgateError:
        if isinstance(cause, str):
            return TunnelLostError(self.target, cause)
        if cause is None:
            return TunnelLostError(self.target, "the site closed the tunnel")
        known = cause if isinstance(cause, FieldgateError) else explain(self.target, cause)
        # what keeps a tunnel from opening, has broken one that stood
        return TunnelLostError(self.target, known.problem) if isinstance(known, UnreachableError) else known

    # what comes in

    def _got(self, wire: Wire, data: bytes) -> None:
        self._meter.received += len(data)
        if wire is not self._wire:
            return
        answers = self._mux.received(data)
        if self._mux.fault is not None:
            wire.end(f"a malformed reply ended the tunnel: {self._mux.fault}")
        else:
            now = time.monotonic()
            wire.pulse.heard(now)
            for request, _ in answers:
                if request.sent_at is not None:
                    trip = now - request.sent_at
                    self._round_trip = trip if self._round_trip is None else 0.875 * self._round_trip + 0.125 * trip
        self._deliver(answers)
        if self._state is not State.UP and self._mux.fault is None:
            self._judge()
        self._pump()

    def _probed(self, answer: bytes | Failure) -> None:
        """Take the end of a probe."""
        wire = self._wire
        if wire is None or not isinstance(answer, bytes):
            return
        if not wire.proved:
            wire.proved = True
            self._connects += 1
        code = answer[1] if answer[0] & 0x80 else 0
        dead = code in {ExceptionCode.GATEWAY_PATH_UNAVAILABLE, ExceptionCode.GATEWAY_TARGET_FAILED}
        wire.fault = f"the site answers, its default unit does not: {exception_meaning(code)}" if dead else ""
        self._judge()

    def _deliver(self, answers: Iterable[Answer]) -> None:
        for request, answer in answers:
            if request.asker is not None:
                request.asker.answered(request, answer)

    # what goes out

    @property
    def _serving(self) -> bool:
        """Whether requests may go: a silent tunnel holds them back, so that fewer writes end as unknown."""
        return self._wire is not None and self._wire.proved and not self._wire.pulse.missed

    @property
    def _may_wait(self) -> bool:
        return self._waits and self._meter.level is not Level.SPENT

    def _pump(self) -> None:
        if self._serving and self._wire is not None and not self._wire.full:
            self._write(self._wire, self._mux.to_send(time.monotonic()))

    def _send_probe(self, deadline: float) -> None:
        if self._wire is not None and not self._wire.full:
            self._wire.probed_at = time.monotonic()
            self._mux.ask(Request(self._prober, b"", self._probe.unit, self._probe.pdu, deadline))
            self._arm(deadline)
            self._write(self._wire, self._mux.to_send(time.monotonic(), self._prober))

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
        self._pump()

    # how it stands

    def _judge(self) -> None:
        """Conclude the state of an open tunnel, and let waiting work go if it serves."""
        wire = self._wire
        if wire is None or not wire.proved:
            return
        reason = self._silence(wire, time.monotonic()) if wire.pulse.missed else wire.fault
        if reason and (self._state is not State.DEGRADED or bool(wire.pulse.missed) is not wire.told_silent):
            wire.told_silent = bool(wire.pulse.missed)
            self._error(reason)
            self._enter(State.DEGRADED, reason)
            self._tell(LinkDegraded(reason))
        elif not reason and self._state is not State.UP:
            self._enter(State.UP, "")
            self._tell(LinkUp(self._round_trip or 0.0))
        self._pump()

    def _silence(self, wire: Wire, now: float) -> str:
        silent = f"no answer for {now - wire.pulse.heard_at:.0f} s"
        if wire.tcp.acknowledged():
            return f"{silent}, though the tunnel lives: Modbus is silent behind it"
        return f"{silent}: nothing comes back through the tunnel"

    def _down(self, error: FieldgateError, retry_in: float | None, *, hopeless: bool) -> None:
        unknown = self._mux.unknown_writes
        self._error(str(error))
        self._enter(State.DOWN, str(error))
        self._tell(LinkDown(error, retry_in, hopeless, unknown))
        self._deliver(self._mux.lost(keep_reads=self._may_wait and retry_in is not None))

    def _enter(self, state: State, reason: str) -> None:
        if state is not self._state:
            self._since = time.time()
        self._state, self._reason = state, reason

    def _error(self, text: str) -> None:
        self._last_error, self._last_error_at = text, time.time()

    def _tell(self, event: LinkEvent) -> None:
        for subscriber in list(self._subscribers):
            try:
                subscriber(event)
            except Exception:
                log.exception("%s: a subscriber failed", self.target)


class _Prober:
    """Asks the probes."""

    def __init__(self, told: Callable[[bytes | Failure], None]) -> None:
        self._told = told

    def answered(self, request: Request, answer: bytes | Failure) -> None:
        self._told(answer)


class _Once:
    """Asks one request, and waits for its end."""

    def __init__(self, future: asyncio.Future[bytes | Failure]) -> None:
        self.future = future

    def answered(self, request: Request, answer: bytes | Failure) -> None:
        if not self.future.done():
            self.future.set_result(answer)
