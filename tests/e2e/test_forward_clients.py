"""Clients that others wrote, through `fieldgate tunnel forward`, over SSH and over TLS."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTcpClient, ModbusTcpClient
from pyModbusTCP.client import ModbusClient  # type: ignore[import-untyped]

from support.box import Box
from support.counts import LONG
from support.forwarder import forwarding
from support.tools import run, tool

TOOLS = ("mbpoll",)
DOORS = ("ssh", "tls")
ANY = ("--listen", "127.0.0.1:0")

each_door = pytest.mark.parametrize("door", DOORS)


@each_door
def test_the_synchronous_clients_of_pymodbus_and_pymodbustcp_share_one_tunnel(
    box: Box, tmp_path: Path, door: str
) -> None:
    with forwarding(tmp_path, *box.where(door), *ANY) as forward:
        client: Any = ModbusTcpClient("127.0.0.1", port=forward.port)
        other = ModbusClient("127.0.0.1", forward.port, unit_id=1, timeout=10)
        assert client.connect()
        try:
            for value in range(20):
                assert not client.write_register(value, 1000 + value, device_id=1).isError()
                assert other.read_holding_registers(value, 2) == [1000 + value, 17]
            assert other.write_multiple_registers(50, [5, 6, 7])
            assert client.read_holding_registers(50, count=3, device_id=1).registers == [5, 6, 7]
            # an exception of the server is passed on as it is
            assert client.read_holding_registers(65535, count=2, device_id=1).exception_code == 2
        finally:
            client.close()
            other.close()
    opened = [line for line in box.audit_lines() if "state=opened" in line]
    assert len(opened) == 1


@each_door
@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_many_asynchronous_clients_of_pymodbus_see_their_own_data(box: Box, tmp_path: Path, door: str) -> None:
    with forwarding(tmp_path, *box.where(door), *ANY) as forward:

        async def use(number: int) -> None:
            client = AsyncModbusTcpClient("127.0.0.1", port=forward.port, timeout=20)
            assert await client.connect()
            for turn in range(10):
                written = await client.write_register(number, 100 * number + turn, device_id=1)
                assert not written.isError()
                read = await client.read_holding_registers(number, device_id=1)
                assert read.registers == [100 * number + turn]
            client.close()

        await asyncio.gather(*map(use, range(20)))


@each_door
@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_mbpoll_reads_and_writes(box: Box, tmp_path: Path, door: str) -> None:
    with forwarding(tmp_path, *box.where(door), *ANY) as forward:
        where = ("-m", "tcp", "-p", str(forward.port), "-a", "1", "-1", "-o", "10")
        written = await run("mbpoll", *where, "-r", "5", "127.0.0.1", "4711")
        assert "Written 1 references" in written.out
        read = await run("mbpoll", *where, "-r", "4", "-c", "2", "127.0.0.1")
        assert "[4]: \t17\n[5]: \t4711" in read.out


NODE = """
const Modbus = require("modbus-serial");
const client = new Modbus();
(async () => {
  await client.connectTCP("127.0.0.1", { port: Number(process.argv[2]) });
  client.setID(1);
  client.setTimeout(10000);
  await client.writeRegisters(10, [11, 12, 13]);
  const read = await client.readHoldingRegisters(9, 5);
  console.log(JSON.stringify(read.data));
  client.close(() => process.exit(0));
})();
"""


@pytest.mark.long
@pytest.mark.skipif(not LONG, reason="installs a package of npm: make test-long")
def test_a_node_client_reads_and_writes(box: Box, tmp_path: Path) -> None:
    (tmp_path / "client.js").write_text(NODE)
    npm = [tool("npm"), "install", "--silent", "--no-audit", "--no-fund", "--omit=optional", "modbus-serial@8"]
    subprocess.run(npm, cwd=tmp_path, check=True, stdin=subprocess.DEVNULL, timeout=100)
    for door in DOORS:
        with forwarding(tmp_path, *box.where(door), *ANY) as forward:
            done = subprocess.run(
                [tool("node"), "client.js", str(forward.port)],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
                timeout=30,
            )
            assert json.loads(done.stdout) == [17, 11, 12, 13, 17], done.stderr


def test_a_pipelining_client_gets_its_replies_by_its_own_ids_and_a_slow_one_stops_nobody(
    box: Box, tmp_path: Path
) -> None:
    read = b"\0\0\0\6\1\3\0\0\0\x64"  # 100 registers: 209 bytes for 12
    with (
        forwarding(tmp_path, *box.where("tls"), *ANY, "--deadline", "20") as forward,
        socket.create_connection(("127.0.0.1", forward.port), 20) as slow,
        socket.create_connection(("127.0.0.1", forward.port), 20) as quick,
        quick.makefile("rb") as stream,
        slow.makefile("rb") as seen,
        ThreadPoolExecutor(1) as pool,
    ):
        # more replies than all buffers between hold, and nobody reads them yet
        asked = 20_000
        flood = b"".join((number % 65536).to_bytes(2, "big") + read for number in range(asked))
        sending = pool.submit(slow.sendall, flood)
        for number in range(200):
            quick.sendall(number.to_bytes(2, "big") + read)
            assert stream.read(209)[:2] == number.to_bytes(2, "big")
        for number in range(asked):
            assert seen.read(209)[:2] == (number % 65536).to_bytes(2, "big")
        sending.result()
