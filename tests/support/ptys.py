"""A command at a pseudo-terminal of its own: keys go in, and what a person would see is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeVar

from support.box import FIELDGATE, clean_environment

T = TypeVar("T")

PATIENCE = 15.0
PROMPT = " up>"
UP, CTRL_C, CTRL_D, TAB, ENTER = "\x1b[A", "\x03", "\x04", "\t", "\r"
_MOVES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()>=][AB0]?")
_OWN_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """The terminal's other end; 80 columns of 24 lines."""

    def __init__(self, process: subprocess.Popen[bytes], end: int) -> None:
        self._process = process
        self._end = end
        self._raw = b""
        self._seen = 0

    @property
    def text(self) -> str:
        """All that was shown, without what moves the cursor."""
        return _MOVES.sub("", self._raw.decode(errors="replace")).replace("\r", "")

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._end, keys.encode())

    def see(self, text: str) -> str:
        """Wait until a text is shown, behind what was waited for before; give what was shown up to its end."""
        until = time.monotonic() + PATIENCE
        while (at := self.text.find(text, self._seen)) < 0:
            assert select.select([self._end], [], [], max(0.0, until - time.monotonic()))[0], self._missing(text)
            assert self._read(), self._missing(text)
        shown = self.text[self._seen : at + len(text)]
        self._seen = at + len(text)
        return shown

    def enter(self, line: str, *answer: str) -> None:
        """Wait for the shell's prompt, type a line, and wait for what it shows."""
        self.see(PROMPT)
        self.type(line + ENTER)
        for text in answer:
            self.see(text)

    def ended(self) -> int:
        """Wait for the command's end, and give its exit code."""
        while self._read():
            pass
        return self._process.wait()

    def _read(self) -> bytes:
        # a terminal whose other end is gone is an error, and not its end
        data = b""
        with contextlib.suppress(OSError):
            data = os.read(self._end, 65536)
        self._raw += data
        return data

    def _missing(self, text: str) -> str:
        return f"{text!r} was not shown behind {self.text[: self._seen][-200:]!r}: {self.text[self._seen :]!r}"


@contextlib.contextmanager
def at_terminal(*args: str, home: Path, term: str = "xterm", **environment: str) -> Iterator[Terminal]:
    """Run a fieldgate command at a terminal until the block ends; `home` is the user's state folder."""
    end, inner = os.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    variables = clean_environment(
        TERM=term, XDG_STATE_HOME=str(home), PROMPT_TOOLKIT_NO_CPR="1", PYTHONUNBUFFERED="1", **environment
    )
    command = [sys.executable, "-S", "-c", _OWN_TERMINAL, *FIELDGATE, *args]
    with subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, env=variables) as process:
        os.close(inner)
        try:
            yield Terminal(process, end)
        finally:
            process.kill()
            os.close(end)


@contextlib.contextmanager
def beside(peer: AbstractAsyncContextManager[T]) -> Iterator[tuple[T, asyncio.AbstractEventLoop]]:
    """Run an asynchronous peer in a thread until the block ends; what touches it goes through its loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        made = asyncio.run_coroutine_threadsafe(peer.__aenter__(), loop).result(PATIENCE)
        try:
            yield made, loop
        finally:
            asyncio.run_coroutine_threadsafe(peer.__aexit__(None, None, None), loop).result(PATIENCE)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
