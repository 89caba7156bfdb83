"""Requests for cells as PDUs, and what their replies say: values, done, refused or unknown; pure."""

from __future__ import annotations

from collections.abc import Sequence

from fieldgate_core.errors import ExceptionReplyError, OutcomeUnknownError
from fieldgate_core.modbus import (
    COIL_OFF,
    COIL_ON,
    MAX_READ_BITS,
    MAX_READ_REGISTERS,
    MAX_WRITE_BITS,
    MAX_WRITE_REGISTERS,
    WRITE_FUNCTIONS,
    AddressRange,
    ExceptionCode,
    FunctionCode,
    Table,
    exception_meaning,
)

READ_FUNCTIONS = {
    Table.COILS: FunctionCode.READ_COILS,
    Table.DISCRETE: FunctionCode.READ_DISCRETE_INPUTS,
    Table.HOLDING: FunctionCode.READ_HOLDING_REGISTERS,
    Table.INPUT: FunctionCode.READ_INPUT_REGISTERS,
}
_HINTS: dict[int, str] = {
    ExceptionCode.ILLEGAL_FUNCTION: "not served there, not allowed to your role, or the server is locked",
    ExceptionCode.ILLEGAL_DATA_ADDRESS: "the unit has no such cells; references count from 1, with -0 from 0",
    ExceptionCode.ILLEGAL_DATA_VALUE: "the device does not take this count or value; does it allow so many at once?",
    ExceptionCode.SERVER_DEVICE_FAILURE: "the device failed while it did this; read back what it holds, see its log",
    ExceptionCode.ACKNOWLEDGE: "the device is still at it: read back later what it holds",
    ExceptionCode.SERVER_DEVICE_BUSY: "the device is busy, or you ask too often: try again later",
    ExceptionCode.MEMORY_PARITY_ERROR: "the device's memory is damaged there",
    ExceptionCode.GATEWAY_PATH_UNAVAILABLE: "there is no such unit at this site: is -a right?",
    ExceptionCode.GATEWAY_TARGET_FAILED: "the unit's device does not answer: is it on, and its line whole?",
}
# a write that was answered so was refused before anything changed; any other exception leaves it open
_REFUSALS = frozenset(
    {
        ExceptionCode.ILLEGAL_FUNCTION,
        ExceptionCode.ILLEGAL_DATA_ADDRESS,
        ExceptionCode.ILLEGAL_DATA_VALUE,
        ExceptionCode.SERVER_DEVICE_BUSY,
        ExceptionCode.GATEWAY_PATH_UNAVAILABLE,
    }
)


class MalformedReplyError(Exception):
    """A reply's content does not fit its request. Its text says how."""


def pieces(table: Table, address: int, count: int) -> list[AddressRange]:
    """Cut a range into the ranges that one request each reads: 2000 bits or 125 registers. Raises ValueError."""
    whole = AddressRange(address, count)
    most = MAX_READ_BITS if table.is_bits else MAX_READ_REGISTERS
    return [AddressRange(at, min(most, whole.last + 1 - at)) for at in range(address, address + count, most)]


def read(table: Table, cells: AddressRange) -> bytes:
    """Build the request that reads cells (function 1, 2, 3 or 4)."""
    return bytes((READ_FUNCTIONS[table],)) + cells.start.to_bytes(2) + cells.count.to_bytes(2)


def values(table: Table, count: int, reply: bytes) -> list[int]:
    """Take the values out of the reply to `read`: bits are 0 or 1, registers 0 to 65535.

    Raises ExceptionReplyError, and MalformedReplyError for a reply that holds more or fewer.
    """
    check(reply)
    data = reply[2:]
    size = -(-count // 8) if table.is_bits else 2 * count
    if len(reply) < 2 or reply[1] != len(data) or len(data) != size:
        held = 8 * len(data) if table.is_bits else len(data) // 2
        raise MalformedReplyError(f"the reply holds {held} values, and {count} were asked for")
    if table.is_bits:
        return [data[at >> 3] >> (at & 7) & 1 for at in range(count)]
    return [int.from_bytes(data[at : at + 2]) for at in range(0, size, 2)]


def write_function(table: Table, count: int) -> FunctionCode:
    """Give the function that writes so many cells as mbpoll does: 5 or 6 for a single one, 15 or 16 for several."""
    if table.is_bits:
        return FunctionCode.WRITE_SINGLE_COIL if count == 1 else FunctionCode.WRITE_MULTIPLE_COILS
    return FunctionCode.WRITE_SINGLE_REGISTER if count == 1 else FunctionCode.WRITE_MULTIPLE_REGISTERS


def write(table: Table, address: int, cells: Sequence[int]) -> bytes:
    """Build the one request that writes values to coils (0 or 1) or holding registers (0 to 65535).

    Raises ValueError for another table, for values that do not fit and for more than one request carries.
    """
    if table not in {Table.COILS, Table.HOLDING}:
        raise ValueError(f"cells of the table {table} are read only")
    top, most = (1, MAX_WRITE_BITS) if table.is_bits else (0xFFFF, MAX_WRITE_REGISTERS)
    if not 1 <= len(cells) <= most:
        raise ValueError(f"one request writes 1 to {most} cells of {table}, not {len(cells)}")
    for value in cells:
        if not 0 <= value <= top:
            raise ValueError(f"a value for {table} is 0 to {top}, not {value}")
    where = AddressRange(address, len(cells))
    function = write_function(table, len(cells))
    head = bytes((function,)) + where.start.to_bytes(2)
    match function:
        case FunctionCode.WRITE_SINGLE_COIL:
            return head + (COIL_ON if cells[0] else COIL_OFF).to_bytes(2)
        case FunctionCode.WRITE_SINGLE_REGISTER:
            return head + cells[0].to_bytes(2)
        case FunctionCode.WRITE_MULTIPLE_COILS:
            data = sum(bool(bit) << at for at, bit in enumerate(cells)).to_bytes(-(-len(cells) // 8), "little")
        case _:
            data = b"".join(value.to_bytes(2) for value in cells)
    return head + where.count.to_bytes(2) + bytes((len(data),)) + data


def check_written(request: bytes, reply: bytes) -> None:
    """Check the reply to `write`. Raises ExceptionReplyError if it was refused, OutcomeUnknownError in doubt."""
    check(reply)
    # functions 5, 6, 15 and 16 are echoed: address, and value or count
    if reply != request[:5]:
        raise OutcomeUnknownError(request[0], "the reply is not this write's")


def check(reply: bytes) -> None:
    """Check a reply that the pipeline has matched.

    Raises ExceptionReplyError for an exception; where that does not say that a write was refused, OutcomeUnknownError.
    """
    if not reply[0] & 0x80:
        return
    function, code = reply[0] & 0x7F, reply[1]
    meaning = exception_meaning(code)
    if function in WRITE_FUNCTIONS and code not in _REFUSALS:
        raise OutcomeUnknownError(function, f"answered with exception {code:02X} ({meaning})")
    raise ExceptionReplyError(function, code, meaning, hint=_HINTS.get(code, ""))
