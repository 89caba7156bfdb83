"""Registers and values: one golden table for our codec, struct, Telegraf's letters and the real mbpoll."""

from __future__ import annotations

import math
import re
import struct
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldgate_client.values import TYPES, Encoding, Value
from fieldgate_server import DataBank, ModbusServer
from support.api import running
from support.tools import tool

ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")

# type, value, and the registers in each order as Telegraf documents the letters: A is the most significant byte
GOLDEN: list[tuple[str, Value, dict[str, str]]] = [
    ("FLOAT32", 123.456, {"ABCD": "42F6 E979", "CDAB": "E979 42F6", "BADC": "F642 79E9", "DCBA": "79E9 F642"}),
    ("FLOAT32", -123.456, {"ABCD": "C2F6 E979", "CDAB": "E979 C2F6", "BADC": "F6C2 79E9", "DCBA": "79E9 F6C2"}),
    ("INT32", 1123477881, {"ABCD": "42F6 E979", "CDAB": "E979 42F6", "BADC": "F642 79E9", "DCBA": "79E9 F642"}),
    ("INT32", -2, {"ABCD": "FFFF FFFE", "CDAB": "FFFE FFFF", "BADC": "FFFF FEFF", "DCBA": "FEFF FFFF"}),
    ("UINT32", 4294967294, {"ABCD": "FFFF FFFE", "CDAB": "FFFE FFFF", "BADC": "FFFF FEFF", "DCBA": "FEFF FFFF"}),
    ("INT16", -2, {"ABCD": "FFFE", "CDAB": "FFFE", "BADC": "FEFF", "DCBA": "FEFF", "AB": "FFFE", "BA": "FEFF"}),
    ("UINT16", 0x1234, {"ABCD": "1234", "CDAB": "1234", "BADC": "3412", "DCBA": "3412", "AB": "1234", "BA": "3412"}),
    ("FLOAT16", 1.5, {"ABCD": "3E00", "CDAB": "3E00", "BADC": "003E", "DCBA": "003E"}),
    (
        "UINT64",
        0x0102030405060708,
        {
            "ABCD": "0102 0304 0506 0708",
            "CDAB": "0708 0506 0304 0102",
            "BADC": "0201 0403 0605 0807",
            "DCBA": "0807 0605 0403 0201",
        },
    ),
    ("INT64", -9007199254740993, {"ABCD": "FFDF FFFF FFFF FFFF", "CDAB": "FFFF FFFF FFFF FFDF"}),
    (
        "FLOAT64",
        123.456,
        {
            "ABCD": "405E DD2F 1A9F BE77",
            "CDAB": "BE77 1A9F DD2F 405E",
            "BADC": "5E40 2FDD 9F1A 77BE",
            "DCBA": "77BE 9F1A 2FDD 5E40",
        },
    ),
    ("STRING", "Pump", {"ABCD": "5075 6D70", "CDAB": "5075 6D70", "BADC": "7550 706D", "DCBA": "7550 706D"}),
]
CASES = [(kind, order, value, text) for kind, value, orders in GOLDEN for order, text in orders.items()]
PARTS = [
    ("INT8L", "AB", "12FE", -2),
    ("INT8H", "AB", "FE12", -2),
    ("UINT8L", "AB", "12FE", 0xFE),
    ("UINT8H", "AB", "FE12", 0xFE),
    ("INT8L", "BA", "FE12", -2),
    ("UINT8H", "DCBA", "12FE", 0xFE),
    ("BIT 0", "AB", "0001", 1),
    ("BIT 0", "AB", "FFFE", 0),
    ("BIT 15", "AB", "8000", 1),
    ("BIT 8", "BA", "0001", 1),
]
CODES = {"INT16": "h", "UINT16": "H", "INT32": "i", "UINT32": "I", "INT64": "q", "UINT64": "Q"} | {
    "FLOAT16": "e",
    "FLOAT32": "f",
    "FLOAT64": "d",
}


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def encoding(kind: str, order: str, registers: int) -> Encoding:
    return Encoding(kind, order, registers if kind == "STRING" else 1)


@pytest.mark.parametrize(("kind", "order", "value", "text"), CASES)
def test_the_golden_table(kind: str, order: str, value: Value, text: str) -> None:
    made = encoding(kind, order, len(words(text)))
    decoded = made.decode(words(text))
    assert made.encode(value) == words(text)
    assert made.text(decoded) == str(value)
    if kind == "FLOAT32":
        assert decoded == pytest.approx(value, rel=1e-7)
    else:
        assert (decoded, type(decoded)) == (value, type(value))


