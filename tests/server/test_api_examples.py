"""The five examples of the API's page, each as a program of its own, asked by pyModbusTCP's own client."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator

from pyModbusTCP.client import ModbusClient  # type: ignore[import-untyped]

from support import page_examples
from support.api import PATIENCE, wait_until

_RUN = """
import signal, sys, threading
# a shell's background job, as this may be, does not hear Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)
names = {}
exec(sys.argv[1], names)
def tell_the_port():
    threading.main_thread().join()
    print("port", names["server"].port)
threading.Thread(target=tell_the_port).start()
"""
"""Runs an example, and tells the port of the server that it has left running once it is past its last line."""


class Program:
    """A running example, and a client of its server."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.printed: list[str] = []
        while not (line := self.line()).startswith("port "):
            self.printed.append(line)
        self.client = ModbusClient(host="127.0.0.1", port=int(line.split()[1]), timeout=PATIENCE)

    def line(self) -> str:
        """Give the next line that the program prints."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the program has ended"
        return line.rstrip("\n")


@contextlib.contextmanager
def running_program(source: str) -> Iterator[Program]:
    """Run an example, whose last line does not end it, and end it by Ctrl-C: in good order, without a traceback."""
    command = [sys.executable, "-u", "-c", _RUN, source]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            program = Program(process)
            yield program
            program.client.close()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, errors
            assert "Traceback" not in errors
        finally:
            process.kill()


def test_a_basic_server() -> None:
    with running_program(page_examples.BASIC) as program:
        assert program.printed == ["Server started successfully"]
        assert program.client.read_holding_registers(0, 6) == [100, 200, 300, 400, 500, 0]
        assert program.client.read_coils(0, 5) == [True, False, True, False, False]
        assert program.client.write_multiple_registers(4, [501, 600])
        assert program.client.read_holding_registers(4, 2) == [501, 600]


def test_a_data_bank_that_tells_of_changes() -> None:
    with running_program(page_examples.MONITORED) as program:
        assert program.client.write_multiple_registers(10, [0, 2, 3])
        assert [program.line() for _ in range(4)] == [
            "Registers 11-12 changed:",
            " From: [0, 0]",
            " To: [2, 3]",
            " Client: 127.0.0.1",
        ]
        assert program.client.write_multiple_coils(7, [True, True, False])
        assert [program.line() for _ in range(3)] == [
            "Coils 7-8 changed:",
            " From: [False, False]",
            " To: [True, True]",
        ]


def test_a_server_that_identifies_itself() -> None:
    with running_program(page_examples.IDENTIFIED) as program:
        regular = program.client.read_device_identification(read_code=2)
        assert list(regular.objects_by_id.values()) == [
            b"My Company",
            b"MC-001",
            b"1.0",
            b"https://mycompany.com",
            b"Industrial Controller",
            b"IC-2024",
            b"Factory Automation",
        ]
        assert program.client.read_device_identification(read_code=4, object_id=5).objects_by_id == {5: b"IC-2024"}


def test_a_handler_that_refuses() -> None:
    with running_program(page_examples.HANDLED) as program:
        assert program.client.write_multiple_registers(998, [1000, 7])
        assert program.client.read_holding_registers(998, 2) == [1000, 7]
        assert program.line() == "Client 127.0.0.1 reading 2 registers from 998"
        assert program.client.read_holding_registers(1000, 1) is None
        assert program.client.last_except == 1
        assert not program.client.write_multiple_registers(998, [0, 1001])
        assert program.client.last_except == 3
        assert program.client.read_holding_registers(998, 2) == [1000, 7]


def test_a_bank_with_virtual_data() -> None:
    with running_program(page_examples.VIRTUAL) as program:
        # its thread may not have had its first turn
        wait_until(lambda: program.client.read_discrete_inputs(0, 1) == [True])
        temperature, humidity, pressure = program.client.read_input_registers(0, 3)
        assert 180 <= temperature <= 250
        assert 30 <= humidity <= 70
        assert 990 <= pressure <= 1020
