"""Tables in wire order against plain lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldgate_server.tables import bits, registers


@given(st.lists(st.integers(0, 1), min_size=1, max_size=70), st.data())
def test_bits_are_what_a_list_of_bits_is(initial: list[int], data: st.DataObject) -> None:
    table = bits(len(initial), initial)
    oracle = initial * len(initial) if len(initial) == 1 else list(initial)
    for _ in range(5):
        start = data.draw(st.integers(0, len(oracle) - 1))
        count = data.draw(st.integers(1, len(oracle) - start))
        values = data.draw(st.binary(min_size=(count + 7) // 8, max_size=(count + 7) // 8))
        table.write(start, count, values)
        oracle[start : start + count] = [values[i // 8] >> (i % 8) & 1 for i in range(count)]
        read_start = data.draw(st.integers(0, len(oracle) - 1))
        read_count = data.draw(st.integers(1, len(oracle) - read_start))
        wanted = bytearray((read_count + 7) // 8)
        for i in range(read_count):
            wanted[i // 8] |= oracle[read_start + i] << (i % 8)
        assert table.read(read_start, read_count) == wanted


def test_registers_are_big_endian() -> None:
    table = registers(3, [0x1234, 5])
    assert table.read(0, 3) == b"\x12\x34\0\x05\0\0"
    table.write(1, 2, b"\xab\xcd\xef\x01")
    assert table.read(0, 3) == b"\x12\x34\xab\xcd\xef\x01"


def test_one_initial_value_fills_all() -> None:
    assert registers(4, 17).read(0, 4) == b"\0\x11" * 4
    assert bits(9, 1).read(0, 9) == b"\xff\x01"


def test_a_list_sets_the_first_cells() -> None:
    assert registers(3, [17]).read(0, 3) == b"\0\x11\0\0\0\0"
    assert bits(9, [1]).read(0, 9) == b"\x01\0"


def test_the_whole_address_space_fits() -> None:
    table = bits(65536)
    table.write(65535, 1, b"\x01")
    assert table.read(65528, 8) == b"\x80"
    assert table.size == 65536


@pytest.mark.parametrize("values", [[-1], [65536], [1, 2, 3, 4]])
def test_initial_values_that_do_not_fit_are_refused(values: list[int]) -> None:
    with pytest.raises(ValueError, match="initial value"):
        registers(3, values)


def test_a_bit_is_0_or_1() -> None:
    with pytest.raises(ValueError, match="initial value 2"):
        bits(3, [2])