@pytest.mark.parametrize(("kind", "order", "text", "value"), PARTS)
def test_parts_of_a_register_are_read_and_never_written(kind: str, order: str, text: str, value: int) -> None:
    made = Encoding.parse(f"{kind} {order}")
    assert made.decode(words(text)) == value
    assert not made.is_writable
    with pytest.raises(ValueError, match="a register is written whole"):
        made.encode(value)


@given(st.sampled_from(sorted(CODES)), st.binary(min_size=8, max_size=8))
def test_the_two_plain_orders_are_those_of_struct(kind: str, data: bytes) -> None:
    size = struct.calcsize(CODES[kind])
    data = data[:size]
    registers = list(struct.unpack(f">{size // 2}H", data))
    for order, mark in (("ABCD", ">"), ("DCBA", "<")):
        (value,) = struct.unpack(f"{mark}{CODES[kind]}", data)
        ours = Encoding(kind, order).decode(registers)
        assert ours == value or (math.isnan(value) and math.isnan(float(ours)))


@given(st.sampled_from(sorted(CODES)), st.sampled_from(ORDERS), st.binary(min_size=8, max_size=8))
def test_what_is_decoded_is_encoded_back_also_by_its_text(kind: str, order: str, data: bytes) -> None:
    made = Encoding(kind, order)
    registers = list(struct.unpack(">4H", data))[: made.registers]
    value = made.decode(registers)
    assert not isinstance(value, str)
    if math.isfinite(value):
        assert made.encode(value) == registers
        assert made.encode(float(made.text(value)) if made.is_float else int(made.text(value))) == registers
    else:
        with pytest.raises(ValueError, match="is no value to write"):
            made.encode(value)


@given(st.sampled_from(["AB", "BA"]), st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=8))
def test_a_text_comes_back(order: str, text: str) -> None:
    made = Encoding("STRING", order, 4)
    assert len(made.encode(text)) == 4
    assert made.decode(made.encode(text)) == text


