"""Another local user: one long-lived child process under a uid of its own, which opens connections on command."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator


class OtherUser:
    """The child, from outside."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def send(self, address: tuple[str, int], data: bytes, way: str, *, count: int = 1) -> None:
        """Open connections, send data over each, and go on in a way; returns when all that is done.

        With "close" and "reset" they are gone then; "half-close" has ended its own side, "stay" has not.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([address, data.hex(), way, count]) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@contextlib.contextmanager
def other_user(uid: int) -> Iterator[OtherUser]:
    """Start the child, which only root can, and end it with the block."""
    command = [sys.executable, "-I", "-S", __file__, str(uid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield OtherUser(process)
        finally:
            process.kill()


def _serve(uid: int) -> None:
    # here and not by Popen(user=): another user may well not be allowed to run this interpreter
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    held: list[socket.socket] = []
    for line in sys.stdin:
        address, data, way, count = json.loads(line)
        for _ in range(count):
            _send(tuple(address), bytes.fromhex(data), way, held)
        sys.stdout.write("done\n")
        sys.stdout.flush()


def _send(address: tuple[str, int], data: bytes, way: str, held: list[socket.socket]) -> None:
    connection = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    connection.connect(address)
    connection.sendall(data)
    if way == "half-close":
        connection.shutdown(socket.SHUT_WR)
    if way == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if way in {"close", "reset"}:
        connection.close()
    else:
        held.append(connection)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
