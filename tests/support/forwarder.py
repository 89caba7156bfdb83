"""`fieldgate tunnel forward` as a process of its own: its ports, its log, and its end."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from support.box import FIELDGATE, clean_environment

PATIENCE = 20.0


class Forwarder:
    """The running command, from outside: the addresses it listens on, in their order."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, log: Path) -> None:
        self.process = process
        self.folder = folder
        self._log = log
        self.addresses: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            if line == "ready\n":
                return
            assert line.startswith("listening: modbus "), line
            self.addresses.append(line.split()[2])
        raise AssertionError(self.log())

    @property
    def port(self) -> int:
        """Its first port."""
        return int(self.addresses[0].rpartition(":")[2])

    def log(self) -> str:
        """Give what it has logged so far."""
        return self._log.read_text()

    def wait_log(self, *parts: str, count: int = 1) -> str:
        """Wait for so many lines of the log that hold all these parts, and give the last. Raises TimeoutError."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            found = [line for line in self.log().splitlines() if all(part in line for part in parts)]
            if len(found) >= count:
                return found[count - 1]
            time.sleep(0.01)
        raise TimeoutError(f"{parts}: {self.log()}")

    def stop(self) -> int:
        """Stop it as a service manager does, and give its exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE)


@contextlib.contextmanager
def forwarding(folder: Path, *options: str, command: Sequence[str] = FIELDGATE) -> Iterator[Forwarder]:
    """Run `fieldgate tunnel forward` with these options until the block ends; its status socket is in `folder`.

    `command` are the words in place of `fieldgate`.
    """
    log = folder / "forward.log"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [*command, "tunnel", "forward", *options],
            env=clean_environment(XDG_RUNTIME_DIR=str(folder)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=folder,
        ) as process,
    ):
        try:
            yield Forwarder(process, folder, log)
        finally:
            process.kill()
