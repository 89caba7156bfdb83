"""What the trail says of writes by user code: done, refused, or unknown when nobody knows how far it came."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from fieldgate_server import DataHandler, ModbusServer
from fieldgate_server.server_info import ServerInfo, SessionData
from support.api import peer, running


def ask(server: ModbusServer, request: str, caplog: pytest.LogCaptureFixture) -> tuple[str, str]:
    """Ask for one write; give the reply and the outcome in the trail."""
    caplog.set_level(logging.INFO)
    with running(server), peer(server) as client:
        reply = client.ask(request)
    lines = [line for line in caplog.text.splitlines() if "event=write" in line]
    assert len(lines) == 2
    assert "outcome=intent" in lines[0]
    return reply, lines[1].partition("outcome=")[2].split()[0]


def fail(error: BaseException) -> DataHandler.Return:
    raise error


Return = DataHandler.Return


@pytest.mark.parametrize(
    ("ends", "reply", "outcome"),
    [
        (lambda: Return(0), "06 00 05 00 09", "done"),
        (lambda: Return(6), "86 06", "refused"),
        (lambda: fail(DataHandler.ModbusExcept(5)), "86 05", "refused"),
        (lambda: fail(RuntimeError("after the update")), "86 04", "unknown"),
        (lambda: fail(SystemExit(1)), "86 04", "unknown"),
        (lambda: True, "86 04", "unknown"),
        (lambda: Return(256), "86 04", "unknown"),
    ],
)
def test_a_handler_that_fails_after_the_update_leaves_the_outcome_unknown(
    ends: Callable[[], DataHandler.Return], reply: str, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Ending(DataHandler):
        def write_h_regs(self, address: int, words_l: list[int], srv_info: ServerInfo) -> DataHandler.Return:
            super().write_h_regs(address, words_l, srv_info)
            return ends()

    server = ModbusServer(port=0, no_block=True, data_hdl=Ending())
    assert ask(server, "06 0005 0009", caplog) == (reply, outcome)


@pytest.mark.parametrize(
    ("left", "reply", "outcome"),
    [
        (b"\x06\x00\x05\x00\x09", "06 00 05 00 09", "done"),
        (b"\x86\x06", "86 06", "refused"),
        (RuntimeError("after the update"), "86 04", "unknown"),
        (b"", "86 04", "unknown"),
    ],
)
def test_an_engine_that_fails_leaves_the_outcome_unknown(
    left: bytes | Exception, reply: str, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    def engine(session_data: SessionData) -> None:
        if isinstance(left, Exception):
            raise left
        session_data.response.pdu.raw = left

    server = ModbusServer(port=0, no_block=True, ext_engine=engine)
    assert ask(server, "06 0005 0009", caplog) == (reply, outcome)


class Fickle(DataHandler):
    """Reads holding registers as often as it may, and has none afterwards."""

    def __init__(self, reads: int) -> None:
        super().__init__()
        self.reads = reads

    def read_h_regs(self, address: int, count: int, srv_info: ServerInfo) -> DataHandler.Return:
        self.reads -= 1
        return Return(2) if self.reads < 0 else super().read_h_regs(address, count, srv_info)


@pytest.mark.parametrize(
    ("reads", "reply", "outcome", "holds"),
    [(2, "17 02 00 09", "done", 9), (0, "97 02", "refused", 0), (1, "97 04", "unknown", 9)],
)
def test_function_23_writes_nothing_if_it_cannot_read_and_is_unknown_if_it_cannot_any_more(
    reads: int, reply: str, outcome: str, holds: int, caplog: pytest.LogCaptureFixture
) -> None:
    server = ModbusServer(port=0, no_block=True, data_hdl=Fickle(reads))
    assert ask(server, "17 0005 0001 0005 0001 02 0009", caplog) == (reply, outcome)
    assert server.data_bank.get_holding_registers(5) == [holds]
