"""`fieldgate server run` with any options, as a process of its own: its lines, its log, and raw frames to it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from support.api import PATIENCE, wait_until
from support.box import FIELDGATE, clean_environment


class Started:
    """A server process, from outside."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self._log = log
        self.lines: list[str] = []
        """What it has printed until it was ready."""
        self.ports: dict[str, int] = {}

    def wait_ready(self) -> None:
        """Wait until it listens."""
        assert self.process.stdout is not None
        while not self.lines or self.lines[-1] != "ready":
            line = self.process.stdout.readline()
            assert line, self.log()
            self.lines.append(line.rstrip("\n"))
            if line.startswith("listening: "):
                _, door, address = line.split()
                self.ports[door] = int(address.rpartition(":")[2])

    def log(self) -> str:
        """Give what it has written to standard error so far."""
        return self._log.read_text()

    def wait_log(self, *parts: str) -> str:
        """Wait for a line of the log that holds all these parts, and give it. Raises TimeoutError if none comes."""
        found: list[str] = []

        def there() -> bool:
            found[:] = [line for line in self.log().splitlines() if all(part in line for part in parts)]
            return bool(found)

        wait_until(there)
        return found[0]

    @contextlib.contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """Give a plain connection."""
        with socket.create_connection(("127.0.0.1", self.ports["modbus"]), PATIENCE) as connection:
            yield connection

    def ask(self, *pdus: str) -> list[str]:
        """Send requests to unit 1 in one segment, and give the replies; PDUs as hexadecimal text."""
        with self.connected() as connection, connection.makefile("rb") as stream:
            connection.sendall(b"".join(framed(pdu) for pdu in pdus))
            replies = []
            for _ in pdus:
                head = stream.read(7)
                replies.append(stream.read(int.from_bytes(head[4:6], "big") - 1).hex(" "))
            return replies

    def wait_end(self) -> tuple[int, list[str]]:
        """Wait for its end, and give its exit code and what it has printed since it was ready."""
        out, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out.splitlines()


def framed(pdu: str) -> bytes:
    """Give the frame of a PDU to unit 1."""
    data = bytes.fromhex(pdu)
    return b"\0\1\0\0" + (1 + len(data)).to_bytes(2, "big") + b"\1" + data


def owner() -> list[str]:
    """Give the option that root needs to have rights of its own."""
    return ["--owner-rights"] if os.geteuid() == 0 else []


@contextlib.contextmanager
def starting(folder: Path, *options: str) -> Iterator[Started]:
    """Run `fieldgate server run` with these options until the block ends; it may not be ready yet."""
    log = folder / "started.log"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [*FIELDGATE, "server", "run", *options],
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        try:
            yield Started(process, log)
        finally:
            process.kill()


@contextlib.contextmanager
def started(folder: Path, *options: str) -> Iterator[Started]:
    """Run it, for whom starts it to use, and wait until it is ready."""
    with starting(folder, *options, *owner()) as server:
        server.wait_ready()
        yield server
