"""Shows text on a stream that may be slow or go away: the server never waits for whoever reads it."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator
from typing import TextIO

_MOST = 2000
"""Texts that may wait for the reader; beyond it they are counted instead."""
_PATIENCE = 1.0
"""Seconds that the end waits for what was not shown yet."""


class Display:
    """Writes texts to a stream from a thread of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._texts: queue.Queue[str | None] = queue.Queue(_MOST)
        self._left_out = 0
        self._thread = threading.Thread(target=self._write, name="display", daemon=True)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Show texts until the end, and then those that still wait, for a second."""
        self._thread.start()
        try:
            yield
        finally:
            await asyncio.to_thread(self._end)

    def _end(self) -> None:
        with contextlib.suppress(queue.Full):
            self._texts.put(None, timeout=_PATIENCE)
        self._thread.join(_PATIENCE)

    def show(self, text: str) -> None:
        """Show a text as soon as its turn comes; count it if too many wait already."""
        try:
            self._texts.put_nowait(text)
        except queue.Full:
            self._left_out += 1

    def _write(self) -> None:
        # a reader that has gone is no reason to stop: the queue fills and texts are counted
        with contextlib.suppress(OSError, ValueError):
            while (text := self._texts.get()) is not None:
                missed, self._left_out = self._left_out, 0
                note = f"({missed} frames were not shown: the reader was too slow)\n" if missed else ""
                self._stream.write(f"{note}{text}\n")
                self._stream.flush()
