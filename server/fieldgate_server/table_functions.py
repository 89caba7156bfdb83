"""The functions on the four tables (V1.1b3, 6.1 to 6.6, 6.11, 6.12, 6.16 to 6.18)."""

from __future__ import annotations

from struct import Struct

from fieldgate_core.modbus import (
    COIL_OFF,
    COIL_ON,
    MAX_FIFO,
    MAX_READ_BITS,
    MAX_READ_REGISTERS,
    MAX_READ_WRITE_READ,
    MAX_READ_WRITE_WRITE,
    MAX_WRITE_BITS,
    MAX_WRITE_REGISTERS,
    ExceptionCode,
    FunctionCode,
    Table,
    exception_pdu,
)
from fieldgate_server.functions import Function, Kind, Request, Storage

_TWO = Struct(">HH").unpack_from
_FOUR = Struct(">HHHH").unpack_from


class ReadBits(Function):
    """FC1 and FC2 (V1.1b3, 6.1 and 6.2)."""

    steady = True

    def parse(self, pdu: bytes) -> Request | None:
        if len(pdu) != 5:
            return None
        start, count = _TWO(pdu, 1)
        return Request(start, count, 0, 0, b"") if 1 <= count <= MAX_READ_BITS else None

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        table = unit.coils if self.code == 1 else unit.discrete
        data = table.read(request[0], request[1])
        return b"%c%c%b" % (self.code, len(data), data)


class ReadRegisters(Function):
    """FC3 and FC4 (V1.1b3, 6.3 and 6.4)."""

    steady = True

    def parse(self, pdu: bytes) -> Request | None:
        if len(pdu) != 5:
            return None
        start, count = _TWO(pdu, 1)
        return Request(start, count, 0, 0, b"") if 1 <= count <= MAX_READ_REGISTERS else None

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        table = unit.holding if self.code == 3 else unit.input
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

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        unit.coils.write(request.write_start, 1, request.payload)
        return pdu


class WriteRegister(Function):
    """FC6 (V1.1b3, 6.6)."""

    def parse(self, pdu: bytes) -> Request | None:
        if len(pdu) != 5:
            return None
        return Request(0, 0, pdu[1] << 8 | pdu[2], 1, pdu[3:])

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        unit.holding.write(request.write_start, 1, request.payload)
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

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        unit.coils.write(request.write_start, request.write_count, request.payload)
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

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        unit.holding.write(request.write_start, request.write_count, request.payload)
        return pdu[:5]


class MaskWrite(Function):
    """FC22 (V1.1b3, 6.16): (register AND and_mask) OR (or_mask AND NOT and_mask)."""

    def parse(self, pdu: bytes) -> Request | None:
        if len(pdu) != 7:
            return None
        address = pdu[1] << 8 | pdu[2]
        return Request(address, 1, address, 1, pdu[3:])

    def written(self, unit: Storage, request: Request) -> bytes | None:
        if request.write_start >= unit.holding.size:
            return None
        return self._result(unit, request)

    def _result(self, unit: Storage, request: Request) -> bytes:
        current = int.from_bytes(unit.holding.read(request.write_start, 1), "big")
        and_mask, or_mask = int.from_bytes(request.payload[:2], "big"), int.from_bytes(request.payload[2:], "big")
        return ((current & and_mask) | (or_mask & ~and_mask & 0xFFFF)).to_bytes(2, "big")

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        unit.holding.write(request.write_start, 1, self._result(unit, request))
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

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        unit.holding.write(request.write_start, request.write_count, request.payload)
        data = unit.holding.read(request.read_start, request.read_count)
        return b"%c%c%b" % (self.code, len(data), data)


class ReadFifo(Function):
    """FC24 (V1.1b3, 6.18): the register that is pointed at counts the values that follow it."""

    def parse(self, pdu: bytes) -> Request | None:
        # any of the 31 values may be shown, so all of them are judged
        return Request(pdu[1] << 8 | pdu[2], 1 + MAX_FIFO, 0, 0, b"") if len(pdu) == 3 else None

    def there(self, unit: Storage, request: Request) -> bool:
        start = request.read_start
        if start >= unit.holding.size:
            return False
        count = int.from_bytes(unit.holding.read(start, 1), "big")
        return count > MAX_FIFO or start + 1 + count <= unit.holding.size

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        queue = unit.holding.read(request.read_start, 1)
        count = int.from_bytes(queue, "big")
        if count > MAX_FIFO:
            return exception_pdu(self.code, ExceptionCode.ILLEGAL_DATA_VALUE)
        queue += unit.holding.read(request.read_start + 1, count)
        return b"%c%b%b" % (self.code, len(queue).to_bytes(2, "big"), queue)


def _function(
    kind: type[Function], code: FunctionCode, *, reads: Table | None = None, writes: Table | None = None
) -> Function:
    return kind(code, reads, writes, Kind.WRITE if writes else Kind.READ)


TABLE_FUNCTIONS = (
    _function(ReadBits, FunctionCode.READ_COILS, reads=Table.COILS),
    _function(ReadBits, FunctionCode.READ_DISCRETE_INPUTS, reads=Table.DISCRETE),
    _function(ReadRegisters, FunctionCode.READ_HOLDING_REGISTERS, reads=Table.HOLDING),
    _function(ReadRegisters, FunctionCode.READ_INPUT_REGISTERS, reads=Table.INPUT),
    _function(WriteCoil, FunctionCode.WRITE_SINGLE_COIL, writes=Table.COILS),
    _function(WriteRegister, FunctionCode.WRITE_SINGLE_REGISTER, writes=Table.HOLDING),
    _function(WriteCoils, FunctionCode.WRITE_MULTIPLE_COILS, writes=Table.COILS),
    _function(WriteRegisters, FunctionCode.WRITE_MULTIPLE_REGISTERS, writes=Table.HOLDING),
    _function(MaskWrite, FunctionCode.MASK_WRITE_REGISTER, reads=Table.HOLDING, writes=Table.HOLDING),
    _function(
        ReadWriteRegisters, FunctionCode.READ_WRITE_MULTIPLE_REGISTERS, reads=Table.HOLDING, writes=Table.HOLDING
    ),
    _function(ReadFifo, FunctionCode.READ_FIFO_QUEUE, reads=Table.HOLDING),
)
