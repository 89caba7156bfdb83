"""Walk the way to a site step by step, and say at which step it stops, why, and what to try."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

from fieldgate_client import proofs, way
from fieldgate_client.cells import Cells
from fieldgate_client.check_report import Outcome, Step
from fieldgate_client.exchange import hint_of
from fieldgate_client.one_request import OneRequest
from fieldgate_client.proofs import Proof
from fieldgate_client.site import Site
from fieldgate_core.errors import (
    EXIT_EXCEPTION_REPLY,
    DeadlineError,
    ExceptionReplyError,
    FieldgateError,
    RejectedError,
    TunnelLostError,
)
from fieldgate_core.modbus import ExceptionCode, FunctionCode, Table, exception_meaning
from fieldgate_core.url import LOOPBACK_PORT, SSH_PORT, TLS_PORT, Scheme
from fieldgate_tunnel import dialers

DOOR_DEADLINE = 10.0
"""Seconds for the handshake and login of a door."""

_READ = {Table.COILS: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}
_PORTS = {Scheme.PLAIN: LOOPBACK_PORT, Scheme.TLS: TLS_PORT, Scheme.SSH: SSH_PORT}
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
        self._addresses: list[way.Address] = []
        self._socket: socket.socket | None = None
        self._tunnel: dialers.Tunnel | None = None
        self._asker = OneRequest(site.url)
        self._value = b""

    async def steps(self) -> AsyncIterator[Step]:
        """Give each step as it is done.

        What is wrong on this machine does not keep the way from being tried; what is wrong on the way ends the walk.
        """
        own_fault = False
        try:
            for name, do in (("clock", self._clock), ("identity", self._identity)):
                step = await _timed(name, do)
                own_fault |= step.outcome is Outcome.FAILED
                yield step
            stopped = False
            for name, do in self._way():
                step = Step(name, Outcome.SKIPPED) if stopped else await _timed(name, do)
                stopped |= step.outcome is Outcome.FAILED or (own_fault and name == "tcp")
                yield step
        finally:
            await self._close()

    def _way(self) -> list[tuple[str, _Do]]:
        url = self._site.url
        steps: list[tuple[str, _Do]] = [("name", self._name), ("route", self._route), ("tcp", self._tcp)]
        door = {Scheme.PLAIN: "open", Scheme.TLS: "tls", Scheme.SSH: "ssh"}[url.scheme]
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
