"""Every function through every door, byte for byte, and by clients that others wrote."""

from __future__ import annotations

import asyncio
import getpass
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTcpClient, AsyncModbusTlsClient
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.file_message import FileRecord
from pyModbusTCP.client import ModbusClient  # type: ignore[import-untyped]

from support.asking import Stream
from support.bench import EVERYTHING
from support.forward import plain_port
from support.site import DOORS, Pki, Site, running_site
from support.tools import run

TOOLS = ("ssh", "mbpoll")
"""Stock tools that these tests need (conftest.py)."""

one_loop = pytest.mark.asyncio(loop_factories=["uvloop"])
PLAIN = ("modbus", "ssh")
"""The doors that a client without TLS reaches, one of them through a stock ssh."""

UNITS = """[[unit]]
id = 1
default = true
exception_status = 16
server_id = "boiler"
coils = { at = { 17 = 1 } }
discrete = { initial = 1 }
holding = { initial = 17, at = { 40 = [2, 440, 4740] } }
input = { initial = 18 }
file = [{ number = 4, records = 100, initial = [3582, 32] }]
[unit.identification]
vendor_name = "ACME"
product_code = "X1"
revision = "2.0"
[[unit]]
id = 2
layout = "overlaid"
[unit.identification]
vendor_name = "Other"
product_code = "Y2"
revision = "3.1"
vendor_url = "https://other.example"
"""


@pytest.fixture
async def plant(site_pki: Pki, tmp_path: Path) -> AsyncIterator[Site]:
    """Two units, on which the operator may do everything, and the viewer reads the first."""
    grants = {"operator": f"[{EVERYTHING}]"}
    async with running_site(site_pki, tmp_path, user=getpass.getuser(), grants=grants, units=UNITS) as site:
        yield site


# by bytes

EXCHANGES = [
    ("01 00 10 00 03", "01 01 02"),
    ("02 00 00 00 03", "02 01 07"),
    ("03 00 00 00 01", "03 02 00 11"),
    ("04 00 00 00 01", "04 02 00 12"),
    ("05 00 12 ff 00", "05 00 12 ff 00"),
    ("06 00 00 01 00", "06 00 00 01 00"),
    ("07", "07 06"),
    ("08 00 00 a5 37", "08 00 00 a5 37"),
    ("08 00 02 00 00", "08 00 02 00 00"),
    ("08 00 03 0d 00", "08 00 03 0d 00"),
    ("08 00 0a 00 00", "08 00 0a 00 00"),
    ("08 00 0b 00 00", "08 00 0b 00 01"),
    ("08 00 0c 00 00", "08 00 0c 00 00"),
    ("08 00 0d 00 00", "08 00 0d 00 00"),
    ("08 00 0e 00 00", "08 00 0e 00 04"),
    ("08 00 0f 00 00", "08 00 0f 00 00"),
    ("08 00 10 00 00", "08 00 10 00 00"),
    ("08 00 11 00 00", "08 00 11 00 00"),
    ("08 00 12 00 00", "08 00 12 00 00"),
    ("08 00 14 00 00", "08 00 14 00 00"),
    ("0b", "0b 00 00 00 09"),
    ("08 00 01 ff 00", "08 00 01 ff 00"),
    ("0c", "0c 07 00 00 00 00 00 01 00"),
    ("0f 00 10 00 08 01 81", "0f 00 10 00 08"),
    ("10 00 01 00 02 04 00 0a 01 02", "10 00 01 00 02"),
    ("11", "11 07 62 6f 69 6c 65 72 ff"),
    ("14 07 06 00 04 00 00 00 02", "14 06 05 06 0d fe 00 20"),
    ("15 09 06 00 04 00 01 00 01 12 34", "15 09 06 00 04 00 01 00 01 12 34"),
    ("14 07 06 00 04 00 00 00 02", "14 06 05 06 0d fe 12 34"),
    ("16 00 00 00 f2 00 25", "16 00 00 00 f2 00 25"),
    ("17 00 00 00 03 00 01 00 01 02 be ef", "17 06 00 05 be ef 01 02"),
    ("18 00 28", "18 00 06 00 02 01 b8 12 84"),
    ("2b 0e 01 00", "2b 0e 01 81 00 00 03 00 04 41 43 4d 45 01 02 58 31 02 03 32 2e 30"),
    ("2b 0e 04 01", "2b 0e 04 81 00 00 01 01 02 58 31"),
    ("09", "89 01"),
    ("08 00 04 00 00", None),
    ("03 00 00 00 01", None),
    ("08 00 01 00 00", None),
    ("07", "07 81"),
]
"""Requests to unit 1 in this order, and their replies; None where there is none."""


