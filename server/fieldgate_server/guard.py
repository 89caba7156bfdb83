"""The guard of one session: every request, from whatever door, is answered in the order that is written here.

1. framing violation: the session closes (session.py); a unit in listen-only mode answers nothing after this step
2. an identity without any right: exception 01
3. no right to this function on this unit, or function unknown: 01
4. unit not there: 0A
5. PDU malformed: 03
6. no right to one of the cells, or a value outside its limit: 01; then: over its rate: 06; if it is a write: the
   server is locked: 01; the trail can't be written: 04
7. address range not there, or not to be written: 02
8. execution; failure 04
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections.abc import Callable, Mapping
from typing import NamedTuple

from fieldgate_core.modbus import ExceptionCode, exception_meaning, exception_pdu
from fieldgate_server.audit import Audit, AuditError, facts_text
from fieldgate_server.catalogue import BY_NAME, name_of
from fieldgate_server.counts import Counts, Step
from fieldgate_server.functions import Kind, Request
from fieldgate_server.grants import STOP
from fieldgate_server.identity import Identity
from fieldgate_server.judgement import judge, unreadable
from fieldgate_server.later import failed, result, settle
from fieldgate_server.lock import Lock
from fieldgate_server.rates import Bucket
from fieldgate_server.rights import Right, Rights, UnitRights
from fieldgate_server.units import Unit, Units

log = logging.getLogger("fieldgate.guard")

_NO_HEAD = bytes(4)
_ENDS = frozenset({"ended", "expired", "closed"})
"""What a session's lines call its end: in its time, or because somebody or something has ended it."""
_RESTART = "8/01"
"""The one function that a unit in listen-only mode still carries out (V1.1b3, 6.8)."""
_REMEMBERED = 256
"""Different reads of one session that are not judged again while its rights stay."""


class _Allowed(NamedTuple):
    """A steady request that these rights allow on cells that are there."""

    rights: Rights
    unit: Unit
    right: Right
    request: Request


