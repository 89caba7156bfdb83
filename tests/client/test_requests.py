"""Requests and replies as PDUs: the same bytes as pymodbus's, the limits of one request, and what replies mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.pdu import bit_message, register_message

from fieldgate_client import requests
from fieldgate_core.errors import ExceptionReplyError, OutcomeUnknownError
from fieldgate_core.modbus import AddressRange, Table

bits = st.lists(st.integers(0, 1), min_size=1, max_size=1968)
words = st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=123)


@given(st.integers(0, 60000), bits)
def test_coils_are_written_and_read_as_pymodbus_does(address: int, values: list[int]) -> None:
    request = requests.write(Table.COILS, address, values)
    flags = list(map(bool, values))
    theirs = (
        bit_message.WriteSingleCoilRequest(address=address, bits=flags)
        if len(values) == 1
        else bit_message.WriteMultipleCoilsRequest(address=address, bits=flags)
    )
    assert request == bytes((theirs.function_code,)) + theirs.encode()
    reply = bit_message.ReadCoilsResponse(bits=flags)
    assert requests.values(Table.COILS, len(values), b"\x01" + reply.encode()) == values


@given(st.integers(0, 60000), words)
def test_registers_are_written_and_read_as_pymodbus_does(address: int, values: list[int]) -> None:
    request = requests.write(Table.HOLDING, address, values)
    theirs = (
        register_message.WriteSingleRegisterRequest(address=address, registers=values)
        if len(values) == 1
        else register_message.WriteMultipleRegistersRequest(address=address, registers=values)
    )
    assert request == bytes((theirs.function_code,)) + theirs.encode()
    reply = register_message.ReadHoldingRegistersResponse(registers=values)
    assert requests.values(Table.HOLDING, len(values), b"\x03" + reply.encode()) == values


@pytest.mark.parametrize(
    ("table", "sizes"),
    [(Table.HOLDING, [125, 125, 50]), (Table.INPUT, [125, 125, 50]), (Table.COILS, [300]), (Table.DISCRETE, [300])],
)
def test_a_long_read_is_cut_into_requests(table: Table, sizes: list[int]) -> None:
    parts = requests.pieces(table, 1000, 300)
    assert [part.count for part in parts] == sizes
    assert [part.start for part in parts] == [1000 + sum(sizes[:at]) for at in range(len(sizes))]
    assert len(requests.pieces(table, 0, 65536)) == (33 if table.is_bits else 525)


@pytest.mark.parametrize(("address", "count"), [(65536, 1), (-1, 1), (65535, 2), (0, 0)])
def test_cells_beyond_the_table_are_a_value_error(address: int, count: int) -> None:
    with pytest.raises(ValueError, match="do not lie within"):
        requests.pieces(Table.HOLDING, address, count)


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (Table.INPUT, [1]),
        (Table.DISCRETE, [1]),
        (Table.HOLDING, []),
        (Table.HOLDING, [1] * 124),
        (Table.HOLDING, [65536]),
        (Table.HOLDING, [-1]),
        (Table.COILS, [2]),
        (Table.COILS, [1] * 1969),
    ],
)
def test_what_no_request_can_write_is_a_value_error(table: Table, values: list[int]) -> None:
    with pytest.raises(ValueError, match=r"read only|one request writes|a value for"):
        requests.write(table, 0, values)


@pytest.mark.parametrize("code", [1, 2, 3, 6, 10])
def test_a_write_that_was_refused_is_an_exception_reply(code: int) -> None:
    with pytest.raises(ExceptionReplyError) as refused:
        requests.check_written(requests.write(Table.HOLDING, 0, [5]), bytes((0x86, code)))
    assert (refused.value.function, refused.value.code) == (6, code)


@pytest.mark.parametrize("code", [4, 5, 7, 8, 11, 99])
def test_a_write_whose_exception_leaves_it_open_is_unknown(code: int) -> None:
    with pytest.raises(OutcomeUnknownError):
        requests.check_written(requests.write(Table.HOLDING, 0, [5]), bytes((0x86, code)))
    with pytest.raises(ExceptionReplyError):
        requests.values(Table.HOLDING, 1, bytes((0x83, code)))


@given(st.binary(max_size=252))
def test_a_reply_holds_what_was_asked_or_is_malformed(rest: bytes) -> None:
    reply = b"\x03" + rest
    try:
        got = requests.values(Table.HOLDING, 2, reply)
    except requests.MalformedReplyError:
        assert rest[:1] != b"\x04" or len(rest) != 5
    else:
        assert b"".join(value.to_bytes(2) for value in got) == rest[1:]


def test_a_read_asks_for_a_range() -> None:
    assert requests.read(Table.INPUT, AddressRange(8, 2)) == bytes.fromhex("0400080002")
