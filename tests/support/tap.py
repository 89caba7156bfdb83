"""A tap between a client and a port of this machine: keeps the records of both directions, and can put in its own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import NamedTuple

PATIENCE = 20.0


class Record(NamedTuple):
    """One TLS record as it travelled; `size` is that of its body."""

    kind: int
    version: tuple[int, int]
    size: int


class Tap:
    """What has passed since the last connection began, by direction."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.sent = b""
        """By the client."""
        self.answered = b""
        """By the server."""
        self._client: socket.socket | None = None
        self._onward: socket.socket | None = None

    def serve(self) -> None:
        """Carry one connection after another, until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._client = client
                self.sent = self.answered = b""
                self._onward = socket.create_connection(("127.0.0.1", self._target))
                for one in (client, self._onward):
                    one.settimeout(PATIENCE)
                back = threading.Thread(target=self._carry, args=(self._onward, client, "answered"))
                back.start()
                self._carry(client, self._onward, "sent")
                back.join()
                client.close()
                self._onward.close()

    def put(self, record: bytes) -> None:
        """Send bytes of its own to the server, as if they were the client's."""
        assert self._onward is not None
        self._onward.sendall(record)

    def close(self) -> None:
        """Take no more connections, and cut the one that is open: who waits here may be its server."""
        for one in (self._listener, self._client, self._onward):
            with contextlib.suppress(OSError):
                if one is not None:
                    one.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _carry(self, source: socket.socket, target: socket.socket, name: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                setattr(self, name, getattr(self, name) + data)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def tapped(target: int) -> Iterator[Tap]:
    """Run a tap before a port until the block ends."""
    tap = Tap(target)
    thread = threading.Thread(target=tap.serve)
    thread.start()
    try:
        yield tap
    finally:
        tap.close()
        thread.join(PATIENCE)


def records(data: bytes) -> list[Record]:
    """Cut a direction's bytes into its records; the last may not be whole."""
    found = []
    while len(data) >= 5:
        size = int.from_bytes(data[3:5], "big")
        found.append(Record(data[0], (data[1], data[2]), size))
        data = data[5 + size :]
    return found
