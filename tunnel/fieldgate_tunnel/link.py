"""Supervise one tunnel, be it SSH, TLS or plain: open it, know how it stands, open it again without end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from fieldgate_core.errors import (
    ConfigError,
    FieldgateError,
    NotTrustedError,
    RejectedError,
    TunnelLostError,
    UnreachableError,
)
from fieldgate_core.modbus import ExceptionCode, exception_meaning
from fieldgate_core.url import SiteUrl
from fieldgate_tunnel.backoff import Backoff
from fieldgate_tunnel.budget import Budget, Level
from fieldgate_tunnel.carrier import Carrier
from fieldgate_tunnel.dialers import Tunnel, open_tunnel
from fieldgate_tunnel.faults import explain
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
from fieldgate_tunnel.mux import IN_FLIGHT, Failure, Request
from fieldgate_tunnel.pace import Pace
from fieldgate_tunnel.wire import Wire

log = logging.getLogger("fieldgate.link")

OPEN_DEADLINE = 15.0
"""Seconds for name, route, handshake and login together."""
TCP_PATIENCE = 3.5
"""Seconds that an address has to answer: a kernel asks again after 1, 2, 4, 8 s, and would be late when it is back."""
FIRST_REPLY = 5.0
"""Seconds for the first round trip of a fresh tunnel, and twice as many where the keepalive is as patient."""
OPENINGS = Pace(50.0)
"""Of all links of this process together: 500 that lost one network are back in some ten seconds, not in one."""
_LOOK = 1.0
"""Seconds between two looks at a tunnel's bytes, where they are capped."""
_LONGEST_HOLD = 60.0
"""Seconds between two looks at the clock while a spent budget holds a link down: it may be set meanwhile."""
_HOPELESS = (NotTrustedError, RejectedError, ConfigError)
"""What time alone can't mend."""
_DEAD_UNIT = frozenset({ExceptionCode.GATEWAY_PATH_UNAVAILABLE, ExceptionCode.GATEWAY_TARGET_FAILED})

OpenWay = Callable[[asyncio.Protocol], Awaitable[Tunnel]]
"""Opens a tunnel as the transport of a protocol, within a deadline of its own. Raises FieldgateError."""
Subscriber = Callable[[LinkEvent], None]


