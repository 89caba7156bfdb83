"""`async with connect(url)`: opens the tunnel, gives a pymodbus client on it, tells the truth about every write."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn, cast

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException, ModbusIOException
from pymodbus.pdu import ModbusPDU

from fieldgate_core.errors import DeadlineError, FieldgateError, OutcomeUnknownError, TunnelLostError, UnreachableError
from fieldgate_core.modbus import WRITE_FUNCTIONS
from fieldgate_core.trace import Tracer
from fieldgate_core.url import SiteUrl, parse
from fieldgate_tunnel.dialers import explain, open_tunnel

OPEN_DEADLINE = 15.0
"""Seconds for name, route, handshake and login together."""
REPLY_DEADLINE = 3.0
"""Seconds for one reply."""


class SiteClient(AsyncModbusTcpClient):
    """pymodbus's client on a tunnel's stream: never re-sends, never reconnects, fails as soon as the tunnel does.

    Its methods are pymodbus's; they raise TunnelLostError, RejectedError, DeadlineError, and for a write that was sent
    and not answered OutcomeUnknownError. Exception replies come back as pymodbus gives them (`isError()`).
    """

    def __init__(self, url: SiteUrl, *, reply_deadline: float, tracer: Tracer | None) -> None:
        super().__init__(
            url.host,
            name=str(url),
            timeout=reply_deadline,
            retries=0,
            reconnect_delay=0,
            trace_packet=self._trace_packet,
            trace_pdu=self._trace_pdu,
        )
        self.url = url
        self._tracer = tracer
        # pymodbus would fall back to a plain connection of its own
        self.ctx.call_create = self._never_plain
        self._lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self._sent: set[ModbusPDU] = set()

    async def execute(self, no_response_expected: bool, request: ModbusPDU) -> ModbusPDU:
        """Send one request, once, and wait for its reply, the deadline or the tunnel's end."""
        if self._lost.done() or not self.ctx.transport:
            raise self._explain()
        asked = asyncio.ensure_future(super().execute(no_response_expected, request))
        try:
            await asyncio.wait({asked, self._lost}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                self._fail(request, self._explain())
            reply: ModbusPDU = await asked
            return reply
        except (ModbusIOException, ConnectionException) as error:
            if self._lost.done():
                self._fail(request, self._explain(), error)
            what = f"{self.url}: function {request.function_code}"
            self._fail(request, DeadlineError(what, self.comm_params.timeout_connect), error)
        finally:
            asked.cancel()
            self._sent.discard(request)

    def _fail(self, request: ModbusPDU, cause: FieldgateError, error: Exception | None = None) -> NoReturn:
        """Raise what a caller must know: of a write that was sent, that its outcome is unknown."""
        if request in self._sent and request.function_code in WRITE_FUNCTIONS:
            raise OutcomeUnknownError(request.function_code, str(cause)) from error
        raise cause from error

    def _explain(self) -> FieldgateError:
        cause = self._lost.result() if self._lost.done() else None
        if isinstance(cause, FieldgateError):
            return cause
        if cause is None:
            return TunnelLostError(str(self.url), "the tunnel is closed")
        known = explain(self.url, cause)
        # what keeps a tunnel from opening, has broken one that stood
        return TunnelLostError(known.target, known.problem) if isinstance(known, UnreachableError) else known

    def _trace_pdu(self, sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        if sending:
            self._sent.add(pdu)
        return pdu

    def _trace_packet(self, sending: bool, data: bytes) -> bytes:
        # what comes in is traced by `_Line`: pymodbus gives the start of a reply again with each of its pieces
        if sending and self._tracer:
            self._tracer.request(data)
        return data

    def lost(self, cause: BaseException | None) -> None:
        """Learn that the tunnel has ended, and why."""
        if not self._lost.done():
            self._lost.set_result(cause)

    async def _never_plain(self) -> NoReturn:
        raise ConnectionException("the tunnel is closed; open a new one")


class _Line(asyncio.Protocol):
    """Stands between the tunnel and pymodbus, which does not pass a lost connection on to who waits for a reply."""

    def __init__(self, client: SiteClient, tracer: Tracer | None) -> None:
        self._client = client
        self._tracer = tracer
        self._ctx = client.ctx

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ctx.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._tracer:
            self._tracer.received(data)
        try:
            self._ctx.data_received(data)
        except (ModbusException, ValueError, struct.error, IndexError) as error:
            # a reply that is none: nothing after it can be trusted either
            self._client.lost(TunnelLostError(str(self._client.url), f"the reply is malformed: {error}"))
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._tracer:
            self._tracer.ended()
        self._client.lost(exc)
        self._ctx.connection_lost(exc)


@asynccontextmanager
async def connect(
    url: str | SiteUrl,
    *,
    identity: Path | None = None,
    open_deadline: float = OPEN_DEADLINE,
    reply_deadline: float = REPLY_DEADLINE,
    trace: Callable[[str], None] | None = None,
) -> AsyncIterator[SiteClient]:
    """Open the tunnel that `url` names and give a pymodbus client on it; deadlines in seconds.

    `identity` is a folder as `fieldgate certs issue client` makes it; `trace` is called with the text of each frame,
    a request's just before it is sent, and must not raise. Raises ConfigError, UnreachableError,
    NotTrustedError, RejectedError or DeadlineError; with TLS 1.3 the server's no to our certificate comes with the
    first reply.
    """
    site = parse(url) if isinstance(url, str) else url
    tracer = Tracer(trace) if trace else None
    client = SiteClient(site, reply_deadline=reply_deadline, tracer=tracer)
    tunnel = await open_tunnel(site, _Line(client, tracer), identity=identity, deadline=open_deadline)
    try:
        yield client
    finally:
        client.close()
        await tunnel.close()
