"""Keep a box reachable through a hub: dial out by SSH, have the hub take the box's name, serve what comes, come back.

What comes through the hub is TLS from end to end; the hub and this link carry it and can't read it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Protocol

import asyncssh

from fieldgate_core.errors import (
    ConfigError,
    DeadlineError,
    FieldgateError,
    NotTrustedError,
    RejectedError,
    TunnelLostError,
    UnreachableError,
)
from fieldgate_core.logs import printable
from fieldgate_core.url import SiteUrl, parse
from fieldgate_tunnel import identity_files, ssh, ssh_errors
from fieldgate_tunnel.backoff import Backoff
from fieldgate_tunnel.dial_settings import DialSettings
from fieldgate_tunnel.faults import REACH, explain
from fieldgate_tunnel.generations import last_whole
from fieldgate_tunnel.hub_names import socket_of
from fieldgate_tunnel.keepalive import PRESETS, Keepalive
from fieldgate_tunnel.link_events import LinkConnecting, LinkDown, LinkEvent, NameTaken, State
from fieldgate_tunnel.meter import Meter
from fieldgate_tunnel.ssh import WINDOW, ChannelAdapter, UnixSession, adapted
from fieldgate_tunnel.tcp_socket import TcpSocket

log = logging.getLogger("fieldgate.dial")

OPEN_DEADLINE = 15.0
"""Seconds for name, route, login and the hub's yes together."""
SERVE_DEADLINE = 10.0
"""Seconds that what serves a connection has to take it."""
CLIENTS = 256
"""Connections that one hub may lead here at once: a stock sshd has no limit of its own, and each may be a socket."""
_HOPELESS = (NotTrustedError, RejectedError, ConfigError)
_NOT_TAKEN = "does the hub's policy let this login offer this name, and does nobody else hold it?"


class Served(Protocol):
    """What the connections that come through a hub are handed to: a TLS door."""

    async def check(self) -> None:
        """Check that it is a TLS door, before the name is offered. Raises FieldgateError."""

    async def take(self) -> asyncio.BaseProtocol:
        """Give the protocol for one connection. Raises FieldgateError or OSError for one that can't be taken."""


@dataclasses.dataclass(frozen=True)
class DialStatus:
    """A way out to a hub, now. Times in seconds since 1970; `wire` and `today` bytes that TCP has carried."""

    target: str
    state: State
    since: float
    reason: str
    last_error: str
    last_error_at: float | None
    connects: int
    clients: int
    wire: int | None
    today: int


