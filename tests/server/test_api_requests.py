"""Requests to the API's server: what plain banks, handlers and engines answer, in which order, and to what faults."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, ItemsView, Iterator
from functools import partial
from typing import Any

import pytest

from fieldgate_server import DataBank, DataHandler, DeviceIdentification, ModbusServer
from fieldgate_server.audit import Audit
from fieldgate_server.bank_unit import BankUnit, UserUnit
from fieldgate_server.device import Device
from fieldgate_server.functions import Function, Request
from fieldgate_server.guard import Guard
from fieldgate_server.identity import Identity
from fieldgate_server.lanes import Lanes
from fieldgate_server.policy import OWNER_ROLE, OwnerPolicy
from fieldgate_server.server_info import ServerInfo, SessionData
from fieldgate_server.units import Asker, Unit, Units
from support.api import peer, running, wait_until


class OwnHandler(DataHandler):
    """Overrides something, so that every request goes through its methods, and answers as the base does."""

    def read_coils(self, address: int, count: int, srv_info: ServerInfo) -> DataHandler.Return:
        return super().read_coils(address, count, srv_info)


def bank() -> DataBank:
    """Tables of 40 cells: holding registers 100 and up, a queue of two at holding register 20, of 40 at 30."""
    made = DataBank(coils_size=40, d_inputs_size=40, h_regs_size=40, i_regs_size=40)
    made.set_coils(0, [1, 0, 1, 1])
    made.set_discrete_inputs(38, [1, 1])
    made.set_holding_registers(0, [100, 101, 102, 103])
    made.set_holding_registers(20, [2, 7, 8])
    made.set_holding_registers(30, [40])
    made.set_holding_registers(39, [31])
    made.set_input_registers(39, [65535])
    return made


@pytest.fixture(params=["plain", "handler"])
def server(request: pytest.FixtureRequest) -> Iterator[ModbusServer]:
    """The same bank served by the event loop itself, and through the methods of a handler."""
    handler = DataHandler(bank()) if request.param == "plain" else OwnHandler(bank())
    identification = DeviceIdentification(vendor_name=b"v", product_code=b"p", major_minor_revision=b"r")
    with running(ModbusServer(port=0, no_block=True, data_hdl=handler, device_id=identification)) as server:
        yield server


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        ("01 0000 0005", "01 01 0d"),
        ("01 0024 0005", "81 02"),
        ("02 0025 0003", "02 01 06"),
        ("03 0001 0002", "03 04 00 65 00 66"),
        ("03 0027 0002", "83 02"),
        ("04 0027 0001", "04 02 ff ff"),
        ("04 0028 0001", "84 02"),
        ("05 0001 ff00", "05 00 01 ff 00"),
        ("05 0028 ff00", "85 02"),
        ("06 0004 1234", "06 00 04 12 34"),
        ("06 0028 1234", "86 02"),
        ("0f 0000 000a 02 ff03", "0f 00 00 00 0a"),
        ("0f 0020 000a 02 ff03", "8f 02"),
        ("10 0004 0002 04 00010002", "10 00 04 00 02"),
        ("10 0027 0002 04 00010002", "90 02"),
        ("16 0000 000f 0010", "16 00 00 00 0f 00 10"),
        ("16 0028 000f 0010", "96 02"),
        ("17 0000 0002 0001 0001 02 0009", "17 04 00 64 00 09"),
        ("17 0027 0002 0001 0001 02 0009", "97 02"),
        ("18 0014", "18 00 06 00 02 00 07 00 08"),
        ("18 0000", "98 03"),
        ("18 0027", "98 02"),
        ("18 0028", "98 02"),
        ("11", "11 02 70 ff"),
        ("2b 0e 04 01", "2b 0e 04 82 00 00 01 01 01 70"),
        ("08 0000 1234", "08 00 00 12 34"),
        ("14 07 06 0001 0000 0001", "94 02"),
        ("03 0000", "83 03"),
        ("5a 00", "da 01"),
    ],
)
def test_bank_and_handler_answer_alike(server: ModbusServer, request_: str, reply: str) -> None:
    with peer(server) as client:
        assert client.ask(request_) == reply


def test_what_is_written_stands_in_the_bank(server: ModbusServer) -> None:
    with peer(server) as client:
        for write in (
            "05 0001 ff00",
            "06 0000 1234",
            "0f 0008 000a 02 ff03",
            "10 0004 0002 04 00010002",
            "16 0001 000f 0010",
            "17 0000 0001 0008 0001 02 0009",
        ):
            assert not int(client.ask(write)[:2], 16) & 0x80
    assert server.data_bank.get_coils(0, 20) == [True] * 4 + [False] * 4 + [True] * 10 + [False] * 2
    assert server.data_bank.get_holding_registers(0, 9) == [0x1234, 0x15, 102, 103, 1, 2, 0, 0, 9]


def test_every_unit_identifier_names_the_unit(server: ModbusServer) -> None:
    with peer(server) as client:
        assert {client.ask("03 0001 0001", unit) for unit in (0, 1, 7, 247, 255)} == {"03 02 00 65"}


def test_the_identification_may_be_changed_while_it_is_served(server: ModbusServer) -> None:
    with peer(server) as client:
        assert server.device_identification is not None
        server.device_identification[0x90] = b"new"
        assert client.ask("2b 0e 04 90").endswith("6e 65 77")
        server.device_identification = DeviceIdentification(vendor_name=b"w")
        assert client.ask("2b 0e 04 00").endswith("00 01 77")
        server.device_identification = None
        assert client.ask("2b 0e 04 00") == "ab 02"


def test_the_event_loop_calls_no_override_of_the_identification() -> None:
    called: list[str] = []

    class Own(DeviceIdentification):
        def items(self) -> ItemsView[int, bytes]:
            called.append(threading.current_thread().name)
            return super().items()

    about = Own(vendor_name=b"v")
    with running(ModbusServer(port=0, no_block=True, device_id=about)) as server, peer(server) as client:
        assert client.ask("2b 0e 04 00") == "2b 0e 04 82 00 00 01 00 01 76"
        server.device_identification = Own(vendor_name=b"w")
        assert client.ask("2b 0e 04 00").endswith("77")
    assert called == []


class Raced(BankUnit):
    """Its bank is set by somebody else, just before a request that was judged is carried out."""

    def __init__(self, data: DataBank, address: int, value: int) -> None:
        super().__init__(data, Device())
        self._race = partial(data.set_holding_registers, address, [value])

    def perform(self, function: Function, request: Request, pdu: bytes, asker: Asker) -> bytes:
        assert self._race()
        return super().perform(function, request, pdu, asker)


def owner(unit: Unit) -> Guard:
    """Give a session of the quick start's owner."""
    identity = Identity("unix:1", OWNER_ROLE, OwnerPolicy(1).rights(OWNER_ROLE), "loopback", "127.0.0.1:5")
    return Guard(identity, Units.single(unit), Audit(None))


