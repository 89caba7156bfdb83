"""The end of a process that runs the API's server: by Ctrl-C, by its last line, by stop()."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from support.api import PATIENCE

_START = """
import signal, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from fieldgate_server import DataBank, DataHandler, ModbusServer
class Handler(DataHandler):
    def read_h_regs(self, address, count, srv_info):
        if address == 9:
            print("hanging")
            time.sleep(3600)
        return super().read_h_regs(address, count, srv_info)
def tell_the_end():
    threading.main_thread().join()
    print("past the last line")
threading.Thread(target=tell_the_end, daemon=True).start()
"""
PLAIN = "server = ModbusServer(port=0); server.start(); print(server.port)"
HANDLED = "server = ModbusServer(port=0, data_hdl=Handler()); server.start(); print(server.port)"
TWO = f"other = ModbusServer(port=0); other.start()\n{PLAIN}"
READ = bytes.fromhex("0001 0000 0006 01 03 0000 0001")
HANG = bytes.fromhex("0001 0000 0006 01 03 0009 0001")
WRITE = bytes.fromhex("0001 0000 0006 01 06 0000 0001")
REPLY = bytes.fromhex("0001 0000 0005 01 03 02 0000")


@contextlib.contextmanager
def program(source: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program, with unbuffered output."""
    command = [sys.executable, "-u", "-c", _START + source]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def connect(process: subprocess.Popen[str]) -> socket.socket:
    """Connect to the server whose port the program prints next, and see it serve."""
    connection = socket.create_connection(("127.0.0.1", int(line(process))), PATIENCE)
    connection.sendall(READ)
    assert connection.recv(100) == REPLY
    return connection


def past_last_line(process: subprocess.Popen[str]) -> None:
    """Wait until the program's main thread has ended."""
    assert line(process) == "past the last line"


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end; give exit code and what was complained of beyond the quick start's word."""
    _, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, "\n".join(one for one in errors.splitlines() if not one.startswith("no policy: "))


@pytest.mark.parametrize("source", [PLAIN, HANDLED, TWO])
def test_ctrl_c_ends_a_process_that_is_past_its_last_line(source: str) -> None:
    with program(source) as process, connect(process) as connection:
        past_last_line(process)
        connection.sendall(READ)
        assert connection.recv(100) == REPLY
        process.send_signal(signal.SIGINT)
        assert connection.recv(100) == b""
        assert end(process) == (0, "")


def test_ctrl_c_ends_a_process_whose_user_code_hangs() -> None:
    with (
        program("from fieldgate_server import lanes; lanes.STOP_DEADLINE = 0.1\n" + HANDLED) as process,
        connect(process) as connection,
    ):
        past_last_line(process)
        connection.sendall(HANG)
        assert line(process) == "hanging"
        process.send_signal(signal.SIGINT)
        code, errors = end(process)
        assert code == 0
        assert errors == "a call of user code did not end within 0.1 s of the stop, and is left to itself"


def test_ctrl_c_interrupts_a_main_thread_that_is_at_work_and_stops_the_server() -> None:
    source = f"""
{HANDLED}
try:
    threading.Event().wait()
except KeyboardInterrupt:
    print("interrupted", server.is_run())
    server.stop()
    print(server.start(), server.is_run())
    server.stop()
"""
    with program(source) as process, connect(process):
        process.send_signal(signal.SIGINT)
        assert [line(process), line(process)] == ["interrupted False", "True True"]
        assert end(process) == (0, "")


def test_ctrl_c_that_nobody_catches_ends_the_process_at_once() -> None:
    with program(f"{PLAIN}\nthreading.Event().wait()") as process, connect(process):
        process.send_signal(signal.SIGINT)
        code, errors = end(process)
        assert code == -signal.SIGINT
        assert errors.endswith("KeyboardInterrupt")


def test_a_server_that_does_not_block_ends_with_the_process_and_in_good_order() -> None:
    source = f"""
import logging, sys
logging.basicConfig(level=logging.INFO)
{HANDLED.replace("port=0", "port=0, no_block=True")}
sys.stdin.readline()
"""
    with program(source) as process, connect(process) as connection:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert connection.recv(100) == b""
        code, errors = end(process)
        assert code == 0
        assert "event=server state=stopping" in errors
        assert "state=closed reads=1" in errors
        assert "Traceback" not in errors


def test_stop_from_another_thread_ends_a_process_that_is_past_its_last_line() -> None:
    source = f"""
class Stopping(DataHandler):
    def write_h_regs(self, address, words_l, srv_info):
        server.stop()
        return super().write_h_regs(address, words_l, srv_info)
{HANDLED.replace("Handler", "Stopping")}
"""
    with program(source) as process, connect(process) as connection:
        past_last_line(process)
        connection.sendall(WRITE)
        assert connection.recv(100) == WRITE
        assert end(process) == (0, "")