def to_site(url: SiteUrl, identity: Path | None, *, deadline: float = OPEN_DEADLINE) -> OpenWay:
    """Give the way to a site that its URL names."""

    def open_way(protocol: asyncio.Protocol) -> Awaitable[Tunnel]:
        return open_tunnel(url, protocol, identity=identity, deadline=deadline, patience=TCP_PATIENCE)

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
        self._meter = Meter(bytes_per_day, lambda used, cap: self._tell(BudgetWarning(used, cap)))
        self.carrier = Carrier(target, in_flight, self._meter, lambda: self._reason)
        """Takes the requests."""
        self.carrier.waits = waits
        self._backoff = backoff or Backoff(keepalive.retry_cap)
        self._subscribers: list[Subscriber] = []
        self._wire: Wire | None = None
        self._state = State.CONNECTING
        self._since = time.time()
        self._reason = "not tried yet"
        self._last_error = ""
        self._last_error_at: float | None = None
        self._round_trip: float | None = None
        self._connects = 0

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Have each event told; call what is given back to end that."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    @property
    def state(self) -> State:
        """Where it stands."""
        return self._state

    @property
    def reason(self) -> str:
        """Why it is not up, in one line; empty if it is."""
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
                await asyncio.sleep(OPENINGS.turn(time.monotonic()))
                attempt += 1
                self._tell(LinkConnecting(attempt))
                if attempt == 1:
                    self._enter(State.CONNECTING, self._reason)
                before, began = self._connects, time.monotonic()
                error = await self._once()
                up = 0.0
                if self._connects != before:
                    attempt, up = 0, time.monotonic() - began
                if not self._spent():
                    hopeless = isinstance(error, _HOPELESS)
                    wait = self._backoff.failed(hopeless=hopeless, up=up)
                    self._down(error, wait, hopeless=hopeless)
                    await asyncio.sleep(wait)
        finally:
            self._down(TunnelLostError(self.target, "stopped"), None)
            self.carrier.stop()

    async def _hold_within_budget(self) -> None:
        if not self._spent():
            return
        self.carrier.waits = False
        spent = f"the {self._meter.budget.cap} bytes of today are spent: held down until 00:00 UTC or a new start"
        self._down(TunnelLostError(self.target, spent), Budget.rest_of_day(time.time()))
        while self._spent():  # noqa: ASYNC110 - it waits for the day to end, by a clock that may be set
            await asyncio.sleep(min(_LONGEST_HOLD, Budget.rest_of_day(time.time())))
        self.carrier.waits = self._waits

    def _spent(self) -> bool:
        self._meter.count()
        return self._meter.level is Level.SPENT

    async def _once(self) -> FieldgateError:
        """Open the tunnel and hold it; give why it ended or could not be opened."""
        wire = Wire(self._got, self.carrier.pump, Pulse(self._keepalive, time.monotonic()))
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
        now = time.monotonic()
        self._wire = wire
        wire.pulse.heard(now)
        self.carrier.attach(wire)
        self._meter.attach(wire.tcp)
        interval = self._keep(wire, tunnel, None)
        first = now + max(FIRST_REPLY, min(interval, 2 * FIRST_REPLY))
        self._send_probe(wire, first)
        while True:
            now = time.monotonic()
            until = wire.pulse.next if wire.proved else first
            if self._meter.budget.cap is not None:
                until = min(until, now + _LOOK)
            changes = {wire.gone} if wire.proved else {wire.gone, wire.proven}
            await asyncio.wait(changes, timeout=max(0.0, until - now), return_when=asyncio.FIRST_COMPLETED)
            if wire.gone.done():
                return self._explain(wire.gone.result())
            if self._spent():
                return TunnelLostError(self.target, "the bytes of today are spent")
            now = time.monotonic()
            if not wire.proved:
                if now >= first:
                    return TunnelLostError(self.target, "the tunnel opened, but Modbus is silent behind it")
                continue
            interval = self._keep(wire, tunnel, interval)
            match wire.pulse.look(now):
                case Due.LOST:
                    return TunnelLostError(self.target, _silence(wire, now))
                case Due.PROBE:
                    self._judge(wire)
                    self._send_probe(wire, now + interval)
                case Due.NOTHING if wire.fault and now - wire.probed_at >= interval:
                    # traffic of other units says nothing of this one
                    self._send_probe(wire, now + interval)

    def _keep(self, wire: Wire, tunnel: Tunnel, interval: float | None) -> float:
        """Have everybody keep the tunnel alive at the interval that the budget allows, and give it."""
        count = self._keepalive.count
        wanted = self._keepalive.interval * self._meter.budget.spread(time.time())
        if wanted != interval:
            wire.pulse.stretch(wanted)
            tunnel.set_keepalive(wanted, count)
            wire.tcp.set_patience(wanted * (count + 1))
        return wanted

    def _let_go(self) -> None:
        """Take leave of the tunnel, before it is closed: nothing it says counts any more."""
        self._meter.detach()
        self.carrier.detach()
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
        if wire is not self._wire:
            return
        answers, fault = self.carrier.received(data)
        if fault is not None:
            wire.end(f"a malformed reply ended the tunnel: {fault}")
        else:
            now = time.monotonic()
            wire.pulse.heard(now)
            for request, _ in answers:
                if request.sent_at is not None:
                    trip = now - request.sent_at
                    # smoothed as TCP does it (RFC 6298)
                    self._round_trip = trip if self._round_trip is None else 0.875 * self._round_trip + 0.125 * trip
            if self._state is not State.UP:
                self._judge(wire)
        self.carrier.deliver(answers)

    def answered(self, request: Request, answer: bytes | Failure) -> None:
        """Take the end of a probe: the link asks it like any other asker."""
        wire = self._wire
        if wire is None or not isinstance(answer, bytes):
            return
        if not wire.proved:
            self._connects += 1
            wire.proven.set_result(None)
        dead = answer[0] & 0x80 and answer[1] in _DEAD_UNIT
        wire.fault = f"the site answers, its default unit does not: {exception_meaning(answer[1])}" if dead else ""
        self._judge(wire)

    def _send_probe(self, wire: Wire, deadline: float) -> None:
        wire.probed_at = time.monotonic()
        self.carrier.probe(Request(self, b"", self._probe.unit, self._probe.pdu, deadline))

    # how it stands

    def _judge(self, wire: Wire) -> None:
        """Conclude the state of an open tunnel; a silent one holds requests back, so that fewer end as unknown."""
        if not wire.proved:
            return
        silent = wire.pulse.missed > 0
        reason = _silence(wire, time.monotonic()) if silent else wire.fault
        if reason and (self._state is not State.DEGRADED or silent is not wire.told_silent):
            wire.told_silent = silent
            self._error(reason)
            self._enter(State.DEGRADED, reason)
            self._tell(LinkDegraded(reason))
        elif not reason and self._state is not State.UP:
            self._enter(State.UP, "")
            self._tell(LinkUp(self._round_trip or 0.0))
        self.carrier.open(not silent)

    def _down(self, error: FieldgateError, retry_in: float | None, *, hopeless: bool = False) -> None:
        unknown = self.carrier.end(keep_reads=self.carrier.waits and retry_in is not None)
        down = LinkDown(error, retry_in, hopeless, unknown)
        self._error(down.problem)
        self._enter(State.DOWN, down.problem)
        self._tell(down)

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


def _silence(wire: Wire, now: float) -> str:
    silent = f"no answer for {now - wire.pulse.heard_at:.0f} s"
    if wire.tcp.acknowledged():
        return f"{silent}, though the tunnel lives: Modbus is silent behind it"
    return f"{silent}: nothing comes back through the tunnel"