@pytest.mark.parametrize(
    ("address", "value", "request_", "reply"),
    [
        (0, 100, "16 0000 000f 0010", "16 00 00 00 0f 00 10"),
        (0, 99, "16 0000 000f 0010", "96 06"),
        (39, 0, "18 0027", "18 00 02 00 00"),
        (39, 1, "18 0027", "98 02"),
        (0, 99, "06 0000 0005", "06 00 00 00 05"),
    ],
)
def test_what_other_threads_set_meanwhile_is_not_what_was_judged(
    address: int, value: int, request_: str, reply: str
) -> None:
    data = bank()
    data.set_holding_registers(39, [0])
    unit = Raced(data, address, value)
    answer = owner(unit).answer(1, bytes.fromhex(request_))
    assert isinstance(answer, bytes)
    assert answer.hex(" ") == reply


class Odd(DataHandler):
    """Answers each address in another odd way."""

    def __init__(self, answers: dict[int, Callable[[], Any]]) -> None:
        super().__init__()
        self.answers = answers

    def read_h_regs(self, address: int, count: int, srv_info: ServerInfo) -> DataHandler.Return:
        answer: DataHandler.Return = self.answers[address]()
        return answer

    def read_coils(self, address: int, count: int, srv_info: ServerInfo) -> DataHandler.Return:
        return self.read_h_regs(address, count, srv_info)

    def write_h_regs(self, address: int, words_l: list[int], srv_info: ServerInfo) -> DataHandler.Return:
        return self.read_h_regs(address, len(words_l), srv_info)

    def write_coils(self, address: int, bits_l: list[bool], srv_info: ServerInfo) -> DataHandler.Return:
        return self.read_h_regs(address, len(bits_l), srv_info)


def failing(error: BaseException) -> Callable[[], object]:
    def fail() -> object:
        raise error

    return fail


