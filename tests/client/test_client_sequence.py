"""`fieldgate client demo`: every step right on a real server, and the old values put back whatever happens."""

from __future__ import annotations

import asyncio
import re
import signal
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path

import pytest

from support.box import FIELDGATE, Box, clean_environment, fieldgate, running_box
from support.peers import device
from support.site import DOORS, Pki

READ_COILS, READ_HOLDING, READ_INPUT, WRITE_COIL, WRITE_REGISTER, WRITE_REGISTERS = 1, 3, 4, 5, 6, 16


class Memory:
    """A device's few cells; `before` is asked first for each PDU, and answers in place of it what is not None."""

    def __init__(self, before: Callable[[bytes], bytes | None] = lambda _: None) -> None:
        self.coils = [1, 0, 1]
        self.registers = [5, 6, 7]
        self._before = before
        self.mute = False

    def reply(self, pdu: bytes) -> bytes | None:
        other = self._before(pdu)
        if self.mute or other is not None:
            return other
        function, at, last = pdu[0], int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
        if function == READ_COILS:
            bits = sum(bit << place for place, bit in enumerate(self.coils[at : at + last]))
            return bytes((function, 1, bits))
        if function in {READ_HOLDING, READ_INPUT}:
            return bytes((function, 2 * last)) + b"".join(v.to_bytes(2, "big") for v in self.registers[at : at + last])
        if function == WRITE_COIL:
            self.coils[at] = int(last == 0xFF00)
        elif function == WRITE_REGISTER:
            self.registers[at] = last
        else:
            self.registers[at : at + last] = [int.from_bytes(pdu[i : i + 2], "big") for i in range(6, len(pdu), 2)]
        return pdu[:5]


def values(box: Box) -> str:
    registers = fieldgate("client", "read", *box.where("modbus"), "-c", "5").stdout
    return registers + fieldgate("client", "read", *box.where("modbus"), "-t", "0", "-c", "5").stdout


@pytest.mark.parametrize("door", DOORS)
def test_every_step_comes_out_right_and_the_old_values_are_back(box: Box, door: str) -> None:
    before = values(box)
    ended = fieldgate("client", "demo", *box.where(door), "-r", "2")
    told = [line.split(" ms  ")[1] for line in ended.stdout.splitlines() if " ms  " in line]
    assert (ended.returncode, ended.stderr) == (0, "")
    assert all(line.startswith("  ok ") for line in ended.stdout.splitlines() if " ms  " in line)
    assert told[2:9] == [
        "write coil 2: 0",
        "read coil 2 back",
        "write holding register 2: 16",
        "read holding register 2 back",
        "write holding registers 2-4: 16 16 16",
        "read holding registers 2-4 back",
        "read input registers 2-4: 17 17 17",
    ]
    assert max(map(len, ended.stdout.splitlines())) <= 80
    done = [line for line in box.audit_lines() if "outcome=done" in line]
    assert [line.split("function=")[1].split()[0] for line in done] == ["5", "6", "16", "5", "16"]
    assert values(box) == before


def test_a_viewer_changes_nothing_and_ends_with_1(box: Box) -> None:
    ended = fieldgate("client", "demo", *box.where("tls", "viewer"))
    assert ended.returncode == 1
    assert "FAILED" in ended.stdout
    assert "nothing had changed" in " ".join(ended.stdout.split())
    assert "exception 01" in ended.stderr
    assert not [line for line in box.audit_lines() if "event=write" in line]


def test_what_was_written_before_a_step_failed_is_put_back(site_pki: Pki, tmp_path: Path) -> None:
    grants = {"operator": '[{ units = "1", read = "all", write = "coils 0-9" }]'}
    with running_box(site_pki, tmp_path, grants=grants) as box:
        before = values(box)
        ended = fieldgate("client", "demo", *box.where("ssh"))
        written = [line for line in box.audit_lines() if "outcome=done" in line]
        assert ended.returncode == 1
        assert "function 6 answered with exception 01" in ended.stderr
        assert len(written) == 2
        assert values(box) == before


async def play(url: str, *options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *FIELDGATE, "client", "demo", url, *options, env=clean_environment(), stdout=PIPE, stderr=PIPE
    )


async def test_a_value_that_does_not_stay_is_a_failed_step() -> None:
    def stuck_coil(pdu: bytes) -> bytes | None:
        return pdu if pdu[0] == WRITE_COIL else None

    memory = Memory(stuck_coil)
    async with device(memory.reply) as peer:
        process = await play(peer.url)
        out, err = await process.communicate()
    assert (process.returncode, err) == (1, b"")
    assert out.decode().count("FAILED") == 1
    assert "0 was written, and 1 is there" in out.decode()
    assert (memory.coils, memory.registers) == ([1, 0, 1], [5, 6, 7])


@pytest.mark.parametrize(
    ("function", "code"), [(WRITE_COIL, 5), (WRITE_REGISTER, 5), (WRITE_REGISTERS, 5), (READ_INPUT, 3)]
)
async def test_a_tunnel_that_breaks_on_the_way_is_opened_again_to_put_the_values_back(function: int, code: int) -> None:
    broken: list[int] = []

    def breaks_once(pdu: bytes) -> bytes | None:
        if pdu[0] != function or broken:
            return None
        broken.append(function)
        return b""

    memory = Memory(breaks_once)
    async with device(memory.reply) as peer:
        process = await play(peer.url)
        out, _ = await process.communicate()
    assert process.returncode == code
    assert b"put back coil 1: " in out
    assert (memory.coils, memory.registers) == ([1, 0, 1], [5, 6, 7])


async def test_ctrl_c_puts_the_values_back_before_it_stops() -> None:
    waiting = asyncio.Event()

    def stands_still_once(pdu: bytes) -> bytes | None:
        # the register write is carried out, but its answer is held back
        memory.mute = pdu[0] == WRITE_REGISTER and not waiting.is_set()
        if memory.mute:
            memory.registers[0] = int.from_bytes(pdu[3:5], "big")
            waiting.set()
        return None

    memory = Memory(stands_still_once)
    async with device(memory.reply) as peer:
        process = await play(peer.url, "-o", "60")
        await waiting.wait()
        assert (memory.coils, memory.registers) == ([0, 0, 1], [4, 6, 7])
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"fieldgate: stopped\n")
    assert (memory.coils, memory.registers) == ([1, 0, 1], [5, 6, 7])


@pytest.mark.parametrize(
    ("function", "told", "coils", "registers"),
    [
        (WRITE_COIL, "put back coil 1: 1", [0, 0, 1], [5, 6, 7]),
        (WRITE_REGISTERS, "put back holding registers 1-3: 5 6 7", [1, 0, 1], [4, 6, 7]),
    ],
)
async def test_old_values_that_cannot_be_put_back_are_told_and_the_others_are_put_back(
    function: int, told: str, coils: list[int], registers: list[int]
) -> None:
    def fails_after_the_register_write(pdu: bytes) -> bytes | None:
        failing = memory.registers[0] == 4 and pdu[0] == function
        return bytes((function | 0x80, 4)) if failing else None

    memory = Memory(fails_after_the_register_write)
    async with device(memory.reply) as peer:
        process = await play(peer.url)
        out, err = await process.communicate()
    assert process.returncode == 5
    assert re.search(rf"FAILED +\d+ ms  {told}", out.decode())
    assert f"(function {function}) is unknown: answered with exception 04" in err.decode()
    assert (memory.coils, memory.registers) == (coils, registers)
