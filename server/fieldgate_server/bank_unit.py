"""The unit behind the Python API: a data bank's tables, or user code in front of them."""

from __future__ import annotations

import logging
from asyncio import Future
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from threading import Lock

from fieldgate_core.modbus import MAX_PDU, ExceptionCode, FunctionCode, exception_pdu
from fieldgate_server.data_bank import DataBank
from fieldgate_server.data_handler import DataHandler
from fieldgate_server.device import Device
from fieldgate_server.functions import Function, Request
from fieldgate_server.handling import HANDLED, BadAnswerError, handle
from fieldgate_server.lanes import Lanes
from fieldgate_server.layout import Cells, Layout
from fieldgate_server.memory import MemoryUnit
from fieldgate_server.server_info import MBAP, PDU, ClientInfo, Frame, ServerInfo, SessionData
from fieldgate_server.units import Asker, Effect

log = logging.getLogger("fieldgate.api")

Engine = Callable[[SessionData], object]
"""An external engine: it reads `request` and fills `response.pdu`; what it returns is not used."""


class UserCodeError(Exception):
    """User code failed, which is in the log; nobody knows what it has done before."""


def has_user_code(handler: DataHandler) -> bool:
    """Tell whether the handler or its bank override anything that a request calls."""
    return _overrides(handler, DataHandler) or _overrides(handler.data_bank, DataBank)


def _overrides(thing: object, base: type) -> bool:
    public = [name for name, value in vars(base).items() if callable(value) and not name.startswith("_")]
    return any(name in vars(thing) or getattr(type(thing), name) is not getattr(base, name) for name in public)


class BankUnit(MemoryUnit):
    """The tables of a data bank, served in the event loop while other threads may set them."""

    __slots__ = ("_judged", "_lock")

    def __init__(self, bank: DataBank, device: Device) -> None:
        tables = bank._tables  # noqa: SLF001 - private so that a subclass may have any name
        super().__init__(1, tables.coils, tables.discrete, tables.holding, tables.input, device=device)
        self._lock = tables.lock
        self._judged: bytes | None = None

    def effects(self, function: Function, request: Request) -> list[Effect]:
        with self._lock:
            effects = super().effects(function, request)
        self._judged = effects[0].values
        return effects

    def held(self, function: Function, request: Request) -> bytes | None:
        with self._lock:
            return super().held(function, request)

    def perform(self, function: Function, request: Request, pdu: bytes, asker: Asker) -> bytes:
        with self._lock:
            if pdu[0] == FunctionCode.MASK_WRITE_REGISTER and function.written(self, request) != self._judged:
                # another thread has set the register meanwhile, so what would result has not been judged
                return exception_pdu(pdu[0], ExceptionCode.SERVER_DEVICE_BUSY)
            if pdu[0] == FunctionCode.READ_FIFO_QUEUE and not self.has(function, request):
                # another thread has made the queue longer meanwhile
                return exception_pdu(pdu[0], ExceptionCode.ILLEGAL_DATA_ADDRESS)
            return super().perform(function, request, pdu, asker)


