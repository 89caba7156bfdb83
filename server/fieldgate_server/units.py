"""The units of a server: who answers a unit identifier, and the memory unit."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Mapping
from typing import Protocol

from fieldgate_core.modbus import DEFAULT_UNIT_ALIASES, Table
from fieldgate_server.functions import Function, Request
from fieldgate_server.tables import BitTable, RegisterTable


class Unit(Protocol):
    """What stands behind one unit identifier."""

    def has(self, function: Function, request: Request) -> bool:
        """Tell whether every cell that the request reads or writes exists."""

    def written(self, function: Function, request: Request) -> bytes | None:
        """Give the values that the written cells would hold, or None if that can't be known here."""

    def held(self, function: Function, request: Request) -> bytes | None:
        """Give the values that the cells to be written hold now, for the trail; None if that can't be known here."""

    def perform(self, function: Function, request: Request, pdu: bytes) -> bytes | Future[bytes]:
        """Carry out a request whose cells all exist; the reply PDU, or a future of it where it takes time."""


class MemoryUnit:
    """A unit whose four tables live in memory."""

    __slots__ = ("_tables", "coils", "discrete", "holding", "input")

    def __init__(
        self,
        coils: BitTable,
        discrete: BitTable,
        holding: RegisterTable,
        input: RegisterTable,  # noqa: A002 - the field's word for the table
    ) -> None:
        self.coils = coils
        self.discrete = discrete
        self.holding = holding
        self.input = input
        self._tables: dict[Table, BitTable | RegisterTable] = {
            Table.COILS: coils,
            Table.DISCRETE: discrete,
            Table.HOLDING: holding,
            Table.INPUT: input,
        }

    def has(self, function: Function, request: Request) -> bool:
        """Tell whether every cell that the request reads or writes exists."""
        read_start, read_count, write_start, write_count, _ = request
        if function.reads is not None and read_start + read_count > self._tables[function.reads].size:
            return False
        return function.writes is None or write_start + write_count <= self._tables[function.writes].size

    def written(self, function: Function, request: Request) -> bytes | None:
        """Give the values that the written cells would hold; None if that takes a cell that is not there."""
        return function.written(self, request)

    def held(self, function: Function, request: Request) -> bytes | None:
        """Give the values that the cells to be written hold now."""
        if function.writes is None:
            return None
        return self._tables[function.writes].read(request.write_start, request.write_count)

    def perform(self, function: Function, request: Request, pdu: bytes) -> bytes:
        """Carry out a request whose cells all exist."""
        return function.run(self, request, pdu)


class Units:
    """All units by identifier; 0 and 255 name the default unit, before the policy sees a request."""

    def __init__(self, units: Mapping[int, Unit], default: int) -> None:
        """Raises ValueError if `default` names no unit, or a unit has one of the default unit's other names."""
        if default not in units:
            raise ValueError(f"the default unit {default} is not among the units")
        for alias in DEFAULT_UNIT_ALIASES:
            if alias in units:
                raise ValueError(f"{alias} is another name of the default unit, not a unit of its own")
        self.default = default
        self._units = dict(units)
        self.number = [default if asked in DEFAULT_UNIT_ALIASES else asked for asked in range(256)]
        """The unit that each of the 256 identifiers names, there or not."""

    def get(self, number: int) -> Unit | None:
        """Give the unit with this number, None if there is none."""
        return self._units.get(number)