Return = DataHandler.Return
ODD: list[tuple[str, Callable[[], object], str, str]] = [
    ("03 {} 0001", lambda: Return(0, [9]), "03 02 00 09", ""),
    ("03 {} 0001", lambda: Return(0, (9,)), "03 02 00 09", ""),
    ("03 {} 0001", lambda: Return(2), "83 02", ""),
    ("03 {} 0001", lambda: Return(0x0B), "83 0b", ""),
    ("03 {} 0001", failing(DataHandler.ModbusExcept(6)), "83 06", ""),
    ("03 {} 0001", lambda: Return(0, [9, 9]), "83 04", "answered 2 values where 1 were asked for"),
    ("03 {} 0001", lambda: Return(0), "83 04", "answered no values where 1"),
    ("03 {} 0001", lambda: Return(0, [65536]), "83 04", "no integers of 0 to 65535: [65536]"),
    ("03 {} 0001", lambda: Return(256), "83 04", "exception code 256"),
    ("03 {} 0001", lambda: None, "83 04", "answered None, not a DataHandler.Return"),
    ("03 {} 0001", failing(RuntimeError("broken")), "83 04", "user code failed"),
    ("03 {} 0001", failing(SystemExit(3)), "83 04", "user code failed"),
    ("01 {} 0002", lambda: Return(0, [True, 0]), "01 01 01", ""),
    ("01 {} 0002", lambda: Return(0, [True, 2]), "81 04", "neither True nor False"),
    ("06 {} 0001", lambda: Return(0), "06 {} 00 01", ""),
    ("06 {} 0001", lambda: Return(3), "86 03", ""),
    ("06 {} 0001", lambda: True, "86 04", "answered True"),
    ("05 {} ff00", failing(DataHandler.ModbusExcept(5)), "85 05", ""),
]


def test_odd_answers_become_the_exception_they_name_or_04_and_a_line(caplog: pytest.LogCaptureFixture) -> None:
    handler = Odd({address: answer for address, (_, answer, _, _) in enumerate(ODD)})
    with running(ModbusServer(port=0, no_block=True, data_hdl=handler)) as server, peer(server) as client:
        for address, (request_, _, reply, line) in enumerate(ODD):
            caplog.clear()
            at = f"{address:04x}"
            assert client.ask(request_.format(at)) == reply.format(f"{at[:2]} {at[2:]}")
            errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
            assert len(errors) == bool(line)
            assert line in "".join(errors)


def test_who_is_asking_is_told(caplog: pytest.LogCaptureFixture) -> None:
    told: list[ServerInfo] = []

    class Telling(DataHandler):
        def read_i_regs(self, address: int, count: int, srv_info: ServerInfo) -> DataHandler.Return:
            told.append(srv_info)
            return super().read_i_regs(address, count, srv_info)

    with running(ModbusServer(port=0, no_block=True, data_hdl=Telling())) as server, peer(server) as client:
        assert client.ask("04 0005 0001", unit=9) == "04 02 00 00"
        (info,) = told
        assert (info["identity"], info.role, info.door) == (f"unix:{os.geteuid()}", "owner", "loopback")
        assert (info.client_addr, info.client_port) == ("127.0.0.1", client.port)
        assert (info.host, info.port) == ("localhost", server.port)
        assert (info.unit_id, info.transaction_id, info.recv_frame.pdu.raw.hex()) == (9, 1, "0400050001")


@pytest.mark.parametrize("with_init", [True, False])
def test_a_virtual_bank_answers_by_what_its_methods_give(with_init: bool) -> None:
    class Virtual(DataBank):
        def __init__(self) -> None:
            if with_init:
                super().__init__(virtual_mode=True)

        def get_holding_registers(
            self, address: int, number: int = 1, srv_info: ServerInfo | None = None
        ) -> list[int] | None:
            return [address + offset for offset in range(number)] if address >= 1000 else None

    with running(ModbusServer(port=0, no_block=True, data_bank=Virtual())) as server, peer(server) as client:
        assert client.ask("03 1000 0002") == "03 04 10 00 10 01"
        assert client.ask("03 0001 0002") == "83 02"
        assert client.ask("06 1000 0002") == "86 02"
        assert client.ask("01 0000 0001") == "81 02"


