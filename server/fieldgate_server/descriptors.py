"""Running out of file descriptors: said once, and once when it is over, whatever the event loop makes of it.

asyncio stops accepting for a second and logs a traceback for each try, a hundred times; uvloop drops the connection and
says nothing. Neither ends the listener, so both go on by themselves when there are descriptors again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
from collections.abc import Iterator
from typing import Any

log = logging.getLogger("fieldgate.server")

_ACCEPT = "socket.accept() out of system resource"
"""What asyncio calls it (asyncio.selector_events)."""
_NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE})


class Descriptors:
    """Whether this process can open anything."""

    def __init__(self) -> None:
        self._none_left = False

    def look(self) -> None:
        """Look, and say what has changed. To be called each second."""
        none_left = _none_left()
        if none_left and not self._none_left:
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            log.error(
                "no file descriptor is left (this process may have %d): nobody new is let in until one is closed; "
                "raise LimitNOFILE= of the unit, or lower max_sessions",
                limit,
            )
        elif self._none_left and not none_left:
            log.warning("there are file descriptors again: whoever comes is let in")
        self._none_left = none_left

    @contextlib.contextmanager
    def told_here(self) -> Iterator[None]:
        """Keep the running loop's own complaints out of the log, which say the same again and again."""
        loop = asyncio.get_running_loop()
        before = loop.get_exception_handler()

        def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            if context.get("message") == _ACCEPT:
                self.look()
            elif before is not None:
                before(loop, context)
            else:
                loop.default_exception_handler(context)

        loop.set_exception_handler(handle)
        try:
            yield
        finally:
            loop.set_exception_handler(before)


def _none_left() -> bool:
    try:
        os.close(os.open("/", os.O_PATH | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in _NONE_LEFT
    return False
