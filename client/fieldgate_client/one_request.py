"""Ask for one reply at a time on a fresh tunnel, and tell apart what can be wrong with it."""

from __future__ import annotations

import asyncio
import struct
from typing import cast

from fieldgate_core.errors import DeadlineError, TunnelLostError
from fieldgate_core.modbus import MAX_LENGTH_FIELD, MBAP_HEADER, MIN_LENGTH_FIELD
from fieldgate_core.url import SiteUrl

_HEADER = struct.Struct(">HHHB")


class OneRequest(asyncio.Protocol):
    """The protocol of a tunnel that asks one thing after the other."""

    def __init__(self, url: SiteUrl) -> None:
        self._url = url
        self._received = bytearray()
        self._transaction = 0
        self._news = asyncio.Event()
        self._ended = False
        self.cause: BaseException | None = None
        """Why the tunnel ended, where somebody said so."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Gather a reply."""
        self._received += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Learn the end, and why."""
        self._ended, self.cause = True, exc
        self._news.set()

    async def ask(self, unit: int, pdu: bytes, deadline: float) -> bytes:
        """Send a request and give the reply's PDU. Raises DeadlineError, or TunnelLostError also for what is no reply.

        Where the tunnel ended, `cause` has the reason that TLS, SSH or the socket gave.
        """
        self._transaction += 1
        self._transport.write(_HEADER.pack(self._transaction, 0, len(pdu) + 1, unit) + pdu)
        try:
            async with asyncio.timeout(deadline):
                while (reply := self._cut(unit, pdu[0])) is None:
                    if self._ended:
                        raise TunnelLostError(str(self._url), "the tunnel was closed before a reply came")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise DeadlineError(f"{self._url}: function {pdu[0]}", deadline) from None
        return reply

    def _cut(self, unit: int, function: int) -> bytes | None:
        if len(self._received) < MBAP_HEADER + 1:
            return None
        transaction, protocol, length, answered = _HEADER.unpack_from(self._received)
        fits = protocol == 0 and transaction == self._transaction and answered == unit
        if not fits or not MIN_LENGTH_FIELD <= length <= MAX_LENGTH_FIELD or self._received[7] & 0x7F != function:
            raise TunnelLostError(str(self._url), "what answers there does not speak Modbus as it should")
        end = MBAP_HEADER - 1 + length
        if len(self._received) < end:
            return None
        reply = bytes(self._received[MBAP_HEADER:end])
        del self._received[:end]
        return reply
