"""A site to ask: cells of its four tables by address, and pymodbus's client on the same tunnel."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, TypeVar

from fieldgate_client import requests
from fieldgate_client.grouping import plan
from fieldgate_client.points import Point
from fieldgate_client.values import Value
from fieldgate_core.errors import TunnelError
from fieldgate_core.modbus import Table, unit_id
from fieldgate_core.url import SiteUrl

if TYPE_CHECKING:
    from fieldgate_client.pymodbus_client import PymodbusClient

T = TypeVar("T")


class Asked(Protocol):
    """What takes requests to a site: one tunnel (`Line`), or one that is opened again when it is lost."""

    @property
    def url(self) -> SiteUrl:
        """The site's URL."""

    @property
    def is_open(self) -> bool:
        """Whether a tunnel stands."""

    async def ask(self, unit: int, pdu: bytes, deadline: float) -> bytes:
        """Send one request, once, and give its reply's PDU; `deadline` in seconds. Raises as `Line.ask` does."""

    def tell(self, unit: int, pdu: bytes) -> None:
        """Send one request, once, that has no reply."""


class SiteClient:
    """A site, as `connect` gives it. What is asked together is on the way together, and each gets its own reply.

    Addresses are 0 to 65535 as on the wire; `unit` is 0 to 255, and None the site's (1 unless its entry in the site
    list names another). All methods raise ValueError for what no request can
    carry, ExceptionReplyError for an exception reply, TunnelLostError, RejectedError and DeadlineError; those that
    write raise OutcomeUnknownError when a write was sent and is neither known to be done nor to be refused. A write is
    never sent again. Who is cancelled while a write waits does not know its outcome either.
    """

    def __init__(self, line: Asked, reply_deadline: float, *, unit: int = 1, points: Sequence[Point] = ()) -> None:
        """`unit` is the one that is meant where none is named, `points` those that may be asked for by name."""
        self._line = line
        self._deadline = reply_deadline
        self._unit = unit
        self._points = {point.name: point for point in points}

    @property
    def url(self) -> SiteUrl:
        """The site's URL."""
        return self._line.url

    @property
    def is_open(self) -> bool:
        """False once the tunnel is lost or closed; a new one is opened by a new `connect`."""
        return self._line.is_open

    @property
    def points(self) -> Mapping[str, Point]:
        """The points of the site's file, by name."""
        return self._points

    async def read(self, point: Point | str) -> Value:
        """Read a point, or the site's point of that name: its value in its own unit of measure.

        Raises ConfigError for a name that the site has not.
        """
        return (await self.read_points([point]))[0]

    async def read_points(self, points: Sequence[Point | str]) -> list[Value]:
        """Read points with as few requests as possible, which leave together; values are in the order of the points."""
        wanted = [self._point(point) for point in points]
        unique = list(dict.fromkeys(wanted))
        # the numbers keep apart points of one name
        numbered = [replace(point, name=str(number)) for number, point in enumerate(unique)]
        reads = plan(numbered, unit=self._unit)
        words = await _together([self.read_cells(r.table, r.range.start, r.range.count, unit=r.unit) for r in reads])
        found = {name: value for r, got in zip(reads, words, strict=True) for name, value in r.values(got).items()}
        return [found[str(unique.index(point))] for point in wanted]

    async def write(self, point: Point | str, value: Value) -> None:
        """Write a point with one request. Raises ValueError for a value that it does not take or a point read only."""
        target = self._point(point)
        if not target.writable:
            raise ValueError(f"{target.name} is read only")
        await self.write_cells(target.table, target.address, target.encode(value), unit=target.unit_id)

    def _point(self, point: Point | str) -> Point:
        return point if isinstance(point, Point) else _named(self._points, point, str(self.url))

    async def read_coils(self, address: int, count: int = 1, *, unit: int | None = None) -> list[bool]:
        """Read coils (function 1)."""
        return list(map(bool, await self.read_cells(Table.COILS, address, count, unit=unit)))

    async def read_discrete(self, address: int, count: int = 1, *, unit: int | None = None) -> list[bool]:
        """Read discrete inputs (function 2)."""
        return list(map(bool, await self.read_cells(Table.DISCRETE, address, count, unit=unit)))

    async def read_holding(self, address: int, count: int = 1, *, unit: int | None = None) -> list[int]:
        """Read holding registers (function 3), each 0 to 65535."""
        return await self.read_cells(Table.HOLDING, address, count, unit=unit)

    async def read_input(self, address: int, count: int = 1, *, unit: int | None = None) -> list[int]:
        """Read input registers (function 4), each 0 to 65535."""
        return await self.read_cells(Table.INPUT, address, count, unit=unit)

    async def read_cells(self, table: Table, address: int, count: int = 1, *, unit: int | None = None) -> list[int]:
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

    async def write_coils(self, address: int, values: Sequence[bool], *, unit: int | None = None) -> None:
        """Write coils with one request: function 5 for one, 15 for up to 1968."""
        await self.write_cells(Table.COILS, address, values, unit=unit)

    async def write_holding(self, address: int, values: Sequence[int], *, unit: int | None = None) -> None:
        """Write holding registers with one request: function 6 for one, 16 for up to 123."""
        await self.write_cells(Table.HOLDING, address, values, unit=unit)

    async def write_cells(self, table: Table, address: int, values: Sequence[int], *, unit: int | None = None) -> None:
        """Write coils or holding registers with one request, as `write_coils` and `write_holding` do."""
        request = requests.write(table, address, values)
        requests.check_written(request, await self.request(request, unit=unit))

    async def request(self, pdu: bytes, *, unit: int | None = None) -> bytes:
        """Send any request and give its reply, both as PDUs: function code first, 1 to 253 bytes.

        An exception reply is given like any other: only its transaction, unit and function were looked at.
        """
        return await self._line.ask(unit_id(self._unit if unit is None else unit), pdu, self._deadline)

    @cached_property
    def pymodbus(self) -> PymodbusClient:
        """The asynchronous client of pymodbus on this tunnel; it may be used beside the methods here."""
        # pymodbus is worth its import only to who asks for it
        from fieldgate_client.pymodbus_client import PymodbusClient

        return PymodbusClient(self._line, self._deadline)


def _named(points: Mapping[str, Point], name: str, where: str) -> Point:
    from fieldgate_client import points_file

    return points_file.find([*points.values()], [name], where)[0]


async def _together(asked: Sequence[Coroutine[object, None, T]]) -> list[T]:
    """Wait for all replies; the first failure cancels the others."""
    tasks = [asyncio.ensure_future(one) for one in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
