"""A request's way through the methods of a data handler, and the reply that their answers make."""

from __future__ import annotations

from fieldgate_core.modbus import MAX_FIFO, FunctionCode
from fieldgate_server.constants import EXP_DATA_VALUE
from fieldgate_server.data_bank import pack_bits, pack_words, unpack_bits, unpack_words
from fieldgate_server.data_handler import DataHandler
from fieldgate_server.functions import Request
from fieldgate_server.server_info import ServerInfo

HANDLED = frozenset({1, 2, 3, 4, 5, 6, 15, 16, 22, 23, 24})
"""The function codes that a data handler answers."""


class BadAnswerError(Exception):
    """User code answered what cannot be sent, so nobody knows what it has done; the text says what."""


def handle(handler: DataHandler, request: Request, pdu: bytes, info: ServerInfo) -> bytes:  # noqa: PLR0911
    """Carry out a request of one of the `HANDLED` codes and give the reply PDU.

    Raises DataHandler.ModbusExcept for a method's exception code, BadAnswerError for an answer that is none, and
    whatever else a method raises. Function 23 writes before it reads (V1.1b3, 6.17), and has read once before that:
    a read that is refused is found before anything is written.
    """
    code = FunctionCode(pdu[0])
    read_start, read_count, write_start, write_count = request[:4]
    match code:
        case FunctionCode.READ_COILS:
            return _sized(code, _bits(handler.read_coils(read_start, read_count, info), read_count))
        case FunctionCode.READ_DISCRETE_INPUTS:
            return _sized(code, _bits(handler.read_d_inputs(read_start, read_count, info), read_count))
        case FunctionCode.READ_HOLDING_REGISTERS:
            return _sized(code, _words(handler.read_h_regs(read_start, read_count, info), read_count))
        case FunctionCode.READ_INPUT_REGISTERS:
            return _sized(code, _words(handler.read_i_regs(read_start, read_count, info), read_count))
        case FunctionCode.WRITE_SINGLE_COIL | FunctionCode.WRITE_MULTIPLE_COILS:
            _check(handler.write_coils(write_start, unpack_bits(request.payload, write_count), info))
            return pdu[:5]
        case FunctionCode.WRITE_SINGLE_REGISTER | FunctionCode.WRITE_MULTIPLE_REGISTERS:
            _check(handler.write_h_regs(write_start, unpack_words(request.payload), info))
            return pdu[:5]
        case FunctionCode.MASK_WRITE_REGISTER:
            held = int.from_bytes(_words(handler.read_h_regs(write_start, 1, info), 1), "big")
            and_mask, or_mask = unpack_words(request.payload)
            _check(handler.write_h_regs(write_start, [(held & and_mask) | (or_mask & ~and_mask & 0xFFFF)], info))
            return pdu
        case FunctionCode.READ_WRITE_MULTIPLE_REGISTERS:
            _check(handler.read_h_regs(read_start, read_count, info))
            _check(handler.write_h_regs(write_start, unpack_words(request.payload), info))
            try:
                return _sized(code, _words(handler.read_h_regs(read_start, read_count, info), read_count))
            except DataHandler.ModbusExcept as refused:
                raise BadAnswerError(f"refused to read ({refused.exp_code!r}) what it gave before the write") from None
        case FunctionCode.READ_FIFO_QUEUE:
            queue = _words(handler.read_h_regs(read_start, 1, info), 1)
            count = int.from_bytes(queue, "big")
            if count > MAX_FIFO:
                raise DataHandler.ModbusExcept(EXP_DATA_VALUE)
            queue += _words(handler.read_h_regs(read_start + 1, count, info), count) if count else b""
            return b"%c%b%b" % (code, len(queue).to_bytes(2, "big"), queue)
    raise BadAnswerError(f"a data handler has no method for function {code}")


def _sized(code: int, data: bytes) -> bytes:
    return b"%c%c%b" % (code, len(data), data)


def _check(result: object) -> DataHandler.Return:
    """Pass a result that is ok. Raises ModbusExcept for one that is not, BadAnswerError for anything else."""
    if not isinstance(result, DataHandler.Return):
        raise BadAnswerError(f"answered {result!r:.100}, not a DataHandler.Return")
    if not result.ok():
        raise DataHandler.ModbusExcept(result.exp_code)
    return result


def _bits(result: object, count: int) -> bytes:
    data = _counted(result, count)
    if any(value not in {0, 1} for value in data):
        raise BadAnswerError(f"answered bits that are neither True nor False: {data!r:.100}")
    return pack_bits(data)


def _words(result: object, count: int) -> bytes:
    data = _counted(result, count)
    packed = pack_words(data)
    if packed is None:
        raise BadAnswerError(f"answered registers that are no integers of 0 to 65535: {data!r:.100}")
    return packed


def _counted(result: object, count: int) -> list[int]:
    data = _check(result).data
    if data is None or len(data) != count:
        raise BadAnswerError(f"answered {'no' if data is None else len(data)} values where {count} were asked for")
    return list(data)
