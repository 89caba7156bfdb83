"""pymodbus's own client object on a site's tunnel: its methods and its replies, our requests in flight and errors."""

from __future__ import annotations

from collections.abc import Callable, Coroutine

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.pdu import ModbusPDU

from fieldgate_client.client import Asked
from fieldgate_core.errors import OutcomeUnknownError, TunnelError
from fieldgate_core.modbus import WRITE_FUNCTIONS


class PymodbusClient(AsyncModbusTcpClient):
    """pymodbus's client: never re-sends, never reconnects, and its requests are on the way together.

    Its methods are pymodbus's; they raise TunnelLostError, RejectedError, DeadlineError, and for a write that was sent
    and not answered OutcomeUnknownError. Exception replies come back as pymodbus gives them (`isError()`). Its `close`
    does nothing: the tunnel is its owner's.
    """

    def __init__(self, line: Asked, reply_deadline: float) -> None:
        super().__init__(line.url.host, name=str(line.url), timeout=reply_deadline, retries=0, reconnect_delay=0)
        self._line = line
        self._deadline = reply_deadline

    @property
    def connected(self) -> bool:
        """True while the tunnel stands."""
        return self._line.is_open

    async def connect(self) -> bool:
        """Tell whether the tunnel stands; a plain connection is never opened."""
        return self._line.is_open

    def close(self) -> None:
        """Do nothing: the tunnel is closed by who opened it."""

    async def execute(self, no_response_expected: bool, request: ModbusPDU) -> ModbusPDU:
        """Send one request, once, and wait for its reply, the deadline or the tunnel's end."""
        pdu = bytes((request.function_code,)) + request.encode()
        if no_response_expected:
            self._line.tell(request.dev_id, pdu)
            return None  # type: ignore[return-value]  # as pymodbus does
        answer = await self._line.ask(request.dev_id, pdu, self._deadline)
        reply = self.ctx.framer.decoder.decode(answer)
        if reply is None:
            problem = "the reply's content is malformed"
            if request.function_code in WRITE_FUNCTIONS:
                raise OutcomeUnknownError(request.function_code, problem)
            raise TunnelError(str(self._line.url), problem)
        reply.dev_id = request.dev_id
        return reply


class BlockingPymodbus(ModbusClientMixin[ModbusPDU]):
    """pymodbus's methods without `await`; `call` runs one request of `client` where its event loop is."""

    def __init__(self, client: PymodbusClient, call: Callable[[Coroutine[object, None, ModbusPDU]], ModbusPDU]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # pymodbus has no types there
        self._client = client
        self._call = call

    def execute(self, no_response_expected: bool, request: ModbusPDU) -> ModbusPDU:
        """Send one request, once, and wait for its reply, the deadline or the tunnel's end."""
        return self._call(self._client.execute(no_response_expected, request))
