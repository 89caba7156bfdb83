"""User code on worker threads: one call after the other in an asker's lane, lanes beside each other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from asyncio import Future
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple, Self

from fieldgate_server.units import Asker

log = logging.getLogger("fieldgate.api")

FIRST_WORKERS = 16
"""Threads that are there before the first call: Python 3.12 makes none any more once the main thread is through."""
WORKERS = 64
"""Threads at most, so calls that run at the same time; those beyond the first are made when they are needed."""
WAITING = 1024
"""Calls at most that have not begun, of all lanes together."""
STOP_DEADLINE = 5.0
"""Seconds that calls which run have to end, once the lanes are being closed."""


class _Lane:
    """An asker's calls that have not begun, and whether one of its calls runs."""

    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[_Call] = deque()
        self.running = False


class _Call(NamedTuple):
    lane: _Lane
    function: Callable[[], bytes]
    instead: bytes
    result: Future[bytes]


class Lanes:
    """Runs calls for an event loop, in whose thread all is to be called but `owns`; `async with` ends its threads.

    The threads are daemons of its own: an executor's would keep a process with a hanging call from ending, and takes
    no call any more once the main thread is through.
    """

    def __init__(self) -> None:
        self._lanes: dict[Asker, _Lane] = {}
        self._waiting = 0
        self._ready: deque[_Lane] = deque()
        self._running: set[_Call] = set()
        self._begun: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def __aenter__(self) -> Self:
        for _ in range(FIRST_WORKERS):
            self._add_worker()
        return self

    def submit(self, asker: Asker, function: Callable[[], bytes], instead: bytes) -> Future[bytes]:
        """Call `function` once all calls of this asker before it are done; what it raises, the result raises.

        `instead` is the result of a call that does not begin: its asker has left, the lanes are being closed, or as
        many calls are waiting as may.
        """
        result: Future[bytes] = asyncio.get_running_loop().create_future()
        if self._closing or self._waiting >= WAITING:
            result.set_result(instead)
            return result
        lane = self._lanes.get(asker)
        if lane is None:
            lane = self._lanes[asker] = _Lane()
            asker.on_leave(partial(self._leave, asker))
        lane.waiting.append(_Call(lane, function, instead, result))
        self._waiting += 1
        if not lane.running and len(lane.waiting) == 1:
            self._ready.append(lane)
            self._begin()
        return result

    async def __aexit__(self, *_error: object) -> None:
        """Begin no further call, and wait for those that run; after a deadline they are left to themselves."""
        self._closing = True
        for lane in self._lanes.values():
            self._drop(lane)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_DEADLINE):
                await self._idle.wait()
                # results go out in the loop's next turn
                await asyncio.sleep(0)
        for call in self._running:
            log.error("a call of user code did not end within %g s of the stop, and is left to itself", STOP_DEADLINE)
            call.result.cancel()
        for _thread in self._threads:
            self._begun.put(None)
        if not self._running:
            for thread in self._threads:
                thread.join()

    def owns(self, thread: Thread) -> bool:
        """Tell whether this is one of the worker threads."""
        return thread in self._threads

    def _leave(self, asker: Asker) -> None:
        self._drop(self._lanes.pop(asker))

    def _drop(self, lane: _Lane) -> None:
        """End the calls of a lane that have not begun."""
        for call in lane.waiting:
            call.result.set_result(call.instead)
        self._waiting -= len(lane.waiting)
        lane.waiting.clear()

    def _begin(self) -> None:
        """Give calls whose turn it is to workers that are free."""
        while self._ready and self._has_free_worker():
            lane = self._ready.popleft()
            if not lane.waiting:
                # dropped meanwhile
                continue
            call = lane.waiting.popleft()
            self._waiting -= 1
            lane.running = True
            self._running.add(call)
            self._idle.clear()
            self._begun.put(call)

    def _has_free_worker(self) -> bool:
        """Tell whether a worker is free, or could be made."""
        if len(self._running) < len(self._threads):
            return True
        if len(self._threads) < WORKERS:
            with contextlib.suppress(RuntimeError):
                self._add_worker()
                return True
        return False

    def _add_worker(self) -> None:
        """Make one more thread. Raises RuntimeError if the system, or Python at its end, gives none."""
        thread = Thread(target=self._work, name=f"fieldgate-worker-{len(self._threads)}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _work(self) -> None:
        while (call := self._begun.get()) is not None:
            outcome: bytes | Exception
            try:
                outcome = call.function()
            except Exception as error:  # noqa: BLE001 - the result raises it
                outcome = error
            try:
                call.result.get_loop().call_soon_threadsafe(self._end, call, outcome)
            except RuntimeError:
                # the loop is closed: nobody waits for this any more
                return

    def _end(self, call: _Call, outcome: bytes | Exception) -> None:
        if call.result.done():
            # left to itself
            pass
        elif isinstance(outcome, bytes):
            call.result.set_result(outcome)
        else:
            call.result.set_exception(outcome)
        self._running.discard(call)
        call.lane.running = False
        if call.lane.waiting:
            self._ready.append(call.lane)
        self._begin()
        if not self._running:
            self._idle.set()