class Gated(DataHandler):
    """Reading register 0 waits until the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.called: list[int] = []
        self.entered = threading.Event()
        self.gate = threading.Event()

    def read_h_regs(self, address: int, count: int, srv_info: ServerInfo) -> DataHandler.Return:
        self.called.append(address)
        if address == 0:
            self.entered.set()
            assert self.gate.wait(20)
        return super().read_h_regs(address, count, srv_info)


def reading(*addresses: int) -> list[bytes]:
    return [bytes((3, 0, address, 0, 1)) for address in addresses]


def test_a_session_waits_for_its_own_slow_request_and_no_other_session_does() -> None:
    handler = Gated()
    with running(ModbusServer(port=0, no_block=True, data_hdl=handler)) as server:
        with peer(server) as slow, peer(server) as quick:
            slow.send(*reading(0, 1, 2))
            assert handler.entered.wait(20)
            quick.send(*reading(11, 12, 13))
            assert [quick.receive()[0] for _ in range(3)] == [1, 2, 3]
            assert handler.called == [0, 11, 12, 13]
            handler.gate.set()
            assert [slow.receive()[0] for _ in range(3)] == [1, 2, 3]
        assert handler.called == [0, 11, 12, 13, 1, 2]


async def test_masked_writes_of_two_sessions_do_not_undo_each_other() -> None:
    class Slow(DataHandler):
        """Waits between reading and giving what it has read."""

        reads = 0
        gate = threading.Event()

        def read_h_regs(self, address: int, count: int, srv_info: ServerInfo) -> DataHandler.Return:
            read = super().read_h_regs(address, count, srv_info)
            Slow.reads += 1
            assert Slow.gate.wait(20)
            return read

    handler = Slow()
    lanes = Lanes()
    unit = UserUnit(BankUnit(handler.data_bank, Device()), handler, None, lanes, "localhost", 502)
    async with lanes:
        answers = [owner(unit).answer(1, bytes.fromhex(pdu)) for pdu in ("16 0000 ff00 00ff", "16 0000 00ff ff00")]
        await asyncio.to_thread(wait_until, lambda: unit._masking.locked() or Slow.reads == 2)
        Slow.gate.set()
        for answer in answers:
            assert isinstance(answer, asyncio.Future)
            assert (await answer)[0] == 0x16
    assert handler.data_bank.get_holding_registers(0) == [0xFFFF]


def test_an_engine_answers_every_function_that_the_policy_allows() -> None:
    seen: list[tuple[str, int, str]] = []

    def engine(session_data: SessionData) -> None:
        request, reply = session_data.request.pdu, session_data.response.pdu
        seen.append((session_data.client_addr, session_data.unit_id, request.raw.hex()))
        if request.func_code == 6:
            reply.raw = request.raw
            return
        reply.add_pack("B", request.func_code)
        reply.add_pack(">BH", 2, session_data.transaction_id)

    with running(ModbusServer(port=0, no_block=True, ext_engine=engine)) as server, peer(server) as client:
        assert client.ask("03 0000 0001", unit=4) == "03 02 00 01"
        assert client.ask("2b 0e 01 00") == "2b 02 00 02"
        assert client.ask("06 0000 0001") == "06 00 00 00 01"
        # malformed, and a function that is none: the guard's to answer
        assert client.ask("03 0000") == "83 03"
        assert client.ask("5a 00") == "da 01"
    assert seen == [
        ("127.0.0.1", 4, "0300000001"),
        ("127.0.0.1", 1, "2b0e0100"),
        ("127.0.0.1", 1, "0600000001"),
    ]


@pytest.mark.parametrize(
    ("left", "reply", "line"),
    [
        (b"\x03\x02\xab\xcd", "03 02 ab cd", ""),
        (b"\x03\x02\xab", "83 04", "of 3 bytes that does not answer its request"),
        (b"\x03\x04\xab\xcd\0\0", "83 04", "does not answer its request"),
        (b"\x03" + bytes(252), "83 04", "does not answer its request"),
        (b"\x83\x02", "83 02", ""),
        (b"\x03" + bytes(253), "83 04", "not 1 to 253 bytes"),
        (b"", "83 04", "not 1 to 253 bytes"),
        ("text", "83 04", "left 'text' as response PDU"),
        (b"\x04\x00", "83 04", "of function 4"),
        (b"\x83\x02\x00", "83 04", "of function 131"),
        (DataHandler.ModbusExcept(6), "83 06", ""),
        (RuntimeError("broken"), "83 04", "user code failed"),
    ],
)
def test_what_an_engine_leaves_is_a_reply_or_04(
    left: Any, reply: str, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    def engine(session_data: SessionData) -> None:
        if isinstance(left, Exception):
            raise left
        session_data.response.pdu.raw = left

    with running(ModbusServer(port=0, no_block=True, ext_engine=engine)) as server, peer(server) as client:
        assert client.ask("03 0000 0001") == reply
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == bool(line)
    assert line in "".join(errors)


@pytest.mark.parametrize(
    ("request_", "left", "reply"),
    [
        ("01 0000 0009", "01 02 ff 01", "01 02 ff 01"),
        ("01 0000 0009", "01 01 ff", "81 04"),
        ("05 0001 ff00", "05 00 01 00 00", "85 04"),
        ("0f 0000 0003 01 05", "0f 00 00 00 03", "0f 00 00 00 03"),
        ("10 0000 0001 02 0007", "10 00 00 00 02", "90 04"),
        ("17 0000 0001 0000 0001 02 0007", "17 02 00 07", "17 02 00 07"),
    ],
)
def test_an_engines_reply_has_the_form_of_its_function(request_: str, left: str, reply: str) -> None:
    def engine(session_data: SessionData) -> None:
        session_data.response.pdu.raw = bytes.fromhex(left)

    with running(ModbusServer(port=0, no_block=True, ext_engine=engine)) as server, peer(server) as client:
        assert client.ask(request_) == reply
