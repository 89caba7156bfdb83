"""The functions that show and control a unit's communications: 7, 8, 11 and 12 (V1.1b3, 6.7 to 6.10); pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from fieldgate_core.modbus import FunctionCode, Table
from fieldgate_server.device import Device
from fieldgate_server.functions import Function, Kind, Request, Storage
from fieldgate_server.layout import Cells

NOTHING = Request(0, 0, 0, 0, b"")
_OUTPUTS = 8
_RESTART_AND_CLEAR_LOG = 0xFF00
_CODE = FunctionCode.DIAGNOSTICS


class ExceptionStatus(Function):
    """FC7: eight outputs, which are coils of the unit that the settings name; without them all are off."""

    def parse(self, pdu: bytes) -> Request | None:
        return NOTHING if len(pdu) == 1 else None

    def reading(self, unit: Storage, request: Request) -> tuple[Cells, ...]:
        first = unit.device.exception_status
        return () if first is None else (Cells(Table.COILS, first, _OUTPUTS),)

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        first = unit.device.exception_status
        return b"%c%b" % (self.code, b"\0" if first is None else unit.coils.read(first, _OUTPUTS))


class EventCounter(Function):
    """FC11: status (a memory unit is never busy) and the count of completed requests."""

    def parse(self, pdu: bytes) -> Request | None:
        return NOTHING if len(pdu) == 1 else None

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        count = _word(unit.device.completed)
        unit.device.polls += 1
        return b"%c\0\0%b" % (self.code, count)


class EventLog(Function):
    """FC12: as FC11, with the count of messages and the newest events."""

    def parse(self, pdu: bytes) -> Request | None:
        return NOTHING if len(pdu) == 1 else None

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        device = unit.device
        body = b"\0\0" + _word(device.completed) + _word(device.received + 1) + device.event_log()
        device.polls += 1
        return b"%c%c%b" % (self.code, len(body), body)


@dataclass(frozen=True)
class Diagnostic(Function):
    """One sub-function of FC8; the request carries a data field of one word, which `words` may have."""

    words: frozenset[int] = frozenset({0})

    def parse(self, pdu: bytes) -> Request | None:
        if len(pdu) != 5:
            return None
        return NOTHING._replace(payload=pdu[3:]) if (pdu[3] << 8 | pdu[4]) in self.words else None


class QueryData(Diagnostic):
    """FC8/00: the data, any number of words, comes back."""

    def parse(self, pdu: bytes) -> Request | None:
        return NOTHING if len(pdu) >= 5 and len(pdu) % 2 else None

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        return pdu


class Restart(Diagnostic):
    """FC8/01: restart communications; FF00 clears the event log too. It leads out of listen-only mode unanswered."""

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        device = unit.device
        clear_log = request.payload == _word(_RESTART_AND_CLEAR_LOG)
        if device.listen_only:
            device.ignored()
            device.restart(clear_log=clear_log)
            return b""
        # first the reply, then the restart
        device.restarting = clear_log
        return pdu


class Delimiter(Diagnostic):
    """FC8/03: the character that ends an ASCII message; kept, though no ASCII line is served."""

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        unit.device.delimiter = request.payload[0]
        return pdu


class ListenOnly(Diagnostic):
    """FC8/04: nothing is answered any more, this request included, until a restart."""

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        unit.device.listen()
        return b""


class Clear(Diagnostic):
    """FC8/0A: counters and diagnostic register."""

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        unit.device.clear(answered=True)
        return pdu


class ClearOverrun(Diagnostic):
    """FC8/14: the overrun counter, which no TCP connection ever raises."""

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        return pdu


@dataclass(frozen=True)
class Counter(Diagnostic):
    """A sub-function of FC8 that shows one word of the unit's state."""

    shows: Callable[[Device], int] = Device.diagnostic_register

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        return pdu[:3] + _word(self.shows(unit.device))


def _word(value: int) -> bytes:
    """Give a counter's 16 bits; it wraps."""
    return (value & 0xFFFF).to_bytes(2, "big")


def _sub(kind: type[Diagnostic], sub: int, words: tuple[int, ...] | range = (0,)) -> Diagnostic:
    return kind(_CODE, kind=Kind.CONTROL, sub=sub, words=frozenset(words))


def _counter(sub: int, shows: Callable[[Device], int]) -> Counter:
    return Counter(_CODE, kind=Kind.DIAGNOSE, sub=sub, shows=shows)


DIAGNOSTICS: tuple[Function, ...] = (
    ExceptionStatus(FunctionCode.READ_EXCEPTION_STATUS, kind=Kind.DIAGNOSE),
    EventCounter(FunctionCode.GET_COMM_EVENT_COUNTER, kind=Kind.DIAGNOSE),
    EventLog(FunctionCode.GET_COMM_EVENT_LOG, kind=Kind.DIAGNOSE),
    replace(_sub(QueryData, 0x00), kind=Kind.DIAGNOSE),
    _sub(Restart, 0x01, (0, _RESTART_AND_CLEAR_LOG)),
    _counter(0x02, Device.diagnostic_register),
    _sub(Delimiter, 0x03, range(0, 0x10000, 0x100)),
    _sub(ListenOnly, 0x04),
    _sub(Clear, 0x0A),
    _counter(0x0B, lambda device: device.received + 1),
    _counter(0x0C, lambda device: 0),
    _counter(0x0D, lambda device: device.exceptions),
    _counter(0x0E, lambda device: device.received - device.unanswered + 1),
    _counter(0x0F, lambda device: device.unanswered),
    _counter(0x10, lambda device: device.naks),
    _counter(0x11, lambda device: device.busy),
    _counter(0x12, lambda device: 0),
    _sub(ClearOverrun, 0x14),
)
