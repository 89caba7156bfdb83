"""Types of the protocol that cannot be built wrong."""

import pytest

from fieldgate_core.modbus import AddressRange, ExceptionCode, exception_meaning, exception_pdu, unit_id


@pytest.mark.parametrize(("start", "count"), [(0, 1), (0, 65536), (65535, 1)])
def test_an_address_range_lies_within_the_table(start: int, count: int) -> None:
    assert AddressRange(start, count).last == start + count - 1


@pytest.mark.parametrize(("start", "count"), [(-1, 1), (0, 0), (65535, 2), (65536, 1), (0, 65537)])
def test_an_address_range_beyond_the_table_cannot_be_built(start: int, count: int) -> None:
    with pytest.raises(ValueError, match="0 to 65535"):
        AddressRange(start, count)


def test_ranges_compare_and_print_by_their_ends() -> None:
    assert AddressRange(100, 20) == AddressRange(100, 20) != AddressRange(100, 19)
    assert str(AddressRange(100, 20)) == "100-119"
    assert str(AddressRange(7, 1)) == "7"


@pytest.mark.parametrize("number", [-1, 256])
def test_a_unit_identifier_is_one_byte(number: int) -> None:
    with pytest.raises(ValueError, match="0 to 255"):
        unit_id(number)


def test_exceptions_have_their_code_and_words() -> None:
    assert exception_pdu(3, ExceptionCode.ILLEGAL_DATA_ADDRESS) == b"\x83\x02"
    assert exception_meaning(2) == "illegal data address"
    assert exception_meaning(0x77) == "unknown exception"
