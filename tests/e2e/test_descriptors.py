"""No file descriptor is left: the server lives, says so once, burns no CPU, and serves everybody afterwards."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import sys
import time
from pathlib import Path

import pytest

from support.api import wait_until
from support.box import Box, fieldgate, running_file
from support.counts import rounds
from support.site import TABLES_OF_THE_VECTORS, Pki, write_files

TOOLS = ("prlimit",)
LIMIT = 64
_ON_ASYNCIO = (
    "import sys\nsys.modules['uvloop'] = None\nfrom fieldgate_core.cli import main\nsys.exit(main(sys.argv[1:]))"
)
PROGRAMS = {
    "asyncio": (sys.executable, "-c", _ON_ASYNCIO),
    "uvloop": (sys.executable, "-m", "fieldgate_core.cli"),
}


def cpu_seconds(pid: int) -> float:
    """Give the CPU time of a process so far (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def told(box: Box, what: str) -> int:
    return box.log().count(what)


def wait_told(box: Box, what: str, times: int) -> None:
    wait_until(lambda: told(box, what) == times)


@pytest.mark.long
@pytest.mark.parametrize("loop", PROGRAMS)
def test_a_server_without_descriptors_lives_and_recovers(site_pki: Pki, tmp_path: Path, loop: str) -> None:
    user = getpass.getuser()
    more = "handshakes_per_address = 200\nhandshakes = 200\n"
    units = f"[limits]\n{more}{TABLES_OF_THE_VECTORS}"
    file = write_files(site_pki, tmp_path, user=user, grants=None, units=units, extra="max_sessions_per_identity = 200")
    program = ("prlimit", f"--nofile={LIMIT}", *PROGRAMS[loop])
    with running_file(site_pki, tmp_path, file, program=program) as box:
        turns = rounds(1, 8)
        for turn in range(turns):
            with contextlib.ExitStack() as stack:
                for _ in range(LIMIT + 30):
                    peer = socket.create_connection(("127.0.0.1", box.ports[("tls", "modbus")[turn % 2]]), 10)
                    stack.enter_context(peer)
                wait_told(box, "no file descriptor is left", turn + 1)
                spent = cpu_seconds(box.process.pid)
                time.sleep(1.5)
                assert cpu_seconds(box.process.pid) - spent < 0.75, "it spins"
            wait_told(box, "there are file descriptors again", turn + 1)
            for honest in ("modbus", "tls", "ssh"):
                done = fieldgate("client", "read", *box.where(honest))
                assert done.returncode == 0, (done.stderr, box.log())
        assert told(box, "no file descriptor is left") == turns, "once each time"
        assert told(box, "Traceback") == told(box, "out of system resource") == 0
        assert box.stop() == 0
