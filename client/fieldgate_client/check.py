"""Walk the way to a site step by step, and say at which step it stops, why, and what to try."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

from fieldgate_client import proofs, requests, way
from fieldgate_client.cells import Cells
from fieldgate_client.check_report import Outcome, Step
from fieldgate_client.line import Line
from fieldgate_client.proofs import Proof
from fieldgate_client.site import Site
from fieldgate_core.clock import complaint, moment, plausible
from fieldgate_core.errors import (
    EXIT_EXCEPTION_REPLY,
    EXIT_OK,
    ConfigError,
    DeadlineError,
    ExceptionReplyError,
    FieldgateError,
    RejectedError,
    TunnelLostError,
)
from fieldgate_core.modbus import ExceptionCode
from fieldgate_core.url import Scheme
from fieldgate_tunnel import dialers
from fieldgate_tunnel.first_stop import Stop, first_stop
from fieldgate_tunnel.tcp import Address

_Do = Callable[[], Awaitable[str]]

DOOR_DEADLINE = 10.0
"""Seconds for the handshake and login of a door."""

_MUTE = "the door is open and nothing answers behind it: a slow device (-o 10), a unit in listen-only mode, or it hangs"
_NO_SERVER = "another program may have this port (`ss -ltnp` there shows who); a server of ours says why in its log"
_ANSWERS = frozenset({ExceptionCode.ILLEGAL_DATA_ADDRESS, ExceptionCode.ILLEGAL_DATA_VALUE})
"""Exceptions of a unit that is there, where it only has not these cells."""


class Walk:
    """One walk to a site; `cells` is the one cell that is read, and with `write_back` written as it was read."""

    def __init__(self, site: Site, cells: Cells, *, write_back: bool, expiry_days: int | None) -> None:
        self._site = site
        self._cells = cells
        self._write_back = write_back
        self._expiry_days = expiry_days
        self._own: Proof | None = None
        self._server: Proof | None = None
        self._stop = Stop("", 0)
        self._addresses: list[Address] = []
        self._socket: socket.socket | None = None
        self._tunnel: dialers.Tunnel | None = None
        self._line = Line(site.url, in_flight=1, tracer=site.tracer)
        self._rejected: RejectedError | None = None
        self._reply = b""
        self._values: list[int] = []

    async def steps(self) -> AsyncIterator[Step]:
        """Give each step as it is done.

        What is wrong on this machine does not keep the way from being tried; what is wrong on the way ends the walk.
        """
        own_fault = False
        try:
            own: list[tuple[str, _Do]] = [("clock", self._clock), ("identity", self._identity)]
            for name, do in own:
                step = await _timed(name, do)
                own_fault |= step.outcome is Outcome.FAILED
                yield step
            stopped = False
            for name, do in self._way():
                if stopped:
                    step = Step(name, Outcome.SKIPPED)
                elif self._stop.command and name in {"route", "tcp"}:
                    step = Step(name, Outcome.SKIPPED, "that is the ProxyCommand's to do")
                else:
                    step = await _timed(name, do)
                stopped |= step.outcome is Outcome.FAILED or (own_fault and name == "tcp")
                yield step
        finally:
            await self._close()

    def _way(self) -> list[tuple[str, _Do]]:
        url = self._site.url
        steps: list[tuple[str, _Do]] = [("name", self._name), ("route", self._route), ("tcp", self._tcp)]
        door = {Scheme.PLAIN: "open", Scheme.TLS: "tls", Scheme.SSH: "ssh", Scheme.HUB: "hub"}[url.scheme]
        steps += [(door, self._door), ("login", self._login), ("role", self._role), ("read", self._read)]
        if self._write_back:
            steps.append(("write", self._write))
        if self._expiry_days is not None:
            steps.append(("expiry", self._expiry))
        return steps

    async def _close(self) -> None:
        if self._tunnel is not None:
            await self._tunnel.close()
        elif self._socket is not None:
            self._socket.close()

    # this machine

    async def _clock(self) -> str:
        now = time.time()
        if not plausible(now):
            hint = "set it (timedatectl, chronyc tracking); certificates can't be judged by a wrong clock"
            raise ConfigError("this machine", complaint(now), hint=hint)
        return moment(now)

    async def _identity(self) -> str:
        self._own = proofs.own(self._site.url, self._site.identity)
        return self._own.text

    # the way

    async def _name(self) -> str:
        self._stop = first_stop(self._site.url)
        host, port, family, jump, command = self._stop
        if command is not None:
            return f"left to the ProxyCommand of ~/.ssh/config: {command}"
        self._addresses = await way.look_up(host, port, family)
        found = ", ".join(map(str, self._addresses))
        told = f"{host} is {found}" if found != host else f"{host} is an address"
        if jump is not None:
            return f"the way begins at the jump host {jump}: {told}"
        return told if host == self._site.url.host else f"{self._site.url.host} is {host} by ~/.ssh/config; {told}"

    async def _route(self) -> str:
        self._addresses, own = way.route(self._addresses)
        return f"from {own}"

    async def _tcp(self) -> str:
        self._socket = await way.connect(self._addresses)
        address, port = self._socket.getpeername()[:2]
        return f"{address} port {port} answers"

    # the door

    async def _door(self) -> str:
        try:
            self._tunnel = await dialers.open_tunnel(
                self._site.url,
                self._line,
                identity=self._site.identity,
                deadline=DOOR_DEADLINE,
                connected=self._socket,
            )
        except RejectedError as error:
            if self._of_jump_host(error):
                raise
            # the server is the right one; it is we who are not let in, which is the next step's to say
            self._rejected = error
            return "the server is the one it says it is"
        except DeadlineError as error:
            hint = "something took the connection and says nothing: the server hangs, or this port is not a door"
            raise DeadlineError(error.what, error.seconds, hint=hint) from None
        self._server = proofs.server(self._tunnel.get_extra_info("ssl_object"))
        version = self._tunnel.get_extra_info("server_version")
        return self._server.text if self._server else f"host key accepted; {version}" if version else "open"

    def _of_jump_host(self, error: RejectedError) -> bool:
        if self._stop.jump is None:
            return False
        from fieldgate_tunnel.ssh import JumpError

        return isinstance(error.__cause__, JumpError)

    async def _login(self) -> str:
        if self._rejected is not None:
            raise self._rejected
        # TLS 1.3 lets us in before it has looked at our certificate: a reply is the proof
        try:
            self._reply = await self._ask(requests.read(self._cells.table, self._cells.range))
        except (DeadlineError, TunnelLostError) as error:
            error.hint = error.hint or _MUTE if isinstance(error, DeadlineError) else _NO_SERVER
            raise
        return "the server lets us in"

    async def _ask(self, pdu: bytes) -> bytes:
        return await self._line.ask(self._cells.unit, pdu, self._site.timeout)

    async def _role(self) -> str:
        role = self._own.role if self._own else None
        if self._refusal(self._reply) == ExceptionCode.ILLEGAL_FUNCTION:
            who = f"the role {role}" if role else "you"
            asked = f"{self._cells.table} {self._cells.range} of unit {self._cells.unit}"
            explain = f"fieldgate server explain --role {role or 'ROLE'} --unit {self._cells.unit} read "
            hint = f"ask who keeps the site's policy to run: {explain}{self._cells.table} {self._cells.range}"
            meaning = f"the site gives {who} no right to read {asked}"
            raise ExceptionReplyError(self._reply[0] & 0x7F, ExceptionCode.ILLEGAL_FUNCTION, meaning, hint=hint)
        return f"{role or 'you'} may read {self._cells.table} of unit {self._cells.unit}"

    async def _read(self) -> str:
        code = self._refusal(self._reply)
        if code in _ANSWERS:
            return f"unit {self._cells.unit} answers; it has no {self._cells} (exception {code:02X})"
        requests.check(self._reply)
        try:
            self._values = requests.values(self._cells.table, 1, self._reply)
        except requests.MalformedReplyError as error:
            raise TunnelLostError(str(self._site.url), f"the reply is malformed: {error}") from None
        return f"{self._cells} is {self._values[0]}"

    async def _write(self) -> str:
        if not self._values:
            raise ConfigError(
                str(self._cells), "was not read, so there is nothing to write back", hint="name another: -r"
            )
        pdu = requests.write(self._cells.table, self._cells.range.start, self._values)
        reply = await self._ask(pdu)
        if self._refusal(reply) == ExceptionCode.SERVER_DEVICE_FAILURE:
            hint = "on the box: is its disk full (df -h)? A write whose trail cannot be written is refused; see its log"
            raise ExceptionReplyError(pdu[0], 4, "the server cannot carry out a write", hint=hint)
        requests.check_written(pdu, reply)
        return f"{self._cells} written back as it was read"

    async def _expiry(self) -> str:
        days = self._expiry_days or 0
        now = datetime.now(UTC)
        ends = {"our certificate": self._own, "the server's certificate": self._server}
        known = {what: proof.ends for what, proof in ends.items() if proof is not None and proof.ends is not None}
        for what, end in known.items():
            if end - now < timedelta(days=days):
                hint = "fieldgate certs renew, where its CA is kept"
                raise ExpiringError(what, f"ends on {proofs.day(end)}, within {days} days", hint=hint)
        shown = [f"{what} in {(end - now).days} days" for what, end in known.items()]
        if self._site.url.scheme is Scheme.SSH:
            shown += (
                [] if self._site.identity else ["the end of a certificate of your agent or ~/.ssh is not looked at"]
            )
            shown.append(
                "the host certificate's end is not shown to SSH clients: fieldgate certs check, where its CA is"
            )
        return "; ".join(shown) or "no certificate is in use"

    def _refusal(self, reply: bytes) -> int | None:
        return reply[1] if reply[0] & 0x80 else None


class ExpiringError(FieldgateError):
    """A certificate (`what`) ends soon."""

    exit_code = EXIT_EXCEPTION_REPLY

    def __init__(self, what: str, problem: str, *, hint: str) -> None:
        super().__init__(hint=hint)
        self.what = what
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.what} {self.problem}"


async def _timed(name: str, do: _Do) -> Step:
    started = time.monotonic()
    try:
        text, outcome, hint, code = await do(), Outcome.OK, "", EXIT_OK
    except FieldgateError as error:
        text, outcome, hint, code = str(error), Outcome.FAILED, error.hint, error.exit_code
    return Step(name, outcome, text, hint, time.monotonic() - started, code)
