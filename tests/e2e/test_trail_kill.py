"""kill -9 in the middle of writes: what was acknowledged has its outcome, what ran its intent; the chain goes on."""

from __future__ import annotations

import contextlib
import getpass
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldgate_core.cli import main
from support.box import Box, running_file
from support.counts import rounds
from support.site import TABLES_OF_THE_VECTORS, Pki, write_files

WRITES = rounds(1_000, 10_000)
SESSIONS = 4


class Writer(threading.Thread):
    """Writes its own register with a number that rises, a few at a time, until the server is gone."""

    def __init__(self, port: int, register: int, per_turn: int) -> None:
        super().__init__()
        self._connection = socket.create_connection(("127.0.0.1", port))
        self._connection.settimeout(30)
        self.register = register
        self._per_turn = per_turn
        self.sent = 0
        self.acknowledged = 0
        self.middle = threading.Event()

    def run(self) -> None:
        with self._connection as connection:
            try:
                while self.sent < WRITES:
                    block = b"".join(
                        (n & 0xFFFF).to_bytes(2, "big")
                        + bytes.fromhex("000000060106")
                        + self.register.to_bytes(2, "big")
                        + (n & 0xFFFF).to_bytes(2, "big")
                        for n in range(self.sent + 1, self.sent + 1 + self._per_turn)
                    )
                    connection.sendall(block)
                    self.sent += self._per_turn
                    taken = b""
                    while len(taken) < len(block):
                        more = connection.recv(len(block) - len(taken))
                        if not more:
                            return
                        taken += more
                        self.acknowledged = self.sent - self._per_turn + len(taken) // 12
                        if self.acknowledged > WRITES // SESSIONS // 2:
                            self.middle.set()
            except OSError:
                pass
            finally:
                self.middle.set()


@contextlib.contextmanager
def box_with(pki: Pki, folder: Path, audit: str) -> Iterator[Box]:
    """Run a server process with these settings of the trail."""
    file = write_files(pki, folder, user=getpass.getuser(), grants=None, units=TABLES_OF_THE_VECTORS, extra="")
    file.write_text(file.read_text().replace('audit = "audit.log"', audit))
    with running_file(pki, folder, file) as box:
        yield box


def numbers(lines: list[str], outcome: str, register: int) -> list[int]:
    """Give the numbers that a register was written with, by the trail."""
    wanted = re.compile(
        rf'outcome={outcome} unit=1 function=6 range="holding {register}" .*?new=([0-9a-f]{{4}})(?: |\Z)'
    )
    return [int(found[1], 16) for line in lines if (found := wanted.search(line))]


@pytest.mark.long
@pytest.mark.parametrize("per_turn", [1, 16])
@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_kill_in_the_middle_of_writes(
    site_pki: Pki, tmp_path: Path, capsys: pytest.CaptureFixture[str], durability: str, per_turn: int
) -> None:
    file, key = tmp_path / "audit.log", tmp_path / "kept.key"
    assert main(["server", "audit", "init", str(file)]) == 0
    key.touch(0o600)
    key.write_text(capsys.readouterr().out)
    audit = f'audit = {{ file = "audit.log", durability = "{durability}", rotate_bytes = 100000, keep = 500 }}'
    with box_with(site_pki, tmp_path, audit) as box:
        writers = [Writer(box.ports["modbus"], register, per_turn) for register in range(SESSIONS)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.middle.wait(60)
        box.process.send_signal(signal.SIGKILL)
        box.process.wait()
        for writer in writers:
            writer.join()
    data = trail(tmp_path)
    lines = data.decode().split("\n")[:-1]
    for writer in writers:
        done = numbers(lines, "done", writer.register)
        intents = numbers(lines, "intent", writer.register)
        assert done == [n & 0xFFFF for n in range(1, len(done) + 1)]
        assert len(done) >= writer.acknowledged > 0, "what was acknowledged has its outcome"
        assert len(done) <= len(intents) <= len(done) + 1, "what ran has its intent, and one may be on its way"
    with box_with(site_pki, tmp_path, audit) as box:
        write_one(box)
        assert box.stop() == 0
    assert main(["server", "audit", "verify", str(file), "--key", str(key)]) == 0, capsys.readouterr().out
    assert "state=stopping" in trail(tmp_path).decode().split("\n")[-2]


def write_one(box: Box) -> None:
    with socket.create_connection(("127.0.0.1", box.ports["modbus"])) as connection:
        request = bytes.fromhex("000100000006010600000001")
        connection.sendall(request)
        assert connection.recv(12) == request


def trail(folder: Path) -> bytes:
    """Give the whole trail, the oldest file first."""
    older = [path for path in folder.glob("audit.log.*") if path.suffix[1:].isdigit()]
    older.sort(key=lambda path: int(path.suffix[1:]), reverse=True)
    return b"".join(path.read_bytes() for path in [*older, folder / "audit.log"])