class Guard:
    """Answers the requests of one identity, and counts them; `leave` is to be called when its session is over."""

    __slots__ = (
        "_allowed", "_audit", "_holding", "_intended", "_leaving", "_lock", "_over", "_rate", "_units", "_who",
        "asked", "counts", "head", "identity", "leave", "reads", "refusals", "writes",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913
        self,
        identity: Identity,
        units: Units,
        audit: Audit,
        leave: Callable[[], None] = lambda: None,
        lock: Lock | None = None,
        rate: Bucket | None = None,
        counts: Counts | None = None,
    ) -> None:
        self.leave = leave
        self._units = units
        self._audit = audit
        self._lock = lock or Lock()
        self._rate = rate or Bucket()
        self.counts = counts or Counts()
        """The server's counts."""
        self.become(identity)
        self._intended: tuple[str, str | None] | None = None
        self._over = False
        self._leaving: list[Callable[[], None]] = []
        self._holding = False
        self._allowed: dict[tuple[int, bytes], _Allowed] = {}
        self.head = _NO_HEAD
        self.asked = 0
        self.reads = self.writes = self.refusals = 0

    def on_leave(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once, as soon as nothing more is to be carried out for this session."""
        self._leaving.append(callback)

    def become(self, identity: Identity) -> None:
        """Go on with what this session's peer is judged to be now."""
        self.identity = identity
        self._who = identity.who

    def holds(self) -> bool:
        """Tell whether a write waits for its intent to be durable: what its session asks next must not overtake it."""
        return self._holding

    def answer(self, asked: int, pdu: bytes, head: bytes = _NO_HEAD) -> bytes | Future[bytes]:
        """Answer one request to the unit identifier `asked`: the reply PDU, or a future of it; empty: no reply.

        `head` are the four bytes of its frame that a reply repeats.
        """
        self.head, self.asked = head, asked
        allowed = self._allowed.get((asked, pdu))
        if allowed is not None:
            rights, unit, right, request = allowed
            # whatever changes a right, a reload or time, makes other Rights
            if (
                rights is self.identity.rights
                and not unit.device.listen_only
                and (not self._rate.limited or self._rate.take())
            ):
                return self._answered(unit, pdu, self._read(unit, right, request, pdu))
        return self._judged(asked, pdu)

    def _judged(self, asked: int, pdu: bytes) -> bytes | Future[bytes]:
        number = self._units.number[asked]
        unit = self._units.get(number)
        rights = self.identity.rights.units.get(number)
        if unit is None or rights is None:
            return self._elsewhere(number, unit, rights, pdu)
        if unit.device.listen_only:
            return self._unanswered(number, unit, rights, pdu)
        return self._answered(unit, pdu, self._answer(number, unit, rights, pdu))

    def _answered(self, unit: Unit, pdu: bytes, reply: bytes | Future[bytes]) -> bytes | Future[bytes]:
        """Have the unit's device count a reply."""
        if not isinstance(reply, bytes):
            reply.add_done_callback(lambda done: unit.device.answered(result(done) or failed(pdu[0])))
        elif reply:
            unit.device.answered(reply)
        return reply

    def _elsewhere(self, number: int, unit: Unit | None, rights: UnitRights | None, pdu: bytes) -> bytes:
        """Answer a request to a unit that is not there, or on which this identity has no right at all."""
        if unit is not None and unit.device.listen_only:
            unit.device.ignored()
            return b""
        if rights is None or rights.right(pdu) is None:
            return self._no_function(number, pdu)
        return self._fault(Step.UNIT, pdu[0], ExceptionCode.GATEWAY_PATH_UNAVAILABLE)

    def _unanswered(self, number: int, unit: Unit, rights: UnitRights, pdu: bytes) -> bytes:
        """Take a request to a unit in listen-only mode, from which only a restart brings it back."""
        right = rights.right(pdu)
        request = right.function.parse(pdu) if right and right.function.name == _RESTART else None
        if right is None or request is None:
            unit.device.ignored()
        else:
            self._control(number, unit, right, request, pdu)
        return b""

    def _answer(self, number: int, unit: Unit, rights: UnitRights, pdu: bytes) -> bytes | Future[bytes]:
        right = rights.right(pdu)
        if right is None:
            return self._no_function(number, pdu)
        function = right.function
        request = function.parse(pdu)
        if request is None:
            return self._fault(Step.MALFORMED, pdu[0], ExceptionCode.ILLEGAL_DATA_VALUE)
        short = unreadable(unit, rights, right, request)
        if short is not None:
            return self._refuse(Step.CELLS, number, pdu, "no right to read all of these cells", short)
        if right.acts:
            if function.kind is Kind.CONTROL:
                return self._control(number, unit, right, request, pdu)
            return self._write(number, unit, rights, right, request, pdu)
        if self._rate.limited and not self._rate.take():
            return self._busy(number, pdu)
        if not unit.has(function, request):
            self.reads += 1
            return self._fault(Step.ADDRESS, pdu[0], ExceptionCode.ILLEGAL_DATA_ADDRESS)
        if function.steady:
            if len(self._allowed) >= _REMEMBERED:
                self._allowed.clear()
            self._allowed[self.asked, pdu] = _Allowed(self.identity.rights, unit, right, request)
        return self._read(unit, right, request, pdu)

    def _read(self, unit: Unit, right: Right, request: Request, pdu: bytes) -> bytes | Future[bytes]:
        self.reads += 1
        reply = self._perform(unit, right, request, pdu)
        return failed(pdu[0]) if reply is None else reply

    def _write(  # noqa: PLR0913
        self, number: int, unit: Unit, rights: UnitRights, right: Right, request: Request, pdu: bytes
    ) -> bytes | Future[bytes]:
        function = right.function
        there = unit.has(function, request)
        effects = unit.effects(function, request)
        grants, refused = judge(rights, effects, there=there)
        if refused is not None:
            cells, written = refused
            coverage = rights.writable(cells.space)
            limited = coverage and coverage.allows(cells.start, cells.quantity)
            why = "a value outside its limit" if limited else "no right to write all of these cells"
            return self._refuse(Step.CELLS, number, pdu, why, cells, written)
        # the tables that show the same cells are judged, and need not be written down
        named = effects[: len(function.writing(request))]
        facts = {
            "range": ", ".join([str(cells) for cells, _ in named]),
            "name": ", ".join([name for cells, _ in named if (name := unit.names(cells))]) or None,
            "grant": grants,
        }
        new = _hex(b"".join([written for _, written in named if written is not None]))
        return self._act(number, unit if there else None, right, request, pdu, facts, new)

    def _control(self, number: int, unit: Unit, right: Right, request: Request, pdu: bytes) -> bytes | Future[bytes]:
        return self._act(number, unit, right, request, pdu, {"grant": right.grant}, _hex(request.payload))

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
        # a write whose intent has become durable has paid before
        if self._rate.limited and self._intended is None and not self._rate.take():
            return self._busy(number, pdu, facts.get("range"))
        if self._lock.held is not None:
            return self._refuse(Step.LOCKED, number, pdu, "locked", facts.get("range"))
        what = facts_text({"unit": number, "function": function.name, **facts})
        if self._intended == (what, new):
            self._intended = None
        else:
            try:
                durable = self._audit.line(event, f"{self._who}outcome=intent {what} ", new=new)
            except AuditError:
                return self._fault(Step.TRAIL, pdu[0], ExceptionCode.SERVER_DEVICE_FAILURE)
            if durable is not None:
                return self._when_durable(durable, number, pdu, event, what, new)
        self.writes += 1
        old = None
        if unit is None:
            reply: bytes | Future[bytes] | None = self._fault(Step.ADDRESS, pdu[0], ExceptionCode.ILLEGAL_DATA_ADDRESS)
        else:
            old = _hex(unit.held(function, request))
            reply = self._perform(unit, right, request, pdu)
        if not isinstance(reply, Future):
            return self._recorded(event, reply, pdu, what, old, new)
        later: Future[bytes] = asyncio.get_running_loop().create_future()
        reply.add_done_callback(lambda done: settle(later, self._recorded(event, result(done), pdu, what, old, new)))
        return later

    def _when_durable(  # noqa: PLR0913
        self, durable: Future[None], number: int, pdu: bytes, event: str, what: str, new: str | None
    ) -> Future[bytes]:
        """Go on once the intent is durable. What was judged is judged again then, because the world went on."""
        later: Future[bytes] = asyncio.get_running_loop().create_future()
        asked = self.head, self.asked
        self._holding = True

        def go_on(done: Future[None]) -> None:
            self._holding = False
            self.head, self.asked = asked
            unit, rights = self._units.get(number), self.identity.rights.units.get(number)
            if done.cancelled() or done.exception() or self._over or unit is None or rights is None:
                fault = self._fault(Step.TRAIL, pdu[0], ExceptionCode.SERVER_DEVICE_FAILURE)
                settle(later, self._recorded(event, fault, pdu, what, None, new))
                return
            if unit.device.listen_only and name_of(pdu) != _RESTART:
                self._recorded(event, failed(pdu[0]), pdu, what, None, new)
                later.set_result(b"")
                return
            self._intended = what, new
            reply = self._answer(number, unit, rights, pdu)
            if self._intended is not None:
                # something else came of it, which has lines of its own; this one has been refused
                self._intended = None
                refused = reply if isinstance(reply, bytes) and reply and reply[0] & 0x80 else failed(pdu[0])
                self._recorded(event, refused, pdu, what, None, new)
            settle(later, reply)

        durable.add_done_callback(go_on)
        return later

    def _recorded(  # noqa: PLR0913
        self, event: str, reply: bytes | None, pdu: bytes, what: str, old: str | None, new: str | None
    ) -> bytes | Future[bytes]:
        """Write the outcome down; a write whose outcome cannot be written is not acknowledged."""
        outcome = "unknown" if reply is None else "refused" if reply and reply[0] & 0x80 else "done"
        self.counts.acts[event, outcome] += 1
        answer = failed(pdu[0]) if reply is None else reply
        try:
            exception = f"{reply[1]:02X}" if reply and reply[0] & 0x80 else None
            durable = self._audit.line(
                event, f"{self._who}outcome={outcome} {what} ", old=old, new=new, exception=exception
            )
        except AuditError:
            return self._unrecorded(event, what, pdu)
        if durable is None:
            return answer
        later: Future[bytes] = asyncio.get_running_loop().create_future()
        durable.add_done_callback(
            lambda done: settle(
                later, self._unrecorded(event, what, pdu) if done.cancelled() or done.exception() else answer
            )
        )
        return later

    def _unrecorded(self, event: str, what: str, pdu: bytes) -> bytes:
        log.error("the outcome of a %s is not in the trail: %s", event, what)
        return failed(pdu[0])

    def _perform(self, unit: Unit, right: Right, request: Request, pdu: bytes) -> bytes | Future[bytes] | None:
        """Execute; None if the unit failed on the way, and nobody knows how far it came."""
        try:
            return unit.perform(right.function, request, pdu, self)
        except Exception:
            log.exception("unit failed at function %s", right.function.name)
            return None

    def _no_function(self, number: int, pdu: bytes) -> bytes:
        step = Step.FUNCTION if self.identity.rights.units else Step.IDENTITY
        why = "no right to this function on this unit" if name_of(pdu) in BY_NAME else "not a function here"
        return self._refuse(step, number, pdu, why)

    def _busy(self, number: int, pdu: bytes, cells: object = None) -> bytes:
        return self._refuse(Step.RATE, number, pdu, "over its rate", cells, exception=ExceptionCode.SERVER_DEVICE_BUSY)

    def _fault(self, step: Step, code: int, exception: ExceptionCode) -> bytes:
        """Give the reply to a request that is at fault itself; it leaves no line in the trail."""
        self.counts.refused[step] += 1
        return exception_pdu(code, exception)

    def _refuse(  # noqa: PLR0913
        self,
        step: Step,
        number: int,
        pdu: bytes,
        why: str,
        cells: object = None,
        new: bytes | None = None,
        exception: ExceptionCode = ExceptionCode.ILLEGAL_FUNCTION,
    ) -> bytes:
        self.refusals += 1
        self.counts.refused[step] += 1
        try:
            self._line(
                "refused",
                unit=number,
                function=name_of(pdu),
                range=cells,
                new=_hex(new),
                exception=f"{exception:02X}",
                why=self.identity.fault or why,
            )
        except AuditError:
            log.error("a refusal is not in the trail: function %s, %s", name_of(pdu), exception_meaning(exception))
        return exception_pdu(pdu[0] & 0x7F, exception)

    def stop(self, carry_out: Callable[[], None]) -> None:
        """Stop the server if this identity may: `carry_out` is called between intent and outcome."""
        grant = self.identity.rights.manage.get(STOP)
        try:
            if grant is None:
                self.refusals += 1
                self._line("refused", manage=STOP, why=self.identity.fault or "no right to stop the server")
                return
            self._line("control", manage=STOP, outcome="intent", grant=grant)
            carry_out()
            self._line("control", manage=STOP, outcome="done", grant=grant)
        except AuditError:
            log.error("not in the trail: %smanage=%s", self._who, STOP)

    def session(self, state: str, **facts: object) -> None:
        """Write a session's line: opened, or why and with which counts it ends; then nothing more is carried out."""
        if state in _ENDS:
            self._over = True
            leaving, self._leaving = self._leaving, []
            for callback in leaving:
                callback()
        try:
            self._line("session", state=state, **facts)
        except AuditError:
            log.error("a session is not in the trail: %s state=%s", self._who, state)

    def _line(self, event: str, **facts: object) -> None:
        self._audit.line(event, self._who, **facts)


def _hex(data: bytes | None) -> str | None:
    return data.hex() if data else None
