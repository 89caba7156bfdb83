"""A trail on a disk that hangs: a pipe that nobody reads, so that write(2) blocks for as long as the test wants."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class Pipe:
    """The pipe, and its reading end."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self._reader, fcntl.F_SETPIPE_SZ, 4096)

    def fill(self) -> None:
        """Leave no room: the next write blocks."""
        writer = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        for size in (4096, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(writer, b"-" * size)
        os.close(writer)

    def read(self) -> str:
        """Take what is there; a writer that was blocked goes on."""
        taken = b""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._reader, 65536):
                taken += data
        return taken.decode()

    async def read_until(self, word: str) -> str:
        """Take until a word has come."""
        taken = ""
        while word not in taken:
            taken += self.read()
            await asyncio.sleep(0.001)
        return taken

    def close(self) -> None:
        os.close(self._reader)


@contextlib.contextmanager
def hung(path: Path) -> Iterator[Pipe]:
    """Make the pipe; it has room until `fill` is called."""
    made = Pipe(path)
    try:
        yield made
    finally:
        made.close()
