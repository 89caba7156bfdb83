"""The guard of one session: every request, from whatever door, is answered in the order that is written here.

1. framing violation: the session closes (session.py)
2. an identity without any right: exception 01
3. no right to this function on this unit, or function unknown: 01
4. unit not there: 0A
5. PDU malformed: 03
6. no right to one of the cells, or a value outside its limit: 01; the trail can't be written and it is a write: 04
7. address range not there: 02
8. execution; failure 04
"""

from __future__ import annotations

import logging
from asyncio import Future
from collections.abc import Callable, Sequence
from struct import unpack

from fieldgate_core.modbus import AddressRange, ExceptionCode, Table, exception_meaning, exception_pdu
from fieldgate_server.audit import Audit, AuditError, facts_text
from fieldgate_server.coverage import Coverage
from fieldgate_server.functions import Function, Request
from fieldgate_server.identity import Identity
from fieldgate_server.units import Unit, Units

log = logging.getLogger("fieldgate.guard")


_NO_VALUE = -1


class Guard:
    """Answers the requests of one identity, and counts them; `leave` is to be called when its session is over."""

    __slots__ = ("_audit", "_units", "_who", "identity", "leave", "reads", "refusals", "writes")

    def __init__(
        self, identity: Identity, units: Units, audit: Audit, leave: Callable[[], None] = lambda: None
    ) -> None:
        self.identity = identity
        self.leave = leave
        self._units = units
        self._audit = audit
        who = {"identity": identity.name, "role": identity.role, "door": identity.door, "peer": identity.peer}
        self._who = facts_text(who) + " "
        self.reads = 0
        self.writes = 0
        self.refusals = 0

    def answer(self, asked: int, pdu: bytes) -> bytes | Future[bytes]:
        """Answer one request to the unit identifier `asked`: the reply PDU, or a future of it."""
        code = pdu[0]
        number = self._units.number[asked]
        rights = self.identity.rights.units.get(number)
        function = rights.functions.get(code) if rights is not None else None
        if rights is None or function is None:
            return self._refuse(number, code, ExceptionCode.ILLEGAL_FUNCTION, "no right to this function on this unit")
        unit = self._units.get(number)
        if unit is None:
            return exception_pdu(code, ExceptionCode.GATEWAY_PATH_UNAVAILABLE)
        request = function.parse(pdu)
        if request is None:
            return exception_pdu(code, ExceptionCode.ILLEGAL_DATA_VALUE)
        if function.reads is not None:
            grant = rights.read[function.reads].allows(request[0], request[1])
            if grant is None:
                what = _cells(function.reads, request[0], request[1])
                return self._refuse(number, code, ExceptionCode.ILLEGAL_FUNCTION, "no right to read", what)
        if function.writes is None:
            self.reads += 1
            if not unit.has(function, request):
                return exception_pdu(code, ExceptionCode.ILLEGAL_DATA_ADDRESS)
            reply = self._perform(unit, function, request, pdu)
            return reply or exception_pdu(code, ExceptionCode.SERVER_DEVICE_FAILURE)
        return self._write(number, unit, rights.write[function.writes], function, request, pdu)

    def _write(  # noqa: PLR0913
        self, number: int, unit: Unit, coverage: Coverage, function: Function, request: Request, pdu: bytes
    ) -> bytes | Future[bytes]:
        code, table = pdu[0], function.writes or Table.HOLDING
        there = unit.has(function, request)
        written = unit.written(function, request)
        values: Sequence[int] | None = None
        if written is not None and not table.is_bits:
            # limits hold for the register that results
            values = _registers(written)
        elif written is None and there:
            # what results can't be known, so it lies within no limit: only a grant without one allows it
            values = [_NO_VALUE] * request.write_count
        grant = coverage.allows_values(request.write_start, request.write_count, values)
        what = _cells(table, request.write_start, request.write_count)
        if grant is None:
            return self._refuse(number, code, ExceptionCode.ILLEGAL_FUNCTION, "no right to write this", what, written)
        facts: dict[str, object] = {"unit": number, "function": code, "range": what, "grant": grant}
        try:
            self._line("write", outcome="intent", new=_hex(written), **facts)
        except AuditError:
            return exception_pdu(code, ExceptionCode.SERVER_DEVICE_FAILURE)
        self.writes += 1
        if not there:
            reply: bytes | Future[bytes] | None = exception_pdu(code, ExceptionCode.ILLEGAL_DATA_ADDRESS)
        else:
            facts |= {"old": _hex(unit.held(function, request)), "new": _hex(written)}
            reply = self._perform(unit, function, request, pdu)
        if isinstance(reply, Future):
            reply.add_done_callback(lambda done: self._outcome(_result(done), facts))
            return reply
        self._outcome(reply, facts)
        return reply or exception_pdu(code, ExceptionCode.SERVER_DEVICE_FAILURE)

    def _perform(self, unit: Unit, function: Function, request: Request, pdu: bytes) -> bytes | Future[bytes] | None:
        """Execute; None if the unit failed on the way, and nobody knows how far it came."""
        try:
            return unit.perform(function, request, pdu)
        except Exception:
            log.exception("unit failed at function %d", pdu[0])
            return None

    def _outcome(self, reply: bytes | None, facts: dict[str, object]) -> None:
        outcome = "unknown" if reply is None else "refused" if reply[0] & 0x80 else "done"
        try:
            self._line("write", outcome=outcome, **facts)
        except AuditError:
            log.error("a write was carried out and its outcome is not in the trail: %s", facts)

    def _refuse(  # noqa: PLR0913
        self, number: int, code: int, exception: ExceptionCode, why: str, what: str = "", new: bytes | None = None
    ) -> bytes:
        self.refusals += 1
        try:
            self._line(
                "refused",
                unit=number,
                function=code,
                range=what or None,
                new=_hex(new),
                exception=f"{exception:02X}",
                why=self.identity.fault or why,
            )
        except AuditError:
            log.error("a refusal is not in the trail: function %d, %s", code, exception_meaning(exception))
        return exception_pdu(code & 0x7F, exception)

    def session(self, state: str, **facts: object) -> None:
        """Write a session's line: opened, or closed with its counts."""
        try:
            self._line("session", state=state, **facts)
        except AuditError:
            log.error("a session is not in the trail: %s state=%s", self._who, state)

    def _line(self, event: str, **facts: object) -> None:
        self._audit.line(event, self._who, **facts)


def _cells(table: Table, start: int, count: int) -> str:
    try:
        return f"{table} {AddressRange(start, count)}"
    except ValueError:
        return f"{table} {start}-{start + count - 1}"


def _registers(data: bytes) -> Sequence[int]:
    return unpack(f">{len(data) // 2}H", data)


def _hex(data: bytes | None) -> str | None:
    return None if data is None else data.hex()


def _result(done: Future[bytes]) -> bytes | None:
    return None if done.cancelled() or done.exception() else done.result()