class UserUnit:
    """User code in front of a bank's tables: a handler for the functions it knows, or an engine for all of them.

    Its code runs on worker threads, the requests of one session in their order. What it raises, or answers that is no
    reply, becomes exception 04 and a line in the log; nobody knows then how far it came. What has not begun when its
    session ends does not run.
    """

    layout = Layout.SEPARATE

    def __init__(  # noqa: PLR0913
        self, tables: BankUnit, handler: DataHandler, engine: Engine | None, lanes: Lanes, host: str, port: int
    ) -> None:
        self._tables = tables
        self._handler = handler
        self._engine = engine
        self._lanes = lanes
        self._host = host
        self._masking = Lock()
        self.device = tables.device
        self.port = port
        """Where the server listens, for user code to know; a port of 0 is replaced once it is known."""

    def reading(self, function: Function, request: Request) -> tuple[Cells, ...]:
        """Name the cells that the request reads."""
        return self._tables.reading(function, request)

    def effects(self, function: Function, request: Request) -> list[Effect]:
        """Say what the request asks to be written; the result of function 22 is not known before user code reads."""
        if function.code == FunctionCode.MASK_WRITE_REGISTER:
            return [Effect(cells, None) for cells in function.writing(request)]
        return self._tables.effects(function, request)

    def has(self, function: Function, request: Request) -> bool:
        """Leave it to the user's code, where that answers."""
        return self._is_users(function) or self._tables.has(function, request)

    def held(self, function: Function, request: Request) -> bytes | None:
        """Give nothing where the user's code answers: only that knows its values."""
        return None if self._is_users(function) else self._tables.held(function, request)

    def names(self, cells: Cells) -> str | None:
        """Give no name."""
        return self._tables.names(cells)

    def perform(self, function: Function, request: Request, pdu: bytes, asker: Asker) -> bytes | Future[bytes]:
        """Have the user's code answer on a worker thread, after the session's earlier requests."""
        if not self._is_users(function):
            return self._tables.perform(function, request, pdu, asker)
        call = partial(self._answer, request, pdu, self._info(pdu, asker))
        return self._lanes.submit(asker, call, exception_pdu(pdu[0], ExceptionCode.SERVER_DEVICE_BUSY))

    def _is_users(self, function: Function) -> bool:
        return self._engine is not None or function.code in HANDLED

    def _info(self, pdu: bytes, asker: Asker) -> ServerInfo:
        identity = asker.identity
        address, _, port = identity.peer.rpartition(":")
        transaction_id = int.from_bytes(asker.head[:2], "big")
        return ServerInfo(
            host=self._host,
            port=self.port,
            client=ClientInfo(address.strip("[]"), int(port)),
            recv_frame=Frame(MBAP(transaction_id, 0, 1 + len(pdu), asker.asked), PDU(pdu)),
            identity=identity.name,
            role=identity.role,
            door=identity.door,
        )

    def _answer(self, request: Request, pdu: bytes, info: ServerInfo) -> bytes:
        """Call the user's code. Raises UserCodeError if it fails."""
        try:
            if self._engine is not None:
                return _by_engine(self._engine, request, pdu, SessionData(info))
            # two clients that change different bits of a register must not undo each other
            with self._masking if pdu[0] == FunctionCode.MASK_WRITE_REGISTER else nullcontext():
                return handle(self._handler, request, pdu, info)
        except DataHandler.ModbusExcept as refused:
            if isinstance(refused.exp_code, int) and 1 <= refused.exp_code <= 255:
                return exception_pdu(pdu[0], refused.exp_code)
            log.error("function %d: user code answered exception code %r, not 1 to 255", pdu[0], refused.exp_code)
        except BadAnswerError as fault:
            log.error("function %d: user code %s", pdu[0], fault)
        except BaseException:  # not even SystemExit may end a worker
            log.exception("function %d: user code failed", pdu[0])
        raise UserCodeError(f"function {pdu[0]}")


_BITS_READ = frozenset({FunctionCode.READ_COILS, FunctionCode.READ_DISCRETE_INPUTS})
_REGISTERS_READ = frozenset(
    {
        FunctionCode.READ_HOLDING_REGISTERS,
        FunctionCode.READ_INPUT_REGISTERS,
        FunctionCode.READ_WRITE_MULTIPLE_REGISTERS,
    }
)
_ECHOES = {
    FunctionCode.WRITE_SINGLE_COIL: 5,
    FunctionCode.WRITE_SINGLE_REGISTER: 5,
    FunctionCode.WRITE_MULTIPLE_COILS: 5,
    FunctionCode.WRITE_MULTIPLE_REGISTERS: 5,
    FunctionCode.MASK_WRITE_REGISTER: 7,
}
"""Functions whose reply repeats so many bytes of the request."""


def _answers(request: Request, pdu: bytes, reply: bytes) -> bool:
    """Tell whether a reply that is no exception has the form that its request asks for, where that is known."""
    code = pdu[0]
    if code in _ECHOES:
        return reply == pdu[: _ECHOES[FunctionCode(code)]]
    if code in _BITS_READ:
        size = (request.read_count + 7) >> 3
    elif code in _REGISTERS_READ:
        size = 2 * request.read_count
    else:
        return True
    return len(reply) == 2 + size and reply[1] == size


def _by_engine(engine: Engine, request: Request, pdu: bytes, session_data: SessionData) -> bytes:
    """Have an engine fill in a reply. Raises BadAnswerError if it is none to this request."""
    engine(session_data)
    reply: object = session_data.response.pdu.raw
    if not isinstance(reply, bytes) or not 1 <= len(reply) <= MAX_PDU:
        raise BadAnswerError(f"left {reply!r:.100} as response PDU, not 1 to {MAX_PDU} bytes")
    if reply[0] != pdu[0] and not (reply[0] == pdu[0] | 0x80 and len(reply) == 2):
        raise BadAnswerError(f"left a response PDU of function {reply[0]}")
    if reply[0] == pdu[0] and not _answers(request, pdu, reply):
        raise BadAnswerError(f"left a response PDU of {len(reply)} bytes that does not answer its request")
    return reply
