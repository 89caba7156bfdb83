"""`fieldgate client doctor`: what registers may mean, and which reading is the likely one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from fieldgate_client import doctor
from fieldgate_client.doctor import Reading, plausible, readings
from fieldgate_client.values import Encoding, Value
from fieldgate_core.modbus import Table
from fieldgate_server import DataBank, ModbusServer
from support.api import running
from support.box import fieldgate


def best(words: list[int], *, at: int = 100, asked: int = 100) -> Reading:
    """Give the most plausible reading of registers that lie between zeros."""
    held = dict.fromkeys(range(asked - 1, asked + 5), 0) | dict(enumerate(words, at))
    return plausible(readings(asked, {Table.HOLDING: held}))[0]


@pytest.mark.parametrize(
    ("encoding", "value"),
    [
        ("FLOAT32 ABCD", 123.456),
        ("FLOAT32 CDAB", 123.456),
        ("FLOAT32 BADC", 123.456),
        ("FLOAT32 DCBA", 123.456),
        ("FLOAT32 CDAB", -0.5),
        ("FLOAT64 ABCD", 230.15),
        ("FLOAT64 CDAB", 230.15),
        ("INT32 ABCD", 1234567),
        ("INT32 CDAB", 1234567),
        ("STRING 4 AB", "Pump 7"),
    ],
)
def test_the_most_plausible_reading_is_what_was_written(encoding: str, value: Value) -> None:
    made = Encoding.parse(encoding)
    found = best(made.encode(value))
    assert (str(found.encoding), found.encoding.text(found.value), found.shift) == (encoding, str(value), 0)


@pytest.mark.parametrize(("at", "shift"), [(99, -1), (101, 1)])
def test_off_by_one_is_found(at: int, shift: int) -> None:
    found = best(Encoding("FLOAT32", "CDAB").encode(123.456), at=at)
    assert (found.address, found.shift, str(found.encoding)) == (at, shift, "FLOAT32 CDAB")


def test_every_type_order_and_shift_is_shown() -> None:
    held = {table: dict.fromkeys(range(99, 105), 0x4142) for table in (Table.HOLDING, Table.INPUT)}
    found = readings(100, held)
    shown = {(reading.table, reading.address, str(reading.encoding)) for reading in found}
    one, more = ("INT16", "UINT16", "STRING 4"), ("INT32", "UINT32", "FLOAT32", "INT64", "UINT64", "FLOAT64")
    kinds = {f"{kind} {order}" for kind in one for order in ("AB", "BA")}
    kinds |= {f"{kind} {order}" for kind in more for order in ("ABCD", "CDAB", "BADC", "DCBA")}
    assert shown == {(table, address, kind) for table in held for address in (99, 100, 101) for kind in kinds}
    assert len(found) == len(shown)


@pytest.mark.parametrize(
    ("encoding", "words", "why"),
    [
        ("INT32 ABCD", [0, 0], "all zero"),
        ("UINT16 AB", [0xFFFF], "not available"),
        ("INT16 AB", [0x8000], "not available"),
        ("FLOAT32 ABCD", [0x7FC0, 0], "not a number"),
        ("FLOAT32 ABCD", [0x0000, 0x0001], "improbably small"),
        ("FLOAT32 ABCD", [0x7F00, 0], "improbably large"),
        ("INT32 ABCD", [0, 7], "half the registers"),
        ("INT32 ABCD", [0x7000, 0], "improbably large"),
        ("INT16 AB", [20000], "improbably large"),
        ("STRING 4 AB", [0x4142, 0x0143, 0, 0], "no text"),
    ],
)
def test_what_is_not_plausible_says_why(encoding: str, words: list[int], why: str) -> None:
    found = readings(100, {Table.HOLDING: dict(enumerate(words, 100))})
    (reading,) = [one for one in found if str(one.encoding) == encoding and one.address == 100]
    assert reading.likely == 0
    assert why in reading.why


def test_at_the_ends_of_the_addresses() -> None:
    assert str(doctor.window(0)) == "0-4"
    assert str(doctor.window(65535)) == "65534-65535"


def test_modicons_numbers() -> None:
    assert doctor.modicon(40101) == (Table.HOLDING, 100)
    assert doctor.modicon(30001) == (Table.INPUT, 0)
    assert doctor.modicon(40000) is None
    assert doctor.modicon(100) is None


# the command


@pytest.fixture(scope="module")
def server() -> Iterator[ModbusServer]:
    with running(ModbusServer(port=0)) as served:
        bank = served.data_bank
        assert isinstance(bank, DataBank)
        bank.set_holding_registers(100, Encoding("FLOAT32", "CDAB").encode(123.456))
        bank.set_input_registers(200, Encoding("STRING", "AB", 4).encode("Pump\x1b[2J"))
        bank.set_holding_registers(300, [0x7FC0, 0, 0, 0])
        yield served


def ask(server: ModbusServer, *args: str) -> str:
    done = fieldgate("client", "doctor", f"modbus://127.0.0.1:{server.port}", *args)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_table_marks_what_is_plausible(server: ModbusServer) -> None:
    text = ask(server, "100")
    assert "holding 100, the address as given: E979 42F6 0000 0000" in text
    assert "holding 99, if the manual counts from 1: 0000 E979 42F6 0000" in text
    assert re.search(r"^FLOAT32 +-1.88337e\+25 +123.456 \* +1.5185e\+35 +-9.86112e\+32", text, re.MULTILINE)
    assert text.split("most plausible first:\n")[1].startswith("  holding 100  FLOAT32 CDAB  123.456")
    assert max(map(len, text.splitlines())) <= 100


def test_a_heading_is_one_line(server: ModbusServer) -> None:
    assert "holding 65535, the address as given: 0000" in ask(server, "65535").splitlines()


def test_what_a_device_holds_does_not_reach_the_terminal(server: ModbusServer) -> None:
    assert "\x1b" not in ask(server, "200")


def test_all_readings_as_json(server: ModbusServer) -> None:
    data = json.loads(ask(server, "300", "--json"))
    assert (data["unit"], data["address"], data["registers"]["holding"]["300"]) == (1, 300, 0x7FC0)
    (nan,) = [
        reading
        for reading in data["readings"]
        if (reading["table"], reading["address"], reading["type"], reading["byte_order"])
        == ("holding", 300, "FLOAT32", "ABCD")
    ]
    assert nan["value"] is None
    assert "not a number" in nan["why"]


def test_registers_that_a_device_refuses_are_left_out() -> None:
    bank = DataBank(h_regs_size=102, i_regs_size=0)
    with running(ModbusServer(port=0, data_bank=bank)) as served:
        bank.set_holding_registers(100, Encoding("FLOAT32").encode(42.5))
        data = json.loads(ask(served, "100", "--json"))
        assert data["registers"] == {"holding": {"99": 0, "100": 0x422A, "101": 0}, "input": {}}
        done = fieldgate("client", "doctor", f"modbus://127.0.0.1:{served.port}", "5000")
        assert done.returncode == 1
        assert "illegal data address" in done.stderr


@pytest.mark.parametrize("address", ["-1", "65536", "x"])
def test_a_wrong_address_is_a_usage_error(address: str) -> None:
    assert fieldgate("client", "doctor", "modbus://127.0.0.1:1", "--", address).returncode == 2
