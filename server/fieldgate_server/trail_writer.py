"""The trail's writer thread: a bounded queue, a deadline, and one write, and one flush, for all lines that wait.

A hung disk blocks this thread and never the event loop: a line that is not written in BRIEF seconds becomes a future,
and one that is late, or comes while the disk hangs, is an AuditError.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from fieldgate_server.trail_file import Text, TrailFile
from fieldgate_server.trail_settings import AuditSettings

log = logging.getLogger("fieldgate.audit")

QUEUE = 4096
"""Lines that may wait for the disk."""
BRIEF = 0.005
"""Seconds that the caller itself waits: a healthy disk takes a hundredth of it."""
_TICK = 1.0
"""Seconds after which the thread looks for counts that are due, and tries again to say what was lost."""


class AuditError(Exception):
    """The trail cannot be written; the cause is in the log."""


class _Entry:
    """One line on its way; `written` is released when that is settled, and then `error` says how."""

    __slots__ = ("error", "settled", "since", "text", "waiter", "written")

    def __init__(self, text: str) -> None:
        self.text: Text = (time.time(), text)
        self.since = time.monotonic()
        self.written = threading.Lock()
        self.written.acquire()
        self.settled = False
        self.error: OSError | None = None
        self.waiter: _Waiter | None = None


class _Waiter(NamedTuple):
    loop: AbstractEventLoop
    future: Future[None]


class Writer:
    """Writes lines in the order in which they come. `close` is to be called at the end."""

    def __init__(
        self,
        trail: TrailFile,
        settings: AuditSettings,
        due: Callable[[bool], list[str]],
        written: Callable[[list[bytes]], None],
    ) -> None:
        """`due` gives the counts that are to be written now, with True all; `written` is told each whole line."""
        self._trail = trail
        self._power = settings.durability == "power"
        self._go_on = settings.on_failure == "go-on"
        self._deadline = settings.deadline
        self._due = due
        self._written = written
        self._queue: deque[_Entry] = deque()
        self._batch: list[_Entry] = []
        self._own: list[Text] = []
        self._notes: deque[Text] = deque(maxlen=QUEUE)
        self._mutex = threading.Lock()
        self._wake = threading.Lock()
        self._wake.acquire()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._reopen = False
        self._failing = False
        self._lost = 0
        self._late = 0

    def submit(self, text: str) -> Future[None] | None:
        """Write a line: None once it is durable, else a future of that, which fails with AuditError.

        Raises AuditError at once when the line will not be written. Where no loop runs it waits, to the deadline.
        """
        entry = _Entry(text)
        with self._mutex:
            if self._closing:
                raise AuditError
            oldest = self._oldest()
            full = len(self._queue) >= QUEUE or (oldest is not None and entry.since - oldest > self._deadline)
            if full:
                self._lost += 1
            else:
                self._queue.append(entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="fieldgate-trail", daemon=True)
                self._thread.start()
        if full:
            self._say_failing("the disk does not answer")
            self._result(OSError())
            return None
        self.wake()
        if not self._power and oldest is None and entry.written.acquire(timeout=BRIEF):
            self._result(entry.error)
            return None
        return self._later(entry)

    def note(self, text: str) -> None:
        """Write a line that nobody waits for."""
        self._notes.append((time.time(), text))
        self.wake()

    def wake(self) -> None:
        """Let the thread look at what there is to do."""
        # it is awake already when this fails
        with contextlib.suppress(RuntimeError):
            self._wake.release()

    def reopen(self) -> None:
        """Go on in a new file, if the open one was renamed."""
        self._reopen = True
        self.wake()

    @property
    def lag(self) -> float:
        """Seconds for which the oldest line has waited."""
        with self._mutex:
            oldest = self._oldest()
        return 0.0 if oldest is None else time.monotonic() - oldest

    def stop(self) -> None:
        """Let the thread write what is left, and end."""
        with self._mutex:
            closing, self._closing = self._closing, True
            if self._thread is None and not closing:
                self._trail.close()
        self.wake()

    def close(self) -> None:
        """Stop, and wait for the end; at most for the deadline, because a disk that hangs cannot be waited for."""
        self.stop()
        if self._thread is not None:
            self._thread.join(self._deadline)
            if self._thread.is_alive():
                log.error("the trail %s could not be closed in %g s: lines are lost", self._trail.path, self._deadline)

    # the caller's side

    def _oldest(self) -> float | None:
        if self._batch:
            return self._batch[0].since
        return self._queue[0].since if self._queue else None

    def _result(self, error: OSError | None) -> None:
        """Return if the line is written, or need not be; otherwise raise AuditError."""
        if error is not None and not self._go_on:
            raise AuditError

    def _later(self, entry: _Entry) -> Future[None] | None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            in_time = entry.written.acquire(timeout=self._deadline)
            with self._mutex:
                self._late += not in_time
            self._result(entry.error if in_time else OSError())
            return None
        with self._mutex:
            if not entry.settled:
                future: Future[None] = loop.create_future()
                entry.waiter = _Waiter(loop, future)
                left = max(0.0, entry.since + self._deadline - time.monotonic())
                timer = loop.call_later(left, self._too_late, future)
                future.add_done_callback(partial(_over, timer))
                return future
        self._result(entry.error)
        return None

    def _too_late(self, future: Future[None]) -> None:
        if not future.done():
            with self._mutex:
                self._late += 1
            self._say_failing("the disk does not answer in time")
            self._settle(future, OSError())

    def _settle(self, future: Future[None], error: OSError | None) -> None:
        if future.done():
            return
        if error is None or self._go_on:
            future.set_result(None)
        else:
            future.set_exception(AuditError())

    def _say_failing(self, why: str) -> None:
        if not self._failing:
            self._failing = True
            log.error("the trail %s cannot be written: %s", self._trail.path, why)

    # the thread's side

    def _run(self) -> None:
        try:
            closing = False
            while not closing:
                self._wake.acquire(timeout=_TICK)
                with self._mutex:
                    closing = self._closing
                try:
                    self._turn(closing)
                except Exception as error:
                    # one batch fails, and its writers are told; the thread must not end
                    log.exception("the trail's writer failed")
                    self._tell(self._batch, OSError(str(error)))
        finally:
            self._trail.close()

    def _turn(self, closing: bool) -> None:
        with self._mutex:
            self._batch = list(self._queue)
            self._queue.clear()
            lost, late = self._lost, self._late
        batch = self._batch
        if self._reopen:
            self._reopen = False
            self._trail.reopen()
        now = time.time()
        # what is the trail's own is kept until it is written
        self._own += [(now, text) for text in self._due(closing)]
        while self._notes:
            self._own.append(self._notes.popleft())
        del self._own[: max(0, len(self._own) - QUEUE)]
        said: list[Text] = []
        if lost or late:
            said.append((now, f"event=trail state=recovered lost={lost} late={late}"))
        own = [*said, *self._own]
        opening, lines, error = self._trail.append([*own, *[entry.text for entry in batch]])
        del self._own[: max(0, len(lines) - len(said))]
        done = max(0, len(lines) - len(own))
        if error is not None:
            self._say_failing(error.strerror or str(error))
        elif self._failing and lines:
            self._failing = False
            log.warning("the trail %s is written again; lost %d, late %d", self._trail.path, lost, late)
        # what is whole in the file and could not be flushed has failed too, but is not lost
        flushed = 0 if error is not None and self._power else done
        with self._mutex:
            self._lost += len(batch) - done - (lost if lines else 0)
            self._late -= late if lines else 0
        self._tell(batch[:flushed], None)
        self._tell(batch[flushed:], error)
        if opening or lines:
            self._written([*opening, *lines])

    def _tell(self, batch: list[_Entry], error: OSError | None) -> None:
        """Settle lines; those who wait on one loop are told in one go."""
        waiters: dict[AbstractEventLoop, list[Future[None]]] = {}
        with self._mutex:
            for entry in batch:
                entry.error = error
                entry.settled = True
                entry.written.release()
                if entry.waiter is not None:
                    waiters.setdefault(entry.waiter.loop, []).append(entry.waiter.future)
            self._batch = []
        for loop, futures in waiters.items():
            # a loop that is closed has nobody left to tell
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._settle_all, futures, error)

    def _settle_all(self, futures: list[Future[None]], error: OSError | None) -> None:
        for future in futures:
            self._settle(future, error)


def _over(timer: asyncio.TimerHandle, done: Future[None]) -> None:
    timer.cancel()
    if not done.cancelled():
        # nobody need ask for it
        done.exception()
