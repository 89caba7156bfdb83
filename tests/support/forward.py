"""A port of this machine that leads through a site's SSH door, opened by stock `ssh -L`, for plain foreign clients."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator

from support.asking import stock_ssh
from support.site import Site
from support.tools import running


@contextlib.asynccontextmanager
async def plain_port(site: Site, door: str, role: str = "operator") -> AsyncIterator[int]:
    """Give the port on which a plain client reaches a door ("modbus" or "ssh"), as this role through the latter."""
    if door == "modbus":
        yield site.app.ports[door]
        return
    with socket.socket() as probe:
        # a stock ssh can't be told to choose a free port
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    forward = f"127.0.0.1:{port}:localhost:502"
    command = stock_ssh(site, site.pki.client(role), role, "-v", "-N", "-L", forward, "127.0.0.1")
    async with running("ssh", *command) as process:
        assert process.stderr is not None
        seen = b""
        while b"Entering interactive session" not in seen:
            line = await process.stderr.readline()
            assert line, seen.decode()
            seen += line
        yield port
