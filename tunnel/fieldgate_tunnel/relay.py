"""Carry bytes between two transports, both ways, with back-pressure and half-close; what they mean is not looked at."""

from __future__ import annotations

import asyncio
from typing import cast


class End(asyncio.Protocol):
    """One end of a relay: what comes in here goes out at the other, and waits until that is there."""

    def __init__(self) -> None:
        self.other: End = self
        self.transport: asyncio.Transport | None = None
        self.ended = False
        self.lost = False
        self.carried = 0
        """Bytes that have come in here."""

    @classmethod
    def pair(cls) -> tuple[End, End]:
        """Give both ends of a new relay."""
        one, other = cls(), cls()
        one.other, other.other = other, one
        return one, other

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        other = self.other
        if other.lost:
            self.transport.abort()
        elif other.transport is None:
            self.transport.pause_reading()
        else:
            other.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.carried += len(data)
        onward = self.other.transport
        if onward is not None and not onward.is_closing():
            onward.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        onward = self.other.transport
        if onward is None or onward.is_closing():
            return False
        if self.other.ended or not onward.can_write_eof():
            # both have said all: nobody else would close
            onward.close()
            return False
        onward.write_eof()
        return True

    def pause_writing(self) -> None:
        onward = self.other.transport
        if onward is not None and not onward.is_closing():
            onward.pause_reading()

    def resume_writing(self) -> None:
        onward = self.other.transport
        if onward is not None and not onward.is_closing():
            onward.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.transport = None
        self.other.close()

    def abandon(self) -> None:
        """Take note that nobody will be at the other end: this one closes, now or as soon as it is there."""
        self.other.lost = True
        self.close()

    def close(self) -> None:
        """Close this end, once what is to go out here has gone."""
        if self.transport is not None:
            self.transport.close()
