"""One connection: bytes in, replies out in the order of the requests, a bounded share of every turn."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from asyncio import Future
from collections import deque
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any, Protocol, cast

from fieldgate_core import trace
from fieldgate_core.adu import Frame, Framer, reply
from fieldgate_core.modbus import ExceptionCode, exception_pdu
from fieldgate_server.counts import Counts, Step
from fieldgate_server.guard import Guard
from fieldgate_server.quit_word import QuitWord

log = logging.getLogger("fieldgate.session")

TURN = 64
"""Requests a session answers before it yields: without it one flooding writer starves an honest poller."""
SLOTS = 64
"""Replies that may wait for their turn in a connection's order; beyond it reading pauses."""
LINGER = 2.0
"""Seconds that a closing session waits for its peer: discarding input, so that no reset overtakes its last replies."""

Admit = Callable[[asyncio.BaseTransport], Guard | None]
"""Concludes who the peer is, once, before a byte is read; None closes the connection."""


class Register(Protocol):
    """What a session knows of the server that keeps the register of connections."""

    active_connections: dict[str, Any]


class _Slot:
    """The place of one reply in the connection's order; `frame` is None until it is ready, `arrived` as in Session."""

    __slots__ = ("arrived", "frame")

    def __init__(self, frame: bytes | None, arrived: int) -> None:
        self.frame = frame
        self.arrived = arrived