@pytest.mark.parametrize(
    ("text", "made", "shown"),
    [
        ("float32 CDAB", Encoding("FLOAT32", "CDAB"), "FLOAT32 CDAB"),
        (" Float   cdab ", Encoding("FLOAT32", "CDAB"), "FLOAT32 CDAB"),
        ("FLOAT32-IEEE big-endian word_swap", Encoding("FLOAT32", "CDAB"), "FLOAT32 CDAB"),
        ("float32 little endian byte swap", Encoding("FLOAT32", "CDAB"), "FLOAT32 CDAB"),
        ("uint32 byte swap", Encoding("UINT32", "BADC"), "UINT32 BADC"),
        ("double little", Encoding("FLOAT64", "DCBA"), "FLOAT64 DCBA"),
        ("int64", Encoding("INT64", "ABCD"), "INT64 ABCD"),
        ("uint16", Encoding("UINT16"), "UINT16 AB"),
        ("int16 dcba", Encoding("INT16", "BA"), "INT16 BA"),
        ("int16 CDAB", Encoding("INT16", "AB"), "INT16 AB"),
        ("string 8", Encoding("STRING", "AB", 8), "STRING 8 AB"),
        ("STRING 125 ba", Encoding("STRING", "BA", 125), "STRING 125 BA"),
        ("bit 3", Encoding("BIT", bit=3), "BIT 3 AB"),
        ("bool", Encoding("BOOL"), "BOOL"),
    ],
)
def test_types_and_orders_are_read_by_their_names(text: str, made: Encoding, shown: str) -> None:
    assert Encoding.parse(text) == made
    assert str(made) == shown
    assert Encoding.parse(shown) == made


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "names no type"),
        ("32 float", "names no type"),
        ("CDAB", "'CDAB' is no type"),
        ("int24", "'int24' is no type"),
        ("float32 AB", "'AB' is no byte order of FLOAT32"),
        ("float32 ABCDE", "'ABCDE' is no byte order"),
        ("int16 ABC", "'ABC' is no byte order"),
        ("int32 2", "no length of its own, not 2"),
        ("string 0", "1 to 125 registers, not 0"),
        ("string 126", "1 to 125 registers, not 126"),
        ("bit 16", "bits 0 to 15, not 16"),
    ],
)
def test_a_wrong_type_or_order_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        Encoding.parse(text)


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        ("uint16", 65536, "65536 does not fit into UINT16 (0 to 65535)"),
        ("uint16", -1, "-1 does not fit into UINT16 (0 to 65535)"),
        ("int16", 32768, "does not fit into INT16 (-32768 to 32767)"),
        ("int32", -(2**31) - 1, "does not fit into INT32"),
        ("uint64", 2**64, "does not fit into UINT64"),
        ("int16", 1.5, "1.5 is no whole number"),
        ("int16", "12", "is text"),
        ("float16", 65520.0, "does not fit into FLOAT16"),
        ("float32", 1e39, "does not fit into FLOAT32"),
        ("float32", 3.4028236e38, "does not fit into FLOAT32"),
        pytest.param("float64", 10**400, "does not fit into FLOAT64", id="beyond float64"),
        ("float64", math.nan, "nan is no value to write"),
        ("float32", -math.inf, "-inf is no value to write"),
        ("int32", math.inf, "inf is no value to write"),
        ("bool", 2, "2 is neither 0 nor 1"),
        ("string 2", 5, "5 is no text"),
        ("string 2", "Pumps", "longer than 4 characters"),
        ("string 2", "a\0", "zero byte"),
        ("string 2", "€", "no single byte"),
    ],
)
def test_a_value_that_the_type_does_not_hold_is_refused(kind: str, value: Value, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        Encoding.parse(kind).encode(value)


def test_whole_floats_and_truth_fit_into_integers() -> None:
    assert Encoding("INT16").encode(-3.0) == [0xFFFD]
    assert Encoding("BOOL").encode(True) == [1]
    assert Encoding("BOOL").decode([1]) == 1
    assert [Encoding("FLOAT32").text(value) for value in (math.nan, -math.inf)] == ["nan", "-inf"]


def test_not_numbers_are_told_as_such() -> None:
    """A device says "not available" with a NaN; that is a value that was read, not a fault of the reading."""
    assert math.isnan(float(Encoding("FLOAT32").decode([0x7FC0, 0])))
    assert Encoding("FLOAT32", "CDAB").decode([0, 0xFF80]) == -math.inf


@pytest.mark.parametrize("kind", [*(kind for kind in TYPES if kind != "STRING"), "STRING 3"])
def test_the_number_of_registers_has_to_fit(kind: str) -> None:
    made = Encoding.parse(kind)
    for count in (made.registers - 1, made.registers + 1):
        with pytest.raises(ValueError, match=f"not {count}"):
            made.decode([0] * count)


# the real mbpoll: without -B the low word comes first (CDAB), with -B the high word (ABCD)


@pytest.fixture(scope="module")
def server() -> Iterator[ModbusServer]:
    with running(ModbusServer(port=0)) as served:
        yield served


def mbpoll(server: ModbusServer, *arguments: str) -> str:
    letters, _, values = " ".join(arguments).partition(" -- ")
    command = [tool("mbpoll"), "-1", "-p", str(server.port), "-0", "-r", "10", *letters.split(), "127.0.0.1"]
    command += ["--", *values.split()] if values else []
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


MBPOLL = [("FLOAT32", "4:float", value) for value in (123.456, -123.456, 0.0, 1e-20, -2.5e30, 3.40282e38, 65519.5)] + [
    ("INT32", "4:int", value) for value in (1123477881, -2, 0, 2**31 - 1, -(2**31), 65536, -65536)
]


@pytest.mark.parametrize(("letters", "order"), [("", "CDAB"), ("-B", "ABCD")])
@pytest.mark.parametrize(("kind", "letter", "value"), MBPOLL)
def test_mbpoll_reads_and_writes_the_same(
    server: ModbusServer, kind: str, letter: str, value: Value, letters: str, order: str
) -> None:
    bank = server.data_bank
    assert isinstance(bank, DataBank)
    made = Encoding(kind, order)
    assert bank.set_holding_registers(10, made.encode(value))
    shown = re.search(r"^\[10\]:\s*(\S+)", mbpoll(server, "-t", letter, letters), re.MULTILINE)
    assert shown is not None
    assert float(shown[1]) == float(f"{value:g}" if made.is_float else value)
    assert bank.set_holding_registers(10, [0x5555] * made.registers)
    mbpoll(server, "-t", letter, letters, "--", str(value))
    written = bank.get_holding_registers(10, made.registers)
    assert written is not None
    assert made.decode(written) == made.decode(made.encode(value))
    assert written == made.encode(value)