class Dial:
    """One supervised way out to one hub. `run` keeps it until it is cancelled."""

    def __init__(
        self,
        settings: DialSettings,
        served: Served,
        *,
        tell: Callable[[LinkEvent], None] = lambda _: None,
        keepalive: Keepalive | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """Check that the identity can be used. Raises ConfigError. `tell` is told tries and losses."""
        self.url: SiteUrl = parse(settings.url)
        self.target = str(self.url)
        self._identity = settings.identity
        identity_files.check_ssh_identity(last_whole(self._identity))
        self._served = served
        self._tell = tell
        self._keepalive = keepalive or PRESETS[settings.keepalive]
        self._backoff = backoff or Backoff(self._keepalive.retry_cap)
        self._meter = Meter(None, lambda _used, _cap: None)
        self._adapters: set[ChannelAdapter] = set()
        self._taking = 0
        self._state = State.CONNECTING
        self._since = time.time()
        self._reason = "not tried yet"
        self._last_error = ""
        self._last_error_at: float | None = None
        self._connects = 0

    @property
    def state(self) -> State:
        """Where it stands: up, if the hub has taken the name."""
        return self._state

    def status(self) -> DialStatus:
        """Tell all that is known now."""
        self._meter.count()
        return DialStatus(
            target=self.target,
            state=self._state,
            since=self._since,
            reason=self._reason,
            last_error=self._last_error,
            last_error_at=self._last_error_at,
            connects=self._connects,
            clients=len(self._adapters),
            wire=self._meter.wire,
            today=self._meter.budget.used,
        )

    async def run(self) -> None:
        """Dial, and again whenever the hub is lost, without end. Cancel it to stop."""
        attempt = 0
        try:
            while True:
                attempt += 1
                self._tell(LinkConnecting(attempt))
                before, began = self._connects, time.monotonic()
                error = await self._once()
                up = 0.0
                if self._connects != before:
                    attempt, up = 0, time.monotonic() - began
                hopeless = isinstance(error, _HOPELESS)
                wait = self._backoff.failed(hopeless=hopeless, up=up)
                self._down(error, wait, hopeless=hopeless)
                await asyncio.sleep(wait)
        finally:
            self._down(TunnelLostError(self.target, "stopped"), None)

    async def _once(self) -> FieldgateError:
        """Dial and stay; give why that ended or could not be."""
        connection: asyncssh.SSHClientConnection | None = None
        ear = _Ear()
        try:
            async with asyncio.timeout(OPEN_DEADLINE):
                await self._served.check()
                connection = await ssh.connect(self.url, last_whole(self._identity), client=lambda: ear)
                self._keep(connection)
                # without the name the connection is worth nothing, and the next try may find it free
                await connection.create_unix_server(self._taken, socket_of(self.url.box), window=WINDOW)
            self._up()
            return self._lost(await ear.gone)
        except FieldgateError as error:
            return error
        except asyncssh.ChannelListenError:
            return UnreachableError(self.target, "the hub does not take this name from us", hint=_NOT_TAKEN)
        except TimeoutError:
            return DeadlineError(f"dialling {self.target}", OPEN_DEADLINE, hint=REACH)
        except (OSError, UnicodeError, asyncssh.Error, ssh.JumpError) as error:
            return ssh_errors.of_hub(self.url, error, otherwise=explain)
        finally:
            self._meter.detach()
            if connection is not None:
                connection.abort()
            # a channel that was being opened just now is never told its end
            self._adapters.clear()

    def _keep(self, connection: asyncssh.SSHClientConnection) -> None:
        connection.set_keepalive(self._keepalive.interval, self._keepalive.count)
        tcp = TcpSocket(connection.get_extra_info("socket"))
        tcp.set_patience(self._keepalive.patience)
        self._meter.attach(tcp)

    async def _taken(self) -> UnixSession:
        """Hand a connection that comes through the hub to what serves it. Raises ChannelOpenError."""
        if len(self._adapters) + self._taking >= CLIENTS:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, f"at most {CLIENTS} connections")
        self._taking += 1
        try:
            async with asyncio.timeout(SERVE_DEADLINE):
                protocol = await self._served.take()
        except (FieldgateError, OSError, TimeoutError) as error:
            log.warning("%s: a connection could not be taken: %s", self.target, printable(str(error)))
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the box cannot take it now") from None
        finally:
            self._taking -= 1
        session = adapted(protocol, self._adapters.discard)
        self._adapters.add(session)  # type: ignore[arg-type]
        return session

    def _lost(self, cause: Exception | None) -> FieldgateError:
        if isinstance(cause, asyncssh.ConnectionLost):
            return TunnelLostError(self.target, f"the hub is lost: {printable(cause.reason)}")
        if cause is None:
            return TunnelLostError(self.target, "the hub has closed the connection")
        return TunnelLostError(self.target, f"the hub has ended the connection: {printable(str(cause))}")

    # how it stands

    def _up(self) -> None:
        self._connects += 1
        self._enter(State.UP, "")
        self._tell(NameTaken(self.url.box))

    def _down(self, error: FieldgateError, retry_in: float | None, *, hopeless: bool = False) -> None:
        down = LinkDown(error, retry_in, hopeless)
        self._last_error, self._last_error_at = down.problem, time.time()
        self._enter(State.DOWN, down.problem)
        self._tell(down)

    def _enter(self, state: State, reason: str) -> None:
        if state is not self._state:
            self._since = time.time()
        self._state, self._reason = state, reason


class _Ear(asyncssh.SSHClient):
    """Hears the end of a connection."""

    def __init__(self) -> None:
        self.gone: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(exc)
