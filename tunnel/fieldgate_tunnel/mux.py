"""Many askers on one Modbus/TCP connection, without I/O: transaction ids re-mapped, replies given back to who asked.

A write is given to the connection once and never again; who asked learns that it was answered, was never sent, or was
sent and never answered. `in_flight` bounds what is on the way, QUEUE what one asker may have waiting, and askers take
turns.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from enum import Enum
from typing import Protocol

from fieldgate_core.adu import Framer, reply
from fieldgate_core.modbus import WRITE_FUNCTIONS, exception_pdu

QUEUE = 16
"""Requests of one asker that may wait or be on the way; beyond it, reading from that asker pauses."""
IN_FLIGHT = 16
ABANDONED = 4096
"""Transaction ids of requests without a reply that are remembered, so that none is used again too soon."""
_IDS = 65536


class Failure(Enum):
    """Why a request has no reply."""

    NOT_SENT = "not sent"
    NO_REPLY = "sent, and not answered"


class Asker(Protocol):
    """Who asks; is told each request's end exactly once, unless it has left."""

    def answered(self, request: Request, answer: bytes | Failure) -> None:
        """Take the PDU of the reply, or why there is none."""


class Request:
    """One request: `tag` is the asker's own, `deadline` and `sent_at` in monotonic seconds."""

    __slots__ = ("asker", "deadline", "pdu", "sent_at", "tag", "unit")

    def __init__(self, asker: Asker | None, tag: bytes, unit: int, pdu: bytes, deadline: float) -> None:
        self.asker = asker
        self.tag = tag
        self.unit = unit
        self.pdu = pdu
        self.deadline = deadline
        self.sent_at: float | None = None

    @property
    def writes(self) -> bool:
        """Whether it may change something."""
        return self.pdu[0] in WRITE_FUNCTIONS


Answer = tuple[Request, bytes | Failure]