def framed(transaction: int, pdu: str, unit: int = 1) -> bytes:
    data = bytes.fromhex(pdu)
    return transaction.to_bytes(2, "big") + b"\0\0" + (1 + len(data)).to_bytes(2, "big") + bytes((unit,)) + data


async def check_exchanges(stream: Stream, exchanges: list[tuple[str, str | None]], *, pipelined: bool) -> None:
    """Check that these requests get these replies and no others, sent all at once or each after its reply."""
    reader, writer = stream
    requests = [framed(number, asked) for number, (asked, _) in enumerate(exchanges)]
    replies = [b"" if reply is None else framed(number, reply) for number, (_, reply) in enumerate(exchanges)]
    if pipelined:
        writer.write(b"".join(requests))
    for request, reply in zip(requests, replies, strict=True):
        if not pipelined:
            writer.write(request)
        assert (await reader.readexactly(len(reply))).hex(" ") == reply.hex(" "), request.hex(" ")


@pytest.mark.parametrize("pipelined", [True, False], ids=["pipelined", "one by one"])
@pytest.mark.parametrize("door", DOORS)
async def test_every_function_through_every_door(plant: Site, door: str, pipelined: bool) -> None:
    async with plant.stream(door) as stream:
        await check_exchanges(stream, EXCHANGES, pipelined=pipelined)


@pytest.mark.parametrize("door", ["tls", "ssh"])
async def test_a_viewer_reads_and_nothing_else(plant: Site, door: str) -> None:
    reads = {"01", "02", "03", "04", "14", "18"}
    refused: list[tuple[str, str | None]] = [
        (asked, f"{int(asked[:2], 16) | 0x80:02x} 01") for asked, _ in EXCHANGES if asked[:2] not in reads
    ]
    served = [EXCHANGES[0], EXCHANGES[3], ("14 07 06 00 04 00 00 00 02", "14 06 05 06 0d fe 00 20"), EXCHANGES[31]]
    async with plant.stream(door, "viewer") as stream:
        await check_exchanges(stream, [*served, *refused, *served], pipelined=True)
    assert not [line for line in plant.trail() if "event=write" in line or "event=control" in line]


@pytest.mark.parametrize("door", DOORS)
async def test_a_unit_that_one_door_silences_another_brings_back(plant: Site, door: str) -> None:
    async with plant.stream(door) as stream, plant.stream("tls") as other:
        reader, writer = stream
        # unit 2 answers after unit 1 has taken its order
        writer.write(framed(1, "08 00 04 00 00") + framed(2, "03 00 00 00 01", unit=2))
        assert await reader.readexactly(11) == framed(2, "03 02 00 00", unit=2)
        other[1].write(framed(3, "03 00 00 00 01") + framed(4, "08 00 01 00 00") + framed(5, "03 00 00 00 01"))
        assert await other[0].readexactly(11) == framed(5, "03 02 00 11")
        writer.write(framed(6, "03 00 00 00 01"))
        assert await reader.readexactly(11) == framed(6, "03 02 00 11")


# by foreign clients


