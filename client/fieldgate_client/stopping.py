"""Run a command's work so that a signal to stop lets it clean up, in peace and once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


def run(work: Coroutine[object, None, T]) -> T:
    """Run `work` to its end. SIGINT, SIGTERM and SIGHUP cancel it; a second one does not cut its clean-up short.

    Raises KeyboardInterrupt if it was so stopped.
    """
    try:
        return asyncio.run(_stoppable(work))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _stoppable(work: Coroutine[object, None, T]) -> T:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, _cancel_once, task)
    return await task


def _cancel_once(task: asyncio.Task[object]) -> None:
    if not task.cancelling():
        task.cancel()
