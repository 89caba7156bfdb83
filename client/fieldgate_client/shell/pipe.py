"""The shell without a terminal: a command in each line of standard input, to the end or the first failure."""

from __future__ import annotations

import asyncio
import sys
import threading

from fieldgate_client.shell.session import Session
from fieldgate_core.errors import EXIT_OK


async def run(session: Session, *, keep_going: bool) -> int:
    """Carry out the lines, and give the exit code of the first that failed."""
    lines = _Lines()
    first, number = EXIT_OK, 0
    while not session.ended and (line := await lines.next()):
        number += 1
        code = await session.carry_out(line.rstrip("\r\n"))
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # a write that was cancelled has said so, and is what this ends with
            if code:
                return code
            raise asyncio.CancelledError
        first = first or code
        if code and not keep_going:
            session.voice.tell(f"ended at line {number}: {line.strip()}")
            break
    return first


class _Lines:
    """Standard input, a line whenever one is asked for; in a thread, which a file and a pipe both take."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._wanted = threading.Semaphore(0)
        # nobody ends a read that waits: the thread must not outlive the command
        threading.Thread(target=self._read, name="fieldgate-stdin", daemon=True).start()

    async def next(self) -> str:
        """Wait for a line, with its end; "" at the end of the input."""
        self._wanted.release()
        return await self._lines.get()

    def _read(self) -> None:
        line = "\n"
        while line:
            self._wanted.acquire()
            line = sys.stdin.readline()
            if self._loop.is_closed():
                return
            self._loop.call_soon_threadsafe(self._lines.put_nowait, line)