@one_loop
@pytest.mark.parametrize("door", PLAIN)
async def test_mbpoll_reads_and_writes_all_four_tables(plant: Site, door: str) -> None:
    async with plain_port(plant, door) as port:

        async def mbpoll(*words: str) -> list[str]:
            ended = await run("mbpoll", "-m", "tcp", "-0", "-1", "-p", str(port), *words)
            assert ended.code == 0, ended
            return ended.out.split()

        for table, first, values in (("0", "16", ["0", "1"]), ("1", "3", ["1", "1"]), ("3", "0", ["18", "18"])):
            words = await mbpoll("-a", "1", "-t", table, "-r", first, "-c", "2", "127.0.0.1")
            assert words[-4:] == [f"[{first}]:", values[0], f"[{int(first) + 1}]:", values[1]]
        assert (await mbpoll("-a", "1", "-t", "4", "-r", "40", "-c", "3", "127.0.0.1"))[-5::2] == ["2", "440", "4740"]
        await mbpoll("-a", "1", "-t", "4", "-r", "1", "127.0.0.1", "1234")
        await mbpoll("-a", "1", "-t", "4", "-r", "2", "127.0.0.1", "1", "65535")
        words = await mbpoll("-a", "1", "-t", "4", "-r", "1", "-c", "3", "127.0.0.1")
        assert words[-7:] == ["[1]:", "1234", "[2]:", "1", "[3]:", "65535", "(-1)"]
        await mbpoll("-a", "1", "-t", "0", "-r", "20", "127.0.0.1", "1")
        await mbpoll("-a", "1", "-t", "0", "-r", "21", "127.0.0.1", "1", "0", "1")
        assert (await mbpoll("-a", "1", "-t", "0", "-r", "20", "-c", "4", "127.0.0.1"))[-7::2] == ["1", "1", "0", "1"]
        # unit 2 is overlaid
        await mbpoll("-a", "2", "-t", "0", "-r", "17", "127.0.0.1", "1")
        assert (await mbpoll("-a", "2", "-t", "4", "-r", "1", "127.0.0.1"))[-2:] == ["[1]:", "2"]


@one_loop
@pytest.mark.parametrize("door", PLAIN)
async def test_pymodbustcp_is_served(plant: Site, door: str) -> None:
    async with plain_port(plant, door) as port:
        await asyncio.to_thread(use_pymodbustcp, port)


def use_pymodbustcp(port: int) -> None:
    client = ModbusClient("127.0.0.1", port, unit_id=1, timeout=10)
    try:
        assert client.read_coils(16, 3) == [False, True, False]
        assert client.read_discrete_inputs(0, 3) == [True] * 3
        assert client.read_holding_registers(39, 4) == [17, 2, 440, 4740]
        assert client.read_input_registers(0, 125) is None
        assert client.last_except == 2
        assert client.read_input_registers(0, 100) == [18] * 100
        assert client.write_single_coil(0, True)
        assert client.write_multiple_coils(1, [False, True, True])
        assert client.read_coils(0, 4) == [True, False, True, True]
        assert client.write_single_register(0, 4660)
        assert client.write_multiple_registers(1, [1, 65535])
        assert client.read_holding_registers(0, 3) == [4660, 1, 65535]
        assert client.write_read_multiple_registers(2, [7], 1, 3) == [1, 7, 17]
        told = client.read_device_identification()
        assert told is not None
        assert (told.vendor_name, told.product_code, told.major_minor_revision) == (b"ACME", b"X1", b"2.0")
        assert (told.conformity_level, told.more_follows) == (0x81, 0)
        client.unit_id = 2
        told = client.read_device_identification(read_code=2)
        assert told is not None
        assert (told.vendor_name, told.vendor_url) == (b"Other", b"https://other.example")
        told = client.read_device_identification(read_code=4, object_id=1)
        assert told is not None
        assert told.objects_by_id == {1: b"Y2"}
        assert client.read_device_identification(read_code=4, object_id=9) is None
        assert client.last_except == 2
    finally:
        client.close()


