"""The data bank: what gets and sets give, in and out of range, and what is told of changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pytest

from fieldgate_server import DataBank, ModbusServer
from fieldgate_server.server_info import ServerInfo
from fieldgate_server.tables import BitTable
from support.api import peer, running

BY_A_REQUEST = ServerInfo(identity="unix:1000")


def small(*, virtual: bool = False) -> DataBank:
    """Four tables of different sizes, none a multiple of eight."""
    return DataBank(
        coils_size=11,
        coils_default_value=True,
        d_inputs_size=12,
        h_regs_size=13,
        h_regs_default_value=7,
        i_regs_size=14,
        virtual_mode=virtual,
    )


Get = Callable[[DataBank, int, int], object]
Set = Callable[[DataBank, int, Sequence[int]], bool]
TABLES: dict[str, tuple[int, Get, Set]] = {
    "coils": (11, lambda bank, at, count: bank.get_coils(at, count), lambda bank, at, new: bank.set_coils(at, new)),
    "discrete": (
        12,
        lambda bank, at, count: bank.get_discrete_inputs(at, count),
        lambda bank, at, new: bank.set_discrete_inputs(at, new),
    ),
    "holding": (
        13,
        lambda bank, at, count: bank.get_holding_registers(at, count),
        lambda bank, at, new: bank.set_holding_registers(at, new),
    ),
    "input": (
        14,
        lambda bank, at, count: bank.get_input_registers(at, count),
        lambda bank, at, new: bank.set_input_registers(at, new),
    ),
}
every_table = pytest.mark.parametrize("name", TABLES)


@every_table
def test_what_is_set_is_what_is_got(name: str) -> None:
    size, get, set_ = TABLES[name]
    bank = small()
    assert set_(bank, 2, [1, 0, 1, 1])
    assert get(bank, 2, 4) == [1, 0, 1, 1]
    assert set_(bank, size - 1, [0])
    assert get(bank, size - 1, 1) == [0]
    assert get(bank, 2, 4) == [1, 0, 1, 1]


@every_table
@pytest.mark.parametrize(("address", "number"), [(-1, 1), (-1, 2), (0, 0), (3, -1), (0, 15), (14, 1), (65536, 1)])
def test_a_range_that_is_not_there_is_none_and_false(name: str, address: int, number: int) -> None:
    _, get, set_ = TABLES[name]
    bank = small()
    before = get(bank, 0, 11)
    assert get(bank, address, number) is None
    assert set_(bank, address, [1] * number) is False
    assert get(bank, 0, 11) == before


@every_table
def test_the_last_cell_is_there_and_the_next_is_not(name: str) -> None:
    size, get, set_ = TABLES[name]
    bank = small()
    assert get(bank, 0, size) is not None
    assert get(bank, 0, size + 1) is None
    assert set_(bank, size - 2, [1, 1])
    assert not set_(bank, size - 1, [0, 0])
    assert get(bank, size - 2, 2) == [1, 1]


@every_table
def test_a_virtual_bank_has_no_cells(name: str) -> None:
    _, get, set_ = TABLES[name]
    bank = small(virtual=True)
    assert get(bank, 0, 1) is None
    assert set_(bank, 0, [1]) is False


@every_table
def test_a_bank_has_65536_cells_of_each_table(name: str) -> None:
    _, get, set_ = TABLES[name]
    bank = DataBank()
    assert set_(bank, 65535, [1])
    assert get(bank, 0, 65536) == [0] * 65535 + [1]
    assert get(bank, 1, 65536) is None


def test_values_have_the_types_of_their_table_and_start_as_asked() -> None:
    bank = small()
    assert bank.get_coils(9, 2) == [True, True]
    assert bank.get_discrete_inputs(0) == [False]
    assert [type(value) for value in bank.get_coils(0, 9) or []] == [bool] * 9
    assert bank.get_holding_registers(12) == [7]
    assert bank.get_input_registers(13) == [0]


@pytest.mark.parametrize("word", [-1, 65536, 1.0, "1", None])
def test_a_word_that_is_no_integer_of_16_bits_is_false_and_nothing_is_set(word: int) -> None:
    bank = small()
    assert bank.set_holding_registers(0, [1, word]) is False
    assert bank.set_input_registers(0, [1, word]) is False
    assert bank.get_holding_registers(0, 2) == [7, 7]
    assert bank.get_input_registers(0, 2) == [0, 0]
    assert bank.set_holding_registers(0, [0, 65535]) is True


@pytest.mark.parametrize("wrong", [{"coils_size": -1}, {"i_regs_size": 65537}, {"h_regs_default_value": 65536}])
def test_a_bank_that_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="0 to 6553"):
        DataBank(**wrong)  # type: ignore[arg-type]


class Told(DataBank):
    """Remembers what it is told, and what it held then."""

    def __init__(self) -> None:
        super().__init__(coils_size=20, h_regs_size=20)
        self.told: list[tuple[str, int, object, object, object]] = []
        self.held: list[object] = []

    def on_coils_change(self, address: int, from_value: list[bool], to_value: list[bool], srv_info: ServerInfo) -> None:
        self.told.append(("coils", address, from_value, to_value, srv_info["identity"]))
        self.held.append(self.get_coils(address, len(to_value)))

    def on_holding_registers_change(
        self, address: int, from_value: list[int], to_value: list[int], srv_info: ServerInfo
    ) -> None:
        self.told.append(("holding", address, from_value, to_value, srv_info["identity"]))
        self.held.append(self.get_holding_registers(address, len(to_value)))


def test_each_changed_run_is_told_once_after_the_update() -> None:
    bank = Told()
    assert bank.set_holding_registers(3, [1, 2, 0, 0, 3], BY_A_REQUEST)
    assert bank.set_coils(0, [False, True, True, False, True], BY_A_REQUEST)
    assert bank.told == [
        ("holding", 3, [0, 0], [1, 2], "unix:1000"),
        ("holding", 7, [0], [3], "unix:1000"),
        ("coils", 1, [False, False], [True, True], "unix:1000"),
        ("coils", 4, [False], [True], "unix:1000"),
    ]
    assert bank.held == [told[3] for told in bank.told]


def test_what_does_not_change_or_is_no_request_is_not_told() -> None:
    bank = Told()
    assert bank.set_holding_registers(3, [1, 2])
    assert bank.set_holding_registers(3, [1, 2], BY_A_REQUEST)
    assert bank.set_coils(0, [False], BY_A_REQUEST)
    assert not bank.set_coils(20, [True], BY_A_REQUEST)
    assert bank.told == []


def test_a_callback_that_raises_is_logged_and_the_others_still_come(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Told):
        def on_holding_registers_change(
            self, address: int, from_value: list[int], to_value: list[int], srv_info: ServerInfo
        ) -> None:
            super().on_holding_registers_change(address, from_value, to_value, srv_info)
            raise ModbusServer.Error("callback's own")

    bank = Failing()
    with caplog.at_level(logging.ERROR):
        assert bank.set_holding_registers(0, [1, 0, 1], BY_A_REQUEST) is True
    assert [told[1] for told in bank.told] == [0, 2]
    said = f"{bank.on_holding_registers_change!r} failed, after the update"
    assert [record.getMessage() for record in caplog.records] == [said] * 2


@pytest.mark.parametrize("error", [RuntimeError("callback's own"), SystemExit(3)])
def test_a_callback_of_any_kind_may_raise_anything_and_the_write_is_done(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(kind: str, *_change: object) -> None:
        told.append(kind)
        raise error

    told: list[str] = []
    bank = DataBank()
    bank.on_coils_change = partial(fail, "coils")  # type: ignore[method-assign]
    with running(ModbusServer(port=0, no_block=True, data_bank=bank)) as server, peer(server) as client:
        assert client.ask("0f 0000 0003 01 05") == "0f 00 00 00 03"
        assert client.ask("01 0000 0003") == "01 01 05"
    assert told == ["coils", "coils"]
    assert caplog.text.count("failed, after the update") == 2


def test_a_subclass_may_have_tables_of_its_own() -> None:
    class Own(DataBank):
        def __init__(self) -> None:
            super().__init__()
            self.tables = {"temperatures": 0}

    with running(ModbusServer(port=0, no_block=True, data_bank=Own())) as server, peer(server) as client:
        assert client.ask("06 0000 0001") == "06 00 00 00 01"
        assert client.ask("03 0000 0001") == "03 02 00 01"


def test_a_set_of_several_cells_is_seen_whole() -> None:
    bank = DataBank()
    done = threading.Event()

    def write() -> None:
        for value in range(300):
            bank.set_holding_registers(0, [value] * 10000)
            bank.set_coils(1, [bool(value & 1)] * 10000)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    while not done.is_set():
        assert len(set(bank.get_holding_registers(0, 10000) or [])) == 1
        assert len(set(bank.get_coils(1, 10000) or [])) == 1
        seen += 1
    writer.join()
    assert seen
    assert bank.get_holding_registers(9999) == [299]


def test_every_access_holds_the_lock_and_lets_it_go() -> None:
    held: list[bool] = []

    class Watched(BitTable):
        def read(self, start: int, count: int) -> bytes:
            held.append(bank._tables.lock.locked())
            return super().read(start, count)

        def write(self, start: int, count: int, values: bytes) -> None:
            held.append(bank._tables.lock.locked())
            super().write(start, count, values)

    bank = DataBank()
    bank._tables = replace(bank._tables, coils=Watched(16, bytes(2)))
    assert bank.set_coils(0, [True])
    assert bank.get_coils(0, 2) == [True, False]
    assert not bank._tables.lock.locked()
    with running(ModbusServer(port=0, no_block=True, data_bank=bank)) as server, peer(server) as client:
        assert client.ask("05 0001 ff00") == "05 00 01 ff 00"
        assert client.ask("01 0000 0002") == "01 01 03"
    # a set reads and writes; a request to write reads once more, for the trail
    assert held == [True] * (2 + 1 + 2 + 1)
    assert not bank._tables.lock.locked()


def test_the_static_override_points_take_anything_and_give_nothing() -> None:
    for point in (DataBank.get_bits, DataBank.set_bits, DataBank.get_words, DataBank.set_words):
        assert point(0, 1, number=2) is None
