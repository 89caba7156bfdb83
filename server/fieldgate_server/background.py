"""Something asynchronous in a thread of its own: its start, its stop, and Ctrl-C."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from types import FrameType

log = logging.getLogger("fieldgate.api")

STOP_DEADLINE = 10.0
"""Seconds after which `stop` returns in any case."""

_foreground: set[Background] = set()
"""Those that keep the process alive, until Ctrl-C."""


class Background:
    """Keeps an asynchronous context open in an event loop of its own thread, until it is asked to stop.

    With `daemon` it ends with the process, in good order; without, it keeps the process alive until Ctrl-C.
    """

    def __init__(self, context: Callable[[], AbstractAsyncContextManager[None]], *, daemon: bool) -> None:
        self._context = context
        self._daemon = daemon
        self._thread = threading.Thread(target=self._run, name="fieldgate-server", daemon=daemon)
        self._started: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._asked = False

    def start(self) -> None:
        """Start the thread. Raises RuntimeError if there is none to be had. Only then may it be stopped."""
        self._thread.start()

    def wait_started(self) -> None:
        """Wait until the context is open. Raises what entering it raises; the thread has ended then."""
        try:
            self._started.result()
            _handle_interrupts()
        except BaseException:
            self.stop()
            raise

    def is_running(self) -> bool:
        """Tell whether the context is open and nobody has asked to stop."""
        return not self._asked and self._thread.is_alive() and self._started.done()

    def ask_to_stop(self) -> None:
        """Begin to stop, and return at once; may be called from any thread and from a signal handler."""
        self._asked = True
        if self._loop is not None and self._stop is not None:
            # without a loop it has ended already
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)

    def stop(self) -> None:
        """Stop, and wait for the end of the thread; one that takes too long is left behind, with a line in the log."""
        self.ask_to_stop()
        self._thread.join(STOP_DEADLINE)
        if self._thread.is_alive():
            log.error("the server has not stopped within %g s", STOP_DEADLINE)
        _handle_interrupts()

    def has_ended(self) -> bool:
        """Tell whether the thread has ended."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        if self._daemon:
            atexit.register(self.stop)
        else:
            _foreground.add(self)
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(self._serve())
        except BaseException as error:
            if self._started.done():
                log.exception("the server has broken down")
            else:
                self._started.set_exception(error)
        finally:
            _foreground.discard(self)
            atexit.unregister(self.stop)

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self._asked:
            self._stop.set()
        async with self._context():
            self._started.set_result(None)
            await self._stop.wait()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _handle_interrupts() -> None:
    """Take Ctrl-C over from Python as long as something keeps the process alive; only the main thread can do that."""
    if threading.current_thread() is not threading.main_thread():
        return
    ours, found = bool(_foreground), signal.getsignal(signal.SIGINT)
    if ours and found is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)
    elif not ours and found is _interrupted:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupted(number: int, frame: FrameType | None) -> None:
    for each in tuple(_foreground):
        each.ask_to_stop()
    # a main thread that is past its last line only waits for the others: an exception there would be a traceback
    if threading.main_thread().is_alive():
        signal.default_int_handler(number, frame)
