"""One request and its reply: cells read or written, and an exception reply as an error that says what it means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fieldgate_client.cells import Cells
from fieldgate_core.errors import ExceptionReplyError, OutcomeUnknownError, TunnelError
from fieldgate_core.modbus import ExceptionCode, FunctionCode, Table, exception_meaning

if TYPE_CHECKING:
    from pymodbus.pdu import ModbusPDU

    from fieldgate_client import SiteClient

_HINTS: dict[int, str] = {
    ExceptionCode.ILLEGAL_FUNCTION: "the server does not serve this function, or your role may not do this here",
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


def hint_of(code: int) -> str:
    """Say what to do about an exception code, or nothing."""
    return _HINTS.get(code, "")


async def read(client: SiteClient, cells: Cells) -> list[int]:
    """Read cells with function 1, 2, 3 or 4; bits are 0 or 1.

    Raises ExceptionReplyError, TunnelError for a reply that does not fit, and what `SiteClient` raises.
    """
    ask = {
        Table.COILS: client.read_coils,
        Table.DISCRETE: client.read_discrete_inputs,
        Table.HOLDING: client.read_holding_registers,
        Table.INPUT: client.read_input_registers,
    }[cells.table]
    count = cells.range.count
    reply = await ask(cells.range.start, count=count, device_id=cells.unit)
    _check(reply)
    values = list(map(int, reply.bits if cells.table.is_bits else reply.registers))
    # bits come in whole bytes
    if len(values) != (-(-count // 8) * 8 if cells.table.is_bits else count):
        raise TunnelError(str(client.url), f"the reply holds {len(values)} values, and {count} were asked for")
    return values[:count]


def write_function(cells: Cells) -> FunctionCode:
    """Give the function that writes cells as mbpoll does: 5 or 6 for a single one, 15 or 16 for several."""
    if cells.table.is_bits:
        return FunctionCode.WRITE_SINGLE_COIL if cells.range.count == 1 else FunctionCode.WRITE_MULTIPLE_COILS
    return FunctionCode.WRITE_SINGLE_REGISTER if cells.range.count == 1 else FunctionCode.WRITE_MULTIPLE_REGISTERS


async def write(client: SiteClient, cells: Cells, values: list[int]) -> None:
    """Write cells once, with the function that `write_function` gives.

    Raises ExceptionReplyError, OutcomeUnknownError also for a reply that is not this write's, and what `SiteClient`
    raises.
    """
    start, unit, function = cells.range.start, cells.unit, write_function(cells)
    match function:
        case FunctionCode.WRITE_SINGLE_COIL:
            reply = await client.write_coil(start, bool(values[0]), device_id=unit)
            echo: object = list(map(int, reply.bits))
        case FunctionCode.WRITE_SINGLE_REGISTER:
            reply = await client.write_register(start, values[0], device_id=unit)
            echo = reply.registers
        case FunctionCode.WRITE_MULTIPLE_COILS:
            reply = await client.write_coils(start, list(map(bool, values)), device_id=unit)
            echo = reply.count
        case _:
            reply = await client.write_registers(start, values, device_id=unit)
            echo = reply.count
    if reply.isError() and reply.function_code == function | 0x80 and reply.exception_code not in _REFUSALS:
        code = reply.exception_code
        raise OutcomeUnknownError(function, f"answered with exception {code:02X} ({exception_meaning(code)})")
    if reply.isError() and reply.function_code == function | 0x80:
        _check(reply)
    if (reply.function_code, reply.address, echo) != (function, start, values if len(values) == 1 else len(values)):
        raise OutcomeUnknownError(function, "the reply is not this write's")


def _check(reply: ModbusPDU) -> None:
    if reply.isError():
        function, code = reply.function_code & 0x7F, reply.exception_code
        raise ExceptionReplyError(function, code, exception_meaning(code), hint=hint_of(code))
