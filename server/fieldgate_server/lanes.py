"""User code on worker threads: one call after the other in a lane, lanes beside each other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from asyncio import Future
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NamedTuple, Self

log = logging.getLogger("fieldgate.api")

WORKERS = 16
"""Threads, so calls that run at the same time."""
STOP_DEADLINE = 5.0
"""Seconds that calls which run have to end, once the lanes are being closed."""


class _Call(NamedTuple):
    lane: object
    function: Callable[[], bytes]
    instead: bytes
    result: Future[bytes]


class Lanes:
    """Runs calls for an event loop, in whose thread all is to be called but `owns`; `async with` ends its threads.

    The threads are daemons, and there before the first call: an executor's would keep a process with a hanging call
    from ending, and takes no call any more once the main thread is through.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[_Call | None] = SimpleQueue()
        self._lanes: dict[object, deque[_Call]] = {}
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._threads = [Thread(target=self._work, name=f"fieldgate-worker-{n}", daemon=True) for n in range(WORKERS)]

    async def __aenter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def submit(self, lane: object, function: Callable[[], bytes], instead: bytes) -> Future[bytes]:
        """Call `function`, which raises nothing, once all calls before it in its lane are done.

        `instead` is the result of calls that do not begin any more, as the lanes are being closed.
        """
        result: Future[bytes] = asyncio.get_running_loop().create_future()
        if self._closing:
            result.set_result(instead)
            return result
        call = _Call(lane, function, instead, result)
        waiting = self._lanes.setdefault(lane, deque())
        waiting.append(call)
        self._idle.clear()
        if len(waiting) == 1:
            self._queue.put(call)
        return result

    async def __aexit__(self, *_error: object) -> None:
        """Begin no further call, and wait for those that run; after a deadline they are left to themselves."""
        self._closing = True
        for waiting in self._lanes.values():
            while len(waiting) > 1:
                last = waiting.pop()
                last.result.set_result(last.instead)
        with contextlib.suppress(Empty):
            while call := self._queue.get_nowait():
                self._done(call, call.instead)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_DEADLINE):
                await self._idle.wait()
                # results go out in the loop's next turn
                await asyncio.sleep(0)
        for waiting in self._lanes.values():
            log.error("a call of user code did not end within %g s of the stop, and is left to itself", STOP_DEADLINE)
            waiting[0].result.cancel()
        for _thread in self._threads:
            self._queue.put(None)
        if not self._lanes:
            for thread in self._threads:
                thread.join()

    def owns(self, thread: Thread) -> bool:
        """Tell whether this is one of the worker threads."""
        return thread in self._threads

    def _work(self) -> None:
        while (call := self._queue.get()) is not None:
            reply = call.function()
            try:
                call.result.get_loop().call_soon_threadsafe(self._done, call, reply)
            except RuntimeError:
                # the loop is closed: nobody waits for this any more
                return

    def _done(self, call: _Call, reply: bytes) -> None:
        if not call.result.done():
            call.result.set_result(reply)
        waiting = self._lanes[call.lane]
        waiting.popleft()
        if waiting:
            self._queue.put(waiting[0])
            return
        del self._lanes[call.lane]
        if not self._lanes:
            self._idle.set()
