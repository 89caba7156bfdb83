"""A site to ask: cells of its four tables by address, and pymodbus's client on the same tunnel."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from fieldgate_client import requests
from fieldgate_client.line import Line
from fieldgate_core.errors import TunnelError
from fieldgate_core.modbus import Table, unit_id
from fieldgate_core.url import SiteUrl

if TYPE_CHECKING:
    from fieldgate_client.pymodbus_client import PymodbusClient


class SiteClient:
    """A site, as `connect` gives it. What is asked together is on the way together, and each gets its own reply.

    Addresses are 0 to 65535 as on the wire; `unit` is 0 to 255. All methods raise ValueError for what no request can
    carry, ExceptionReplyError for an exception reply, TunnelLostError, RejectedError and DeadlineError; those that
    write raise OutcomeUnknownError when a write was sent and is neither known to be done nor to be refused. A write is
    never sent again. Who is cancelled while a write waits does not know its outcome either.
    """

    def __init__(self, line: Line, reply_deadline: float) -> None:
        self._line = line
        self._deadline = reply_deadline

    @property
    def url(self) -> SiteUrl:
        """The site's URL."""
        return self._line.url

    @property
    def is_open(self) -> bool:
        """False once the tunnel is lost or closed; a new one is opened by a new `connect`."""
        return self._line.is_open

    async def read_coils(self, address: int, count: int = 1, *, unit: int = 1) -> list[bool]:
        """Read coils (function 1)."""
        return list(map(bool, await self.read_cells(Table.COILS, address, count, unit=unit)))

    async def read_discrete(self, address: int, count: int = 1, *, unit: int = 1) -> list[bool]:
        """Read discrete inputs (function 2)."""
        return list(map(bool, await self.read_cells(Table.DISCRETE, address, count, unit=unit)))

    async def read_holding(self, address: int, count: int = 1, *, unit: int = 1) -> list[int]:
        """Read holding registers (function 3), each 0 to 65535."""
        return await self.read_cells(Table.HOLDING, address, count, unit=unit)

    async def read_input(self, address: int, count: int = 1, *, unit: int = 1) -> list[int]:
        """Read input registers (function 4), each 0 to 65535."""
        return await self.read_cells(Table.INPUT, address, count, unit=unit)

    async def read_cells(self, table: Table, address: int, count: int = 1, *, unit: int = 1) -> list[int]:
        """Read cells of a table; bits are 0 or 1.

        More than 2000 bits or 125 registers are read by several requests that leave together: the device may change
        between them. Raises TunnelError for a reply that holds more or fewer cells than were asked for.
        """
        parts = requests.pieces(table, address, count)
        asked = [self.request(requests.read(table, part), unit=unit) for part in parts]
        # a single one leaves in the order of asking: a task of its own would let a later write pass
        replies = [await asked[0]] if len(asked) == 1 else await _together(asked)
        try:
            pairs = zip(parts, replies, strict=True)
            return [value for part, reply in pairs for value in requests.values(table, part.count, reply)]
        except requests.MalformedReplyError as error:
            raise TunnelError(str(self.url), str(error)) from None

    async def write_coils(self, address: int, values: Sequence[bool], *, unit: int = 1) -> None:
        """Write coils with one request: function 5 for one, 15 for up to 1968."""
        await self.write_cells(Table.COILS, address, values, unit=unit)

    async def write_holding(self, address: int, values: Sequence[int], *, unit: int = 1) -> None:
        """Write holding registers with one request: function 6 for one, 16 for up to 123."""
        await self.write_cells(Table.HOLDING, address, values, unit=unit)

    async def write_cells(self, table: Table, address: int, values: Sequence[int], *, unit: int = 1) -> None:
        """Write coils or holding registers with one request, as `write_coils` and `write_holding` do."""
        request = requests.write(table, address, values)
        requests.check_written(request, await self.request(request, unit=unit))

    async def request(self, pdu: bytes, *, unit: int = 1) -> bytes:
        """Send any request and give its reply, both as PDUs: function code first, 1 to 253 bytes.

        An exception reply is given like any other: only its transaction, unit and function were looked at.
        """
        return await self._line.ask(unit_id(unit), pdu, self._deadline)

    @cached_property
    def pymodbus(self) -> PymodbusClient:
        """The asynchronous client of pymodbus on this tunnel; it may be used beside the methods here."""
        # pymodbus is worth its import only to who asks for it
        from fieldgate_client.pymodbus_client import PymodbusClient

        return PymodbusClient(self._line, self._deadline)


async def _together(asked: Sequence[Coroutine[object, None, bytes]]) -> list[bytes]:
    """Wait for all replies; the first failure cancels the others."""
    tasks = [asyncio.ensure_future(one) for one in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
