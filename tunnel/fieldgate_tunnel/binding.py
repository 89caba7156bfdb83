"""Taking a port: for as long as asked while another program holds it, and why it can't be had."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Awaitable, Callable

from fieldgate_core.errors import ConfigError

log = logging.getLogger("fieldgate.tunnel")

_HINTS = {
    errno.EADDRINUSE: "another program holds the port (`ss -ltnp` shows which): stop it or choose another port",
    errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE: give it to the service, or choose another port",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}
_PAUSE = 1.0
"""Seconds between two tries."""


async def bind(where: str, listen: Callable[[], Awaitable[object]], *, retry: float = 0.0) -> None:
    """Listen, trying again for `retry` seconds while the port is taken. Raises ConfigError that names `where`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + retry
    while True:
        try:
            await listen()
        except UnicodeError:
            raise ConfigError(where, "this is no name of a host") from None
        except OSError as error:
            left = deadline - loop.time()
            if error.errno != errno.EADDRINUSE or left <= 0:
                why = os.strerror(error.errno).lower() if error.errno else str(error)
                raise ConfigError(where, f"cannot listen: {why}", hint=_HINTS.get(error.errno or 0, "")) from None
            log.warning("%s: the port is taken; trying again for %.0f s", where, left)
            await asyncio.sleep(min(_PAUSE, left))
        else:
            return
