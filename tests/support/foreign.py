"""Another local user: a process of its own that connects, writes, and leaves in a hurry."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

_SCRIPT = r"""
import socket, struct, sys
frame = lambda pdu: b"\0\1\0\0" + (len(pdu) + 1).to_bytes(2, "big") + b"\1" + pdu
pdus = b"\6\0\5\xbe\xef", b"\x10\0\6\0\2\4\xbe\xef\xbe\xef", b"\5\0\5\xff\0", b"\x0f\0\6\0\x08\1\xff"
writes = b"".join(map(frame, pdus))
held = []
for line in sys.stdin:
    ending, count, port = line.split()
    held.clear()
    for _ in range(int(count)):
        client = socket.create_connection(("127.0.0.1", int(port)))
        client.sendall(writes)
        if ending == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif ending == "half-close":
            client.shutdown(socket.SHUT_WR)
        if ending in ("half-close", "stay"):
            held.append(client)
        else:
            client.close()
    print("done", flush=True)
"""

ENDINGS = ("close", "half-close", "reset", "stay")
DELAY = 0.2
"""Seconds by which the server's accept is late, where it is."""


class Foreigner:
    """A process under another uid, told what to do line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    async def attack(self, ending: str, count: int, port: int, *, late: bool) -> None:
        """Have `count` connections write and end so; `late`: the server, in this loop, accepts them only after."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{ending} {count} {port}\n")
        self._process.stdin.flush()
        if late:
            time.sleep(DELAY)  # noqa: ASYNC251 - it is the server's loop that must not run
        done = await asyncio.get_running_loop().run_in_executor(None, self._process.stdout.readline)
        assert done == "done\n"


@contextlib.contextmanager
def foreigner(uid: int) -> Iterator[Foreigner]:
    """Run a process under `uid` until the block ends; only root can, others skip."""
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    python = shutil.which("python3", path="/usr/bin:/bin")
    if python is None:
        pytest.skip("other users cannot run this Python, and there is none in /usr/bin")
    with subprocess.Popen(
        [python, "-c", _SCRIPT],
        user=uid,
        group=uid,
        extra_groups=[],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
    ) as process:
        try:
            yield Foreigner(process)
        finally:
            process.kill()
