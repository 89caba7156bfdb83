"""The Python API under test: a running server, and a peer that speaks raw frames."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator

from fieldgate_server import ModbusServer

PATIENCE = 20.0
"""Seconds within which what is waited for has to happen."""


@contextlib.contextmanager
def running(server: ModbusServer) -> Iterator[ModbusServer]:
    """Run a server for the block."""
    assert server.start(), server.last_error
    try:
        yield server
    finally:
        server.stop()


class Peer:
    """One connection, which sends requests with rising transaction numbers."""

    def __init__(self, server: ModbusServer) -> None:
        self._socket = socket.create_connection(("::1" if server.host == "::1" else "127.0.0.1", server.port), PATIENCE)
        self._stream = self._socket.makefile("rb")
        self._transaction = 0
        self.port: int = self._socket.getsockname()[1]

    def send(self, *pdus: bytes, unit: int = 1) -> None:
        """Send requests, all at once."""
        frames = b""
        for pdu in pdus:
            self._transaction += 1
            head = self._transaction.to_bytes(2, "big") + b"\0\0" + (1 + len(pdu)).to_bytes(2, "big")
            frames += head + bytes((unit,)) + pdu
        self._socket.sendall(frames)

    def receive(self) -> tuple[int, bytes]:
        """Give transaction number and PDU of the next reply. Raises EOFError when the server has closed."""
        head = self._stream.read(7)
        if len(head) < 7:
            raise EOFError
        return int.from_bytes(head[:2], "big"), self._stream.read(int.from_bytes(head[4:6], "big") - 1)

    def ask(self, pdu: str, unit: int = 1) -> str:
        """Send one request and give its reply; both are PDUs as hexadecimal text."""
        self.send(bytes.fromhex(pdu), unit=unit)
        return self.receive()[1].hex(" ")

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()
        self._socket.close()


@contextlib.contextmanager
def peer(server: ModbusServer) -> Iterator[Peer]:
    """Give a connection for the block."""
    with contextlib.closing(Peer(server)) as connection:
        yield connection


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for something that cannot tell by itself. Raises TimeoutError if it does not happen."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.002)