class Mux:
    """The requests of all askers. A connection's life is `connected` to `lost`; requests may wait beyond it."""

    def __init__(self, in_flight: int = IN_FLIGHT) -> None:
        self._most = in_flight
        self._queues: OrderedDict[Asker, deque[Request]] = OrderedDict()
        """Askers with requests that wait; the first one's turn is next."""
        self._owed: dict[Asker, int] = {}
        """Requests of an asker that wait or are on the way."""
        self._on_way: dict[int, Request] = {}
        self._abandoned: OrderedDict[int, None] = OrderedDict()
        self._late: list[Request] = []
        """Requests whose turn came after their deadline: not sent, and not ended yet."""
        self._next = 0
        self._framer = Framer()
        self.fault: str | None = None
        """Why nothing that the connection says can be trusted any more."""
        self.discarded = 0
        """Replies that nobody waited for."""

    # the askers' side

    def room(self, asker: Asker) -> int:
        """Tell how many more requests of an asker are taken now."""
        return QUEUE - self._owed.get(asker, 0)

    def ask(self, request: Request) -> None:
        """Take a request to wait for its turn."""
        asker = _asker(request)
        self._owed[asker] = self._owed.get(asker, 0) + 1
        self._queues.setdefault(asker, deque()).append(request)

    def leave(self, asker: Asker) -> None:
        """Forget an asker: what waits is dropped, and replies to what is on the way will be."""
        self._owed.pop(asker, None)
        self._queues.pop(asker, None)
        for request in (*self._on_way.values(), *self._late):
            if request.asker is asker:
                request.asker = None

    def expire(self, now: float) -> list[Answer]:
        """End the requests whose deadline has passed; a reply that still comes will be discarded."""
        ended: list[Answer] = []
        for transaction, request in list(self._on_way.items()):
            if request.deadline <= now:
                del self._on_way[transaction]
                self._abandon(transaction)
                ended.append((request, Failure.NO_REPLY))
        for queue in list(self._queues.values()):
            ended += [(request, Failure.NOT_SENT) for request in queue if request.deadline <= now]
        late = {id(request) for request, failure in ended if failure is Failure.NOT_SENT}
        if late:
            self._keep(lambda request: id(request) not in late)
        return self._told(ended + self._passed_over())

    @property
    def unknown_writes(self) -> int:
        """Writes on the way, whoever asked for them: lost now, their outcome would never be known."""
        return sum(request.writes for request in self._on_way.values())

    @property
    def next_deadline(self) -> float | None:
        """The first deadline of all requests."""
        waiting = [request.deadline for queue in (*self._queues.values(), self._late) for request in queue]
        waiting += [request.deadline for request in self._on_way.values()]
        return min(waiting, default=None)

    # the connection's side

    def connected(self) -> None:
        """Begin anew on a fresh connection."""
        self._framer = Framer()
        self._abandoned.clear()
        self.fault = None

    def to_send(self, now: float, only: Asker | None = None) -> list[bytes]:
        """Give the frames that may go now, one of each asker in turn; they count as sent. None goes after its deadline.

        `only` this asker's where one is named: they go whatever else is on the way.
        """
        frames = []
        while self._queues and (only is not None or len(self._on_way) < self._most):
            asker = only or next(iter(self._queues))
            queue = self._queues.pop(asker, None)
            if queue is None:
                break
            request = queue.popleft()
            if queue:
                self._queues[asker] = queue
            if request.deadline <= now:
                # the clock may be behind: a process that was stopped reads its sockets before its timers
                self._late.append(request)
                continue
            request.sent_at = now
            transaction = self._transaction()
            self._on_way[transaction] = request
            frames.append(reply(transaction.to_bytes(2, "big") + b"\0\0", request.unit, request.pdu))
        return frames

    def received(self, data: bytes) -> list[Answer]:
        """Take bytes of the connection, cut anywhere; give the answers in its order. May set `fault`."""
        if self.fault is not None:
            return []
        self._framer.feed(data)
        answers: list[Answer] = []
        # a reply is never larger than what was asked for at once, so one take is enough
        for head, unit, pdu in self._framer.take(_IDS):
            transaction = head[0] << 8 | head[1]
            request = self._on_way.get(transaction)
            if request is None:
                self._abandoned.pop(transaction, None)
                self.discarded += 1
                continue
            answer = _fitting(pdu, request) if unit == request.unit else None
            if answer is None:
                self.fault = "a reply is not one to its request"
                break
            del self._on_way[transaction]
            answers.append((request, answer))
        else:
            self.fault = self._framer.violation
        return self._told(answers)

    def lost(self, *, keep_reads: bool) -> list[Answer]:
        """End what the connection leaves open. No write survives; reads that were not sent may wait on."""
        ended: list[Answer] = [(request, Failure.NO_REPLY) for request in self._on_way.values()]
        self._on_way.clear()
        for queue in self._queues.values():
            ended += [(one, Failure.NOT_SENT) for one in queue if one.writes or not keep_reads]
        self._keep(lambda request: keep_reads and not request.writes)
        return self._told(ended + self._passed_over())

    # inside

    def _passed_over(self) -> list[Answer]:
        late, self._late = self._late, []
        return [(request, Failure.NOT_SENT) for request in late]

    def _keep(self, wanted: _Wanted) -> None:
        for asker, queue in list(self._queues.items()):
            rest = deque(filter(wanted, queue))
            if rest:
                self._queues[asker] = rest
            else:
                del self._queues[asker]

    def _told(self, answers: list[Answer]) -> list[Answer]:
        """Leave out those of askers that have gone, and count the rest as no longer owed."""
        told = []
        for answer in answers:
            asker = answer[0].asker
            if asker is None or asker not in self._owed:
                self.discarded += answer[1].__class__ is bytes
                continue
            self._owed[asker] -= 1
            if not self._owed[asker]:
                del self._owed[asker]
            told.append(answer)
        return told

    def _abandon(self, transaction: int) -> None:
        self._abandoned[transaction] = None
        if len(self._abandoned) > ABANDONED:
            self._abandoned.popitem(last=False)

    def _transaction(self) -> int:
        while self._next in self._on_way or self._next in self._abandoned:
            self._next = (self._next + 1) % _IDS
        given = self._next
        self._next = (given + 1) % _IDS
        return given


class _Wanted(Protocol):
    def __call__(self, request: Request, /) -> bool: ...


def _fitting(pdu: bytes, request: Request) -> bytes | None:
    """Give the reply as it goes to who asked; None if it is none to this request."""
    if not pdu[0] & 0x80:
        return pdu if pdu[0] == request.pdu[0] else None
    # some servers lose the function in an exception (pymodbus: 80 01); there is no data in it to be mistaken
    return exception_pdu(request.pdu[0], pdu[1]) if len(pdu) == 2 else None


def _asker(request: Request) -> Asker:
    if request.asker is None:
        raise ValueError("a request without an asker")
    return request.asker
