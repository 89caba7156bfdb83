"""The units of a server: what stands behind a unit identifier, and which identifier names which unit."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from fieldgate_core.modbus import DEFAULT_UNIT_ALIASES
from fieldgate_server.device import Device
from fieldgate_server.functions import Function, Request
from fieldgate_server.identity import Identity
from fieldgate_server.layout import Cells, Layout


class Asker(Protocol):
    """Who asks, one a session, and what of the request under way is not in its PDU."""

    identity: Identity
    head: bytes
    """The four bytes that a reply repeats: transaction and protocol id."""
    asked: int
    """The unit identifier as it was asked."""

    def on_leave(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once its session is over, so that nobody waits for a reply any more."""


class Effect(NamedTuple):
    """Cells that a write changes, as one table or file shows them; `values` in wire order, None: not known.

    Where cells at the end are not there, `values` may end before them.
    """

    cells: Cells
    values: bytes | None


class Unit(Protocol):
    """What stands behind one unit identifier. The guard judges by `reading` and `effects`, in every table."""

    device: Device
    layout: Layout

    def reading(self, function: Function, request: Request) -> tuple[Cells, ...]:
        """Name the cells that the request reads, in every table that shows them."""

    def effects(self, function: Function, request: Request) -> list[Effect]:
        """Say what the request would write, in every table that shows it; first in the one that it names."""

    def has(self, function: Function, request: Request) -> bool:
        """Tell whether every cell that the request reads or writes exists, and may be written at all."""

    def held(self, function: Function, request: Request) -> bytes | None:
        """Give the values that the cells to be written hold now, for the trail; None if that can't be known here."""

    def names(self, cells: Cells) -> str | None:
        """Give the names of these cells, for the trail; None if they have none."""

    def perform(self, function: Function, request: Request, pdu: bytes, asker: Asker) -> bytes | Future[bytes]:
        """Carry out a request whose cells all exist: the reply PDU (empty: none), or a future of it."""


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

    @classmethod
    def single(cls, unit: Unit) -> Units:
        """Make one unit, number 1, that every identifier names."""
        units = cls({1: unit}, default=1)
        units.number = [1] * 256
        return units

    def get(self, number: int) -> Unit | None:
        """Give the unit with this number, None if there is none."""
        return self._units.get(number)

    def all(self) -> Mapping[int, Unit]:
        """Give all units by number."""
        return self._units