@one_loop
@pytest.mark.parametrize("door", DOORS)
async def test_pymodbus_uses_the_rare_functions(plant: Site, door: str) -> None:
    if door == "tls":
        identity = plant.pki.client("operator")
        context = ssl.create_default_context(cafile=str(identity / "tls-server-ca.pem"))
        context.load_cert_chain(identity / "tls-chain.pem", identity / "tls-key.pem")
        tls = AsyncModbusTlsClient("127.0.0.1", port=plant.app.ports["tls"], sslctx=context)
        await use_pymodbus(tls)
        return
    async with plain_port(plant, door) as port:
        await use_pymodbus(AsyncModbusTcpClient("127.0.0.1", port=port))


def good(reply: ModbusPDU) -> Any:
    """Give a reply that is no exception; each function's has fields of its own."""
    assert not reply.isError(), reply
    return reply


async def use_pymodbus(client: AsyncModbusTcpClient) -> None:
    assert await client.connect()
    try:
        assert good(await client.read_exception_status()).status == 0b10
        assert good(await client.diag_query_data(b"\xa5\x37\x01\x02")).message == b"\xa5\x37\x01\x02"
        assert (await client.read_holding_registers(200)).exception_code == 2
        assert good(await client.diag_read_diagnostic_register()).message == 1
        assert good(await client.diag_read_bus_message_count()).message == 5
        assert good(await client.diag_read_bus_exception_error_count()).message == 1
        assert good(await client.diag_read_device_message_count()).message == 7
        counter = good(await client.diag_get_comm_event_counter())
        assert (counter.status, counter.count) == (True, 6)
        log = good(await client.diag_get_comm_event_log())
        assert (log.status, log.event_count, log.message_count) == (True, 6, 9)
        assert log.events == [0x40, 0x80] * 5 + [0x41, 0x80] + [0x40, 0x80] * 2 + [0]
        for ask in (
            client.diag_read_bus_comm_error_count,
            client.diag_read_device_no_response_count,
            client.diag_read_device_nak_count,
            client.diag_read_device_busy_count,
            client.diag_read_bus_char_overrun_count,
        ):
            assert good(await ask()).message == 0
        good(await client.diag_clear_overrun_counter())
        good(await client.diag_clear_counters())
        assert good(await client.diag_get_comm_event_counter()).count == 0
        good(await client.diag_restart_communication(True))
        assert good(await client.diag_get_comm_event_log()).events == [0]
        await client.diag_force_listen_only(no_response_expected=True)
        await client.diag_restart_communication(False, no_response_expected=True)
        # pymodbus takes the last byte for the run indicator, and knows of no additional data
        told = good(await client.report_device_id())
        assert (told.identifier, told.status) == (b"boiler", True)
        # here a length counts bytes
        records = [FileRecord(file_number=4, record_number=0, record_length=4)]
        assert good(await client.read_file_record(records)).records[0].record_data == b"\x0d\xfe\x00\x20"
        new = [FileRecord(file_number=4, record_number=99, record_data=b"\x12\x34")]
        good(await client.write_file_record(new))
        records = [FileRecord(file_number=4, record_number=98, record_length=4)]
        assert good(await client.read_file_record(records)).records[0].record_data == b"\0\0\x12\x34"
        good(await client.mask_write_register(address=0, and_mask=0xF2, or_mask=0x25))
        assert good(await client.read_holding_registers(0)).registers == [17 & 0xF2 | 0x25 & ~0xF2]
        assert good(await client.read_fifo_queue(address=40)).values == [440, 4740]
        for unit, objects in {
            1: {0: b"ACME", 1: b"X1", 2: b"2.0"},
            2: {0: b"Other", 1: b"Y2", 2: b"3.1", 3: b"https://other.example"},
        }.items():
            told = good(await client.read_device_information(read_code=2, device_id=unit))
            assert told.information == objects
            assert told.conformity == (0x81 if unit == 1 else 0x82)
    finally:
        client.close()
