"""The functions on the fast path: what their request must look like, which cells it means, what it does to tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple, Protocol

from fieldgate_core.modbus import (
    COIL_OFF,
    COIL_ON,
    MAX_READ_BITS,
    MAX_READ_REGISTERS,
    MAX_READ_WRITE_READ,
    MAX_READ_WRITE_WRITE,
    MAX_WRITE_BITS,
    MAX_WRITE_REGISTERS,
    FunctionCode,
    Table,
)
from fieldgate_server.tables import BitTable, RegisterTable

_TWO = Struct(">HH").unpack_from
_FOUR = Struct(">HHHH").unpack_from


class Request(NamedTuple):
    """A well-formed request: cells to read and cells to write (a count of 0: none), and what to write there."""

    read_start: int
    read_count: int
    write_start: int
    write_count: int
    payload: bytes


class Tables(Protocol):
    """The four tables that a function works on."""

    coils: BitTable
    discrete: BitTable
    holding: RegisterTable
    input: RegisterTable


@dataclass(frozen=True)
class Function(ABC):
    """One function code. `reads` and `writes` name the table whose cells its request means, if any."""

    code: int
    reads: Table | None = None
    writes: Table | None = None

    @abstractmethod
    def parse(self, pdu: bytes) -> Request | None:
        """Read a PDU; None if length, quantity, byte count or value is malformed (exception 03)."""

    @abstractmethod
    def run(self, tables: Tables, request: Request, pdu: bytes) -> bytes:
        """Carry the request out on tables that hold all its cells, and give the reply PDU."""

    def written(self, tables: Tables, request: Request) -> bytes | None:
        """Give the values that the written cells will hold, in wire order; None if a missing cell decides them."""
        return request.payload


class ReadBits(Function):
    """FC1 and FC2 (V1.1b3, 6.1 and 6.2)."""

    def parse(self, pdu: bytes) -> Request | None:
        if len(pdu) != 5:
            return None
        start, count = _TWO(pdu, 1)
        return Request(start, count, 0, 0, b"") if 1 <= count <= MAX_READ_BITS else None

    def run(self, tables: Tables, request: Request, pdu: bytes) -> bytes:
        table = tables.coils if self.code == 1 else tables.discrete
        data = table.read(request[0], request[1])
        return b"%c%c%b" % (self.code, len(data), data)


class ReadRegisters(Function):
    """FC3 and FC4 (V1.1b3, 6.3 and 6.4)."""

    def parse(self, pdu: bytes) -> Request | None:
        if len(pdu) != 5:
            return None
        start, count = _TWO(pdu, 1)
        return Request(start, count, 0, 0, b"") if 1 <= count <= MAX_READ_REGISTERS else None

    def run(self, tables: Tables, request: Request, pdu: bytes) -> bytes:
        table = tables.holding if self.code == 3 else tables.input
        data = table.read(request[0], request[1])
        return b"%c%c%b" % (self.code, len(data), data)


class WriteCoil(Function):
    """FC5 (V1.1b3, 6.5): only FF00 and 0000 are values."""

    def parse(self, pdu: bytes) -> Request | None:
        if len(pdu) != 5:
            return None
        address, value = _TWO(pdu, 1)
        if value == COIL_ON:
            return Request(0, 0, address, 1, b"\x01")
        return Request(0, 0, address, 1, b"\x00") if value == COIL_OFF else None

    def run(self, tables: Tables, request: Request, pdu: bytes) -> bytes:
        tables.coils.write(request.write_start, 1, request.payload)
        return pdu


class WriteRegister(Function):
    """FC6 (V1.1b3, 6.6)."""

    def parse(self, pdu: bytes) -> Request | None:
        if len(pdu) != 5:
            return None
        return Request(0, 0, pdu[1] << 8 | pdu[2], 1, pdu[3:])

    def run(self, tables: Tables, request: Request, pdu: bytes) -> bytes:
        tables.holding.write(request.write_start, 1, request.payload)
        return pdu


class WriteCoils(Function):
    """FC15 (V1.1b3, 6.11)."""

    def parse(self, pdu: bytes) -> Request | None:
        if len(pdu) < 7:
            return None
        start, count = _TWO(pdu, 1)
        size = (count + 7) >> 3
        if not (1 <= count <= MAX_WRITE_BITS and pdu[5] == size and len(pdu) == 6 + size):
            return None
        # the last byte's unused bits mean nothing, and so stand nowhere
        last = pdu[-1] & (0xFF >> (-count & 7))
        return Request(0, 0, start, count, pdu[6:-1] + bytes((last,)))

    def run(self, tables: Tables, request: Request, pdu: bytes) -> bytes:
        tables.coils.write(request.write_start, request.write_count, request.payload)
        return pdu[:5]


class WriteRegisters(Function):
    """FC16 (V1.1b3, 6.12)."""

    def parse(self, pdu: bytes) -> Request | None:
        if len(pdu) < 8:
            return None
        start, count = _TWO(pdu, 1)
        if not (1 <= count <= MAX_WRITE_REGISTERS and pdu[5] == 2 * count and len(pdu) == 6 + 2 * count):
            return None
        return Request(0, 0, start, count, pdu[6:])

    def run(self, tables: Tables, request: Request, pdu: bytes) -> bytes:
        tables.holding.write(request.write_start, request.write_count, request.payload)
        return pdu[:5]


class MaskWrite(Function):
    """FC22 (V1.1b3, 6.16): (register AND and_mask) OR (or_mask AND NOT and_mask)."""

    def parse(self, pdu: bytes) -> Request | None:
        if len(pdu) != 7:
            return None
        address = pdu[1] << 8 | pdu[2]
        return Request(address, 1, address, 1, pdu[3:])

    def written(self, tables: Tables, request: Request) -> bytes | None:
        if request.write_start >= tables.holding.size:
            return None
        return self._result(tables, request)

    def _result(self, tables: Tables, request: Request) -> bytes:
        current = int.from_bytes(tables.holding.read(request.write_start, 1), "big")
        and_mask, or_mask = int.from_bytes(request.payload[:2], "big"), int.from_bytes(request.payload[2:], "big")
        return ((current & and_mask) | (or_mask & ~and_mask & 0xFFFF)).to_bytes(2, "big")

    def run(self, tables: Tables, request: Request, pdu: bytes) -> bytes:
        tables.holding.write(request.write_start, 1, self._result(tables, request))
        return pdu


class ReadWriteRegisters(Function):
    """FC23 (V1.1b3, 6.17): the write comes before the read."""

    def parse(self, pdu: bytes) -> Request | None:
        if len(pdu) < 12:
            return None
        read_start, read_count, write_start, write_count = _FOUR(pdu, 1)
        if not (1 <= read_count <= MAX_READ_WRITE_READ and 1 <= write_count <= MAX_READ_WRITE_WRITE):
            return None
        if pdu[9] != 2 * write_count or len(pdu) != 10 + 2 * write_count:
            return None
        return Request(read_start, read_count, write_start, write_count, pdu[10:])

    def run(self, tables: Tables, request: Request, pdu: bytes) -> bytes:
        tables.holding.write(request.write_start, request.write_count, request.payload)
        data = tables.holding.read(request.read_start, request.read_count)
        return b"%c%c%b" % (self.code, len(data), data)


FUNCTIONS: dict[int, Function] = {
    function.code: function
    for function in (
        ReadBits(FunctionCode.READ_COILS, reads=Table.COILS),
        ReadBits(FunctionCode.READ_DISCRETE_INPUTS, reads=Table.DISCRETE),
        ReadRegisters(FunctionCode.READ_HOLDING_REGISTERS, reads=Table.HOLDING),
        ReadRegisters(FunctionCode.READ_INPUT_REGISTERS, reads=Table.INPUT),
        WriteCoil(FunctionCode.WRITE_SINGLE_COIL, writes=Table.COILS),
        WriteRegister(FunctionCode.WRITE_SINGLE_REGISTER, writes=Table.HOLDING),
        WriteCoils(FunctionCode.WRITE_MULTIPLE_COILS, writes=Table.COILS),
        WriteRegisters(FunctionCode.WRITE_MULTIPLE_REGISTERS, writes=Table.HOLDING),
        MaskWrite(FunctionCode.MASK_WRITE_REGISTER, reads=Table.HOLDING, writes=Table.HOLDING),
        ReadWriteRegisters(FunctionCode.READ_WRITE_MULTIPLE_REGISTERS, reads=Table.HOLDING, writes=Table.HOLDING),
    )
}
"""The functions that are served. Whatever is not here is answered with exception 01."""