class Session(asyncio.Protocol):
    """Serves one byte stream: TCP, TLS or an SSH channel.

    `listener` and `unique_id`, `close` and `callback_disconnected` are what pymodbus's register of connections needs.
    """

    def __init__(
        self, admit: Admit, *, show: Callable[[str], None] | None = None, quit_word: QuitWord | None = None
    ) -> None:
        """`show` is given the text of every frame; `quit_word` stops the server, for those who may."""
        self._admit = admit
        self._show = show
        self._quit_word = quit_word
        self._framer = Framer()
        self._slots: deque[_Slot] = deque()
        self._held: deque[Frame] = deque()
        """Requests behind a write that waits for the trail."""
        self._transport: asyncio.Transport | None = None
        self._guard: Guard | None = None
        self._turn_due: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._blocked = False
        self._reading = True
        self._ending = False
        self._peer_ended = False
        self._gone = asyncio.Event()
        self._arrived = 0
        """When the requests of this turn had arrived, in ns."""
        self.requests = 0
        """Requests that it has been asked."""
        self.listener: Register | None = None
        self.unique_id = str(id(self))

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask who the peer is; nothing has been read yet."""
        self._transport = cast("asyncio.Transport", transport)
        try:
            self._guard = self._admit(transport)
        except Exception:
            log.exception("a connection could not be admitted")
        if self._guard is None:
            self._abort()
            return
        self._guard.session("opened", fault=self._guard.identity.fault)
        expires = self._guard.identity.expires
        if expires is not None:
            remaining = max(0.0, expires - time.time())
            self._timer = asyncio.get_running_loop().call_later(remaining, self._expire)

    def data_received(self, data: bytes) -> None:
        """Take bytes; whole requests are answered at once, unless a turn is already due."""
        if self._ending or self._guard is None:
            return
        if self._quit_word is not None:
            data = self._without_quit_word(data, self._quit_word)
        self._framer.feed(data)
        if self._turn_due is None and not self._blocked:
            self._arrived = perf_counter_ns()
            self._turn()

    def eof_received(self) -> bool:
        """Answer what was asked before the end; then close. True keeps the way out open for that."""
        if self._transport is None or self._ending:
            return False
        if self._turn_due is None and not self._slots and not self._blocked:
            return False
        self._peer_ended = True
        return True

    def pause_writing(self) -> None:
        """Stop reading while the peer does not take its replies."""
        self._blocked = True
        self._regulate()

    def resume_writing(self) -> None:
        """Go on; for how long a peer has not read is not our latency."""
        self._blocked = False
        self._arrived = perf_counter_ns()
        self._schedule()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the register and say so in the trail; a second call changes nothing."""
        self._ending = True
        self._transport = None
        for handle in (self._turn_due, self._timer):
            if handle is not None:
                handle.cancel()
        self._slots.clear()
        self._gone.set()
        if self.listener is not None:
            self.listener.active_connections.pop(self.unique_id, None)
            self.listener = None
        if self._guard is not None:
            guard, self._guard = self._guard, None
            cause = str(exc) if exc else None
            guard.leave()
            guard.session("closed", reads=guard.reads, writes=guard.writes, refusals=guard.refusals, cause=cause)

    # pymodbus calls these

    def callback_disconnected(self, exc: Exception | None) -> None:
        """Nothing to do: `connection_lost` follows."""

    def close(self) -> None:
        """Close after what was already answered has been sent; a peer that does not take it is cut off."""
        if self._transport is not None:
            self._ending = True
            self._cut_off_later()
            self._transport.close()

    async def wait_closed(self) -> None:
        """Wait for the end of a session that is closing; at most LINGER seconds, then it is cut off."""
        await self._gone.wait()

    # the operator's commands call these

    @property
    def waits(self) -> bool:
        """Whether a reply is still owed to the peer."""
        return bool(self._slots) or self._turn_due is not None

    @property
    def ending(self) -> bool:
        """Whether it answers nothing any more."""
        return self._ending

    def end(self, cause: str) -> None:
        """Close, and say in the trail why."""
        if self._guard is not None:
            self._guard.session("ended", cause=cause)
        self.close()

    # inside

    def _turn(self) -> None:
        self._turn_due = None
        transport, guard = self._transport, self._guard
        if transport is None or guard is None or self._ending or guard.holds():
            return
        slots, counts, arrived = self._slots, guard.counts, self._arrived
        room = min(TURN, SLOTS - len(slots)) if slots else TURN
        frames = self._frames(room)
        out: list[bytes] = []
        waits = False
        pending = iter(frames)
        for head, unit, pdu in pending:
            if self._show is not None:
                self._show(trace.text(reply(head, unit, pdu), reply=False, peer=guard.identity.peer))
            answer = guard.answer(unit, pdu, head)
            if not isinstance(answer, bytes):
                self._later(counts, head, unit, pdu, answer)
                waits = guard.holds()
                if waits:
                    self._held.extend(pending)
                    break
                continue
            frame = self._reply(counts, head, unit, pdu, answer)
            if slots:
                slots.append(_Slot(frame, arrived))
            elif frame:
                out.append(frame)
        if out:
            if len(out) == 1:
                transport.write(out[0])
            else:
                transport.writelines(out)
            # the replies of a turn leave together, so each took as long as the turn
            counts.latencies[(perf_counter_ns() - arrived).bit_length()] += len(out)
        if self._framer.violation is not None or self._peer_ended:
            self._regulate()
            self._finish_if_due()
        elif len(frames) == room and not waits:
            self._schedule()
        elif waits or not self._reading:
            self._regulate()

    def _frames(self, room: int) -> list[Frame]:
        """Take as many requests as there is room for, those that had to wait first."""
        if not self._held:
            frames = self._framer.take(room)
            self.requests += len(frames)
            return frames
        held, self._held = self._held, deque()
        fresh = self._framer.take(max(0, room - len(held)))
        self.requests += len(fresh)
        return [*held, *fresh]

    def _reply(self, counts: Counts, head: bytes, unit: int, pdu: bytes, answer: bytes) -> bytes:
        """Give the frame of a reply, empty where there is none: a unit in listen-only mode."""
        if not answer:
            counts.unanswered[pdu[0]] += 1
            return b""
        code = answer[0]
        if code < 0x80:
            counts.replies[code] += 1
        else:
            counts.exceptions[answer[:2]] += 1
        frame = reply(head, unit, answer)
        if self._show is not None and self._guard is not None:
            request = reply(head, unit, pdu)
            self._show(trace.text(frame, reply=True, request=request, peer=self._guard.identity.peer))
        return frame

    def _later(self, counts: Counts, head: bytes, unit: int, pdu: bytes, answer: Future[bytes]) -> None:
        slot = _Slot(None, self._arrived)
        self._slots.append(slot)

        def ready(done: Future[bytes]) -> None:
            failed = done.cancelled() or done.exception() is not None
            result = exception_pdu(pdu[0], ExceptionCode.SERVER_DEVICE_FAILURE) if failed else done.result()
            slot.frame = self._reply(counts, head, unit, pdu, result)
            self._flush(counts)

        answer.add_done_callback(ready)

    def _without_quit_word(self, data: bytes, word: QuitWord) -> bytes:
        rest = word.feed(data)
        if word.heard is not None:
            self._quit_word = None
        if word.heard and self._guard is not None:
            self._guard.stop(word.stop)
            self._ending = True
            self._linger()
        return rest

    def _flush(self, counts: Counts) -> None:
        """Send the replies that are ready and whose turn it is."""
        out = []
        while self._slots and (frame := self._slots[0].frame) is not None:
            out.append(frame)
            counts.latencies[(perf_counter_ns() - self._slots.popleft().arrived).bit_length()] += 1
        if out and self._transport is not None:
            self._transport.writelines(out)
            self._schedule()

    def _schedule(self) -> None:
        """Take another turn after everybody else had one, with reading paused until then."""
        if self._turn_due is None and not self._blocked and len(self._slots) < SLOTS and not self._ending:
            self._turn_due = asyncio.get_running_loop().call_soon(self._turn)
        self._regulate()

    def _regulate(self) -> None:
        """Read only while nothing waits: no turn, no full queue, no peer that does not read."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._peer_ended:
            return
        waits = self._guard is not None and self._guard.holds()
        wanted = self._turn_due is None and not self._blocked and len(self._slots) < SLOTS and not waits
        if wanted is not self._reading:
            self._reading = wanted
            if wanted:
                transport.resume_reading()
            else:
                transport.pause_reading()

    def _finish_if_due(self) -> None:
        """Close once all replies are out, if the peer has ended its side or broken the framing."""
        if self._slots or self._held or self._transport is None:
            return
        if self._framer.violation is not None:
            guard = self._guard
            if guard is not None:
                guard.counts.refused[Step.FRAMING] += 1
                guard.session("violation", cause=self._framer.violation)
            self._ending = True
            self._linger()
        elif self._peer_ended and self._turn_due is None and not self._blocked:
            self.close()

    def _linger(self) -> None:
        """End our side and discard what still comes: closing at once would reset, and lose the last replies."""
        if self._transport is None:
            return
        self._cut_off_later()
        if self._transport.can_write_eof():
            # a peer that has reset meanwhile is told by reading, soon
            with contextlib.suppress(OSError):
                self._transport.write_eof()
        else:
            self._transport.close()

    def _cut_off_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(LINGER, self._abort)

    def _expire(self) -> None:
        if self._guard is not None:
            self._guard.session("expired", cause="the peer's credential has run out")
        self.close()

    def _abort(self) -> None:
        self._ending = True
        if self._transport is not None:
            self._transport.abort()
            # an SSH channel whose peer does not answer never says that it is lost; its session is over all the same
            asyncio.get_running_loop().call_soon(self.connection_lost, None)
