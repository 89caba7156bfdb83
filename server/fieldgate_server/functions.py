"""What a function is: what its request must look like, which cells it means, what it does to a unit; pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, NamedTuple, Protocol

from fieldgate_core.modbus import File, FunctionCode, Table
from fieldgate_server.device import Device
from fieldgate_server.layout import Cells
from fieldgate_server.tables import Bits, RegisterTable


class Kind(StrEnum):
    """The classes of functions that the policy grants (guard.md); no grant of a class includes control."""

    READ = "read"
    WRITE = "write"
    IDENTIFY = "identify"
    DIAGNOSE = "diagnose"
    CONTROL = "control"


class Group(NamedTuple):
    """One part of a file request: `quantity` records from `start`, `data` to write; `known`: its reference type is."""

    file: File
    start: int
    quantity: int
    data: bytes
    known: bool


class Request(NamedTuple):
    """A well-formed request: cells to read and cells to write (a count of 0: none), and what to write there."""

    read_start: int
    read_count: int
    write_start: int
    write_count: int
    payload: bytes
    groups: tuple[Group, ...] = ()


class Storage(Protocol):
    """What a function works on: the tables, files and state of one unit."""

    coils: Bits
    discrete: Bits
    holding: RegisterTable
    input: RegisterTable
    device: Device

    @property
    def tables(self) -> Mapping[Table, Bits | RegisterTable]:
        """The same four by name."""

    @property
    def files(self) -> Mapping[int, RegisterTable]:
        """Files of records by number."""


@dataclass(frozen=True)
class Function(ABC):
    """One function code, or one sub-function of 8 or 43; `reads` and `writes` name its table, where it has one."""

    code: int
    reads: Table | None = None
    writes: Table | None = None
    kind: Kind = Kind.READ
    sub: int | None = None

    steady: ClassVar[bool] = False
    """It acts on no cell; which cells a request means, and whether they are there, is the same at any time."""

    @property
    def name(self) -> str:
        """The name in policy and trail."""
        return function_name(self.code, self.sub)

    @abstractmethod
    def parse(self, pdu: bytes) -> Request | None:
        """Read a PDU; None if length, quantity, byte count or value is malformed (exception 03)."""

    @abstractmethod
    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        """Carry the request out on tables that hold all its cells, and give the reply PDU; empty: there is none."""

    def reading(self, unit: Storage, request: Request) -> tuple[Cells, ...]:
        """Name the cells that the request reads."""
        return () if self.reads is None else (Cells(self.reads, request.read_start, request.read_count),)

    def writing(self, request: Request) -> tuple[Cells, ...]:
        """Name the cells that the request writes."""
        return () if self.writes is None else (Cells(self.writes, request.write_start, request.write_count),)

    def there(self, unit: Storage, request: Request) -> bool:
        """Tell whether every cell that the request means exists."""
        if self.reads is not None and request[0] + request[1] > unit.tables[self.reads].size:
            return False
        return self.writes is None or request[2] + request[3] <= unit.tables[self.writes].size

    def written(self, unit: Storage, request: Request) -> bytes | None:
        """Give the values that the written cells will hold, in wire order; None if a missing cell decides them."""
        return request.payload

    def held(self, unit: Storage, request: Request) -> bytes | None:
        """Give the values that the cells to be written hold now, in wire order."""
        return None if self.writes is None else unit.tables[self.writes].read(request.write_start, request.write_count)


def function_name(code: int, sub: int | None) -> str:
    """Name a function as the field writes it: "3", "8/0A" (hexadecimal), "43/14" (decimal)."""
    if sub is None:
        return str(code)
    return f"{code}/{sub:02X}" if code == FunctionCode.DIAGNOSTICS else f"{code}/{sub}"
