"""The guard of one session: every request, from whatever door, is answered in the order that is written here.

1. framing violation: the session closes (session.py); a unit in listen-only mode answers nothing after this step
2. an identity without any right: exception 01
3. no right to this function on this unit, or function unknown: 01
4. unit not there: 0A
5. PDU malformed: 03
6. no right to one of the cells, or a value outside its limit: 01; the trail can't be written and it is a write: 04
7. address range not there, or not to be written: 02
8. execution; failure 04
"""

from __future__ import annotations

import logging
from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from struct import unpack

from fieldgate_core.modbus import ExceptionCode, Table, exception_meaning, exception_pdu
from fieldgate_server.audit import Audit, AuditError, facts_text
from fieldgate_server.functions import Kind, Request
from fieldgate_server.grants import STOP
from fieldgate_server.identity import Identity
from fieldgate_server.layout import Cells, Layout
from fieldgate_server.rights import Right, UnitRights
from fieldgate_server.units import Unit, Units

log = logging.getLogger("fieldgate.guard")

_SEPARATE = Layout.SEPARATE
_NO_VALUE = -1
_NO_HEAD = bytes(4)
_RESTART = "8/01"
"""The one function that a unit in listen-only mode still carries out (V1.1b3, 6.8)."""


class Guard:
    """Answers the requests of one identity, and counts them; `leave` is to be called when its session is over."""

    __slots__ = ("_audit", "_units", "_who", "asked", "head", "identity", "leave", "reads", "refusals", "writes")

    def __init__(
        self, identity: Identity, units: Units, audit: Audit, leave: Callable[[], None] = lambda: None
    ) -> None:
        self.identity = identity
        self.leave = leave
        self._units = units
        self._audit = audit
        who = {"identity": identity.name, "role": identity.role, "door": identity.door, "peer": identity.peer}
        self._who = facts_text(who) + " "
        self.head = _NO_HEAD
        self.asked = 0
        self.reads = 0
        self.writes = 0
        self.refusals = 0

    def answer(self, asked: int, pdu: bytes, head: bytes = _NO_HEAD) -> bytes | Future[bytes]:
        """Answer one request to the unit identifier `asked`: the reply PDU, or a future of it; empty: no reply.

        `head` are the four bytes of its frame that a reply repeats.
        """
        number = self._units.number[asked]
        unit = self._units.get(number)
        rights = self.identity.rights.units.get(number)
        if unit is None or rights is None:
            return self._elsewhere(number, unit, rights, pdu)
        device = unit.device
        if device.listen_only:
            return self._unanswered(number, unit, rights, pdu)
        self.head = head
        self.asked = asked
        reply = self._answer(number, unit, rights, pdu)
        if not isinstance(reply, bytes):
            reply.add_done_callback(lambda done: device.answered(_result(done) or _failed(pdu[0])))
        elif reply:
            device.answered(reply)
        return reply

    def _elsewhere(self, number: int, unit: Unit | None, rights: UnitRights | None, pdu: bytes) -> bytes:
        """Answer a request to a unit that is not there, or on which this identity has no right at all."""
        if unit is not None and unit.device.listen_only:
            unit.device.ignored()
            return b""
        if rights is None or _right(rights, pdu) is None:
            return self._no_function(number, pdu)
        return exception_pdu(pdu[0], ExceptionCode.GATEWAY_PATH_UNAVAILABLE)

    def _unanswered(self, number: int, unit: Unit, rights: UnitRights, pdu: bytes) -> bytes:
        """Take a request to a unit in listen-only mode, from which only a restart brings it back."""
        right = _right(rights, pdu)
        request = right.function.parse(pdu) if right and right.function.name == _RESTART else None
        if right is None or request is None:
            unit.device.ignored()
        else:
            self._control(number, unit, right, request, pdu)
        return b""

    def _answer(self, number: int, unit: Unit, rights: UnitRights, pdu: bytes) -> bytes | Future[bytes]:
        right = rights.functions.get(pdu[0]) or rights.sub_function(pdu)
        if right is None:
            return self._no_function(number, pdu)
        function, coverage, _, acts, _ = right
        request = function.parse(pdu)
        if request is None:
            return exception_pdu(pdu[0], ExceptionCode.ILLEGAL_DATA_VALUE)
        if coverage is not None and unit.layout is _SEPARATE:
            # the same as below, without naming the cells
            if coverage.allows(request[0], request[1]) is None:
                return self._refuse(number, right, pdu[0], "no right to read", unit.reading(function, request)[0])
        else:
            for cells in unit.reading(function, request):
                readable = rights.readable(cells.space)
                if readable is None or readable.allows(cells.start, cells.quantity) is None:
                    return self._refuse(number, right, pdu[0], "no right to read", cells)
        if acts:
            if function.kind is Kind.CONTROL:
                return self._control(number, unit, right, request, pdu)
            return self._write(number, unit, rights, right, request, pdu)
        self.reads += 1
        if not unit.has(function, request):
            return exception_pdu(pdu[0], ExceptionCode.ILLEGAL_DATA_ADDRESS)
        reply = self._perform(unit, right, request, pdu)
        return _failed(pdu[0]) if reply is None else reply

    def _write(  # noqa: PLR0913
        self, number: int, unit: Unit, rights: UnitRights, right: Right, request: Request, pdu: bytes
    ) -> bytes | Future[bytes]:
        function = right.function
        there = unit.has(function, request)
        effects = unit.effects(function, request)
        grants: dict[str, None] = {}
        for cells, written in effects:
            coverage = rights.writable(cells.space)
            values = _judged(cells, written, there=there)
            grant = coverage and coverage.allows_values(cells.start, cells.quantity, values)
            if not grant:
                return self._refuse(number, right, pdu[0], "no right to write this", cells, written)
            grants[grant] = None
        # the tables that show the same cells are judged, and need not be written down
        named = effects[: len(function.writing(request))]
        facts = {
            "range": ", ".join([str(cells) for cells, _ in named]),
            "name": ", ".join([name for cells, _ in named if (name := unit.names(cells))]) or None,
            "grant": "+".join(grants),
        }
        new = _hex(b"".join([written for _, written in named if written is not None]))
        return self._act(number, unit if there else None, right, request, pdu, facts, new)

    def _control(self, number: int, unit: Unit, right: Right, request: Request, pdu: bytes) -> bytes | Future[bytes]:
        return self._act(number, unit, right, request, pdu, {"grant": right.grant}, None)

    def _act(  # noqa: PLR0913
        self,
        number: int,
        unit: Unit | None,
        right: Right,
        request: Request,
        pdu: bytes,
        facts: Mapping[str, object],
        new: str | None,
    ) -> bytes | Future[bytes]:
        """Write or control, with a line in the trail before and after; without a unit the cells are not there."""
        function = right.function
        event = "write" if function.kind is Kind.WRITE else "control"
        what = facts_text({"unit": number, "function": function.name, **facts})
        try:
            self._audit.line(event, f"{self._who}outcome=intent {what} ", new=new)
        except AuditError:
            return _failed(pdu[0])
        self.writes += 1
        old = None
        if unit is None:
            reply: bytes | Future[bytes] | None = exception_pdu(pdu[0], ExceptionCode.ILLEGAL_DATA_ADDRESS)
        else:
            old = _hex(unit.held(function, request))
            reply = self._perform(unit, right, request, pdu)
        if isinstance(reply, Future):
            reply.add_done_callback(lambda done: self._outcome(event, _result(done), what, old, new))
            return reply
        self._outcome(event, reply, what, old, new)
        return _failed(pdu[0]) if reply is None else reply

    def _perform(self, unit: Unit, right: Right, request: Request, pdu: bytes) -> bytes | Future[bytes] | None:
        """Execute; None if the unit failed on the way, and nobody knows how far it came."""
        try:
            return unit.perform(right.function, request, pdu, self)
        except Exception:
            log.exception("unit failed at function %s", right.function.name)
            return None

    def _outcome(self, event: str, reply: bytes | None, what: str, old: str | None, new: str | None) -> None:
        outcome = "unknown" if reply is None else "refused" if reply and reply[0] & 0x80 else "done"
        try:
            self._audit.line(event, f"{self._who}outcome={outcome} {what} ", old=old, new=new)
        except AuditError:
            log.error("a %s was carried out and its outcome is not in the trail: %s", event, what)

    def _no_function(self, number: int, pdu: bytes) -> bytes:
        return self._refuse(number, None, pdu[0], "no right to this function on this unit")

    def _refuse(  # noqa: PLR0913
        self,
        number: int,
        right: Right | None,
        code: int,
        why: str,
        cells: Cells | None = None,
        new: bytes | None = None,
    ) -> bytes:
        self.refusals += 1
        exception = ExceptionCode.ILLEGAL_FUNCTION
        try:
            self._line(
                "refused",
                unit=number,
                function=right.function.name if right else code,
                range=cells,
                new=_hex(new),
                exception=f"{exception:02X}",
                why=self.identity.fault or why,
            )
        except AuditError:
            log.error("a refusal is not in the trail: function %d, %s", code, exception_meaning(exception))
        return exception_pdu(code & 0x7F, exception)

    def may_stop(self) -> bool:
        """Tell whether this identity may stop the server, and write down that it asked."""
        may = STOP in self.identity.rights.manage
        try:
            self._line("control" if may else "refused", manage=STOP, outcome="intent" if may else None)
        except AuditError:
            return False
        return may

    def session(self, state: str, **facts: object) -> None:
        """Write a session's line: opened, or closed with its counts."""
        try:
            self._line("session", state=state, **facts)
        except AuditError:
            log.error("a session is not in the trail: %s state=%s", self._who, state)

    def _line(self, event: str, **facts: object) -> None:
        self._audit.line(event, self._who, **facts)


def _right(rights: UnitRights, pdu: bytes) -> Right | None:
    return rights.functions.get(pdu[0]) or rights.sub_function(pdu)


def _judged(cells: Cells, written: bytes | None, *, there: bool) -> Sequence[int] | None:
    """Give the values that limits are to hold for: those of the registers that result."""
    if isinstance(cells.space, Table) and cells.space.is_bits:
        return None
    if written is not None:
        return unpack(f">{len(written) // 2}H", written)
    # what results can't be known, so it lies within no limit: only a grant without one allows it
    return [_NO_VALUE] * cells.quantity if there else None


def _failed(code: int) -> bytes:
    return exception_pdu(code, ExceptionCode.SERVER_DEVICE_FAILURE)


def _hex(data: bytes | None) -> str | None:
    return data.hex() if data else None


def _result(done: Future[bytes]) -> bytes | None:
    return None if done.cancelled() or done.exception() else done.result()
