"""The API's server as a whole: start and stop, what it refuses, and what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import getpass
import logging
import os
import pwd
import signal
import socket
import threading
from pathlib import Path

import pytest

from fieldgate_server import DataBank, DataHandler, ModbusServer, lanes
from fieldgate_server.server_info import ServerInfo
from support.api import PATIENCE, Peer, peer, running, wait_until
from support.other_user import other_user

WRITE = "06 0005 0009"
WRITTEN = "06 00 05 00 09"


class OwnBank(DataBank):
    """A bank with user code, so that there are worker threads."""

    def on_coils_change(self, address: int, from_value: list[bool], to_value: list[bool], srv_info: ServerInfo) -> None:
        """Be there."""


class Gated(DataHandler):
    """A write waits until the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.gate = threading.Event()

    def write_h_regs(self, address: int, words_l: list[int], srv_info: ServerInfo) -> DataHandler.Return:
        self.entered.set()
        assert self.gate.wait(PATIENCE)
        return super().write_h_regs(address, words_l, srv_info)


def gated() -> tuple[Gated, ModbusServer]:
    handler = Gated()
    return handler, ModbusServer(port=0, no_block=True, data_hdl=handler)


def stop_while(server: ModbusServer, handler: Gated) -> None:
    """Stop a server while user code is at work, which goes on once the stop has begun."""
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    wait_until(lambda: server._lanes and server._lanes._closing)
    handler.gate.set()
    stopping.join(PATIENCE)
    assert not stopping.is_alive()


def is_closed(client: Peer) -> bool:
    """Tell whether the server has closed this connection; waits for it."""
    try:
        client.receive()
    except (EOFError, ConnectionResetError):
        return True
    return False


@pytest.mark.parametrize("no_block", [True, False])
def test_it_serves_from_start_to_stop_and_again(no_block: bool) -> None:
    server = ModbusServer(port=0, no_block=no_block)
    before = signal.getsignal(signal.SIGINT)
    for _ in range(2):
        assert server.start() is True
        assert server.start() is True
        assert server.is_run() is True
        port = server.port
        assert port != 0
        with peer(server) as client:
            assert client.ask(WRITE) == WRITTEN
            server.stop()
            assert is_closed(client)
        assert (server.is_run(), server.port) == (False, 0)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        server.stop()
    assert signal.getsignal(signal.SIGINT) is before
    assert server.data_bank.get_holding_registers(5) == [9]


def test_one_user_may_have_many_connections() -> None:
    with running(ModbusServer(port=0, no_block=True)) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(peer(server)) for _ in range(100)]
        assert {client.ask(WRITE) for client in clients} == {WRITTEN}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "box.example.com", ""])
def test_plain_modbus_beyond_loopback_is_refused(host: str, caplog: pytest.LogCaptureFixture) -> None:
    server = ModbusServer(host=host, port=0, ipv6=":" in host)
    assert server.start() is False
    assert isinstance(server.last_error, ModbusServer.NetworkError)
    assert "on loopback only" in str(server.last_error)
    assert "`fieldgate server run`" in caplog.text
    assert (server.is_run(), threading.active_count()) == (False, 1)


@pytest.mark.parametrize(
    ("host", "ipv6", "why"),
    [
        ("127.0.0.1", False, ""),
        ("127.1.2.3", False, ""),
        ("localhost", False, ""),
        ("localhost", True, ""),
        ("::1", True, ""),
        ("127.0.0.1", True, "not an address of IPv6"),
        ("::1", False, "not an address of IPv4"),
    ],
)
def test_ipv6_says_which_loopback(host: str, ipv6: bool, why: str) -> None:
    server = ModbusServer(host=host, port=0, ipv6=ipv6, no_block=True)
    assert server.start() is not bool(why)
    assert why in str(server.last_error)
    if not why:
        address = ("::1" if ipv6 else "127.0.0.1" if host == "localhost" else host, server.port)
        with socket.create_connection(address) as connection:
            connection.sendall(bytes.fromhex("0001 0000 0006 01 06 0000 0001"))
            assert connection.recv(12).hex() == "000100000006010600000001"
    server.stop()


def test_a_taken_port_is_false_and_a_free_one_is_true() -> None:
    with running(ModbusServer(port=0, no_block=True)) as first:
        second = ModbusServer(port=first.port, no_block=True)
        assert second.start() is False
        error = second.last_error
        assert isinstance(error, ModbusServer.NetworkError)
        assert f"127.0.0.1:{first.port}: cannot listen: address already in use" in str(error)
        assert first.is_run()
    assert second.start() is True
    assert second.last_error is None
    second.stop()


def test_a_port_that_is_none_is_false() -> None:
    server = ModbusServer(port=65536)
    assert server.start() is False
    assert "port 65536 is not 0 to 65535" in str(server.last_error)


def test_a_trail_is_kept_where_a_file_is_named(tmp_path: Path) -> None:
    trail = tmp_path / "audit.log"
    with running(ModbusServer(port=0, no_block=True, audit=trail)) as server, peer(server) as client:
        assert client.ask("06 0005 0007") == "06 00 05 00 07"
    assert 'outcome=done unit=1 function=6 range="holding 5"' in trail.read_text()


def test_a_policy_file_decides_where_there_is_one(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    server = ModbusServer(port=0, no_block=True, policy=file)
    assert server.start() is False
    assert str(file) in str(server.last_error)
    file.write_text(
        '[role.some]\ngrants = [{ units = "1", read = "holding 0-9", write = "holding 5", values = "0..9" }]\n'
        f'[identity]\n"unix:{getpass.getuser()}" = "some"\n'
    )
    with running(server), peer(server) as client:
        assert client.ask(WRITE) == WRITTEN
        assert client.ask("06 0005 000a") == "86 01"
        assert client.ask("16 0005 0000 0007") == "16 00 05 00 00 00 07"
        assert client.ask("16 0005 ffff 0000") == "16 00 05 ff ff 00 00"
        assert client.ask("16 0005 0000 000a") == "96 01"
        assert client.ask("03 0009 0001") == "03 02 00 00"
        assert client.ask("03 0009 0002") == "83 01"
        assert server.data_bank.get_holding_registers(5) == [7]


def test_a_masked_write_whose_result_only_user_code_knows_is_within_no_limit(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(
        '[role.some]\ngrants = [{ units = "1", read = "all", write = "holding 5", values = "0..9" },\n'
        '{ units = "1", write = "holding 6" }]\n'
        f'[identity]\n"unix:{getpass.getuser()}" = "some"\n'
    )
    handler, server = gated()
    handler.gate.set()
    server = ModbusServer(port=0, no_block=True, data_hdl=handler, policy=str(file))
    with running(server), peer(server) as client:
        assert client.ask("16 0005 0000 0007") == "96 01"
        assert client.ask("16 0006 0000 0007") == "16 00 06 00 00 00 07"


def test_only_the_user_of_the_process_has_rights_without_a_policy(caplog: pytest.LogCaptureFixture) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    request = bytes.fromhex("0001 0000 0006 01 06 0005 0007")
    caplog.set_level(logging.INFO)
    with running(ModbusServer(port=0, no_block=True)) as server, other_user(pwd.getpwnam("nobody").pw_uid) as nobody:
        nobody.send(("127.0.0.1", server.port), request, "stay")
        wait_until(lambda: "event=refused" in caplog.text)
        assert server.data_bank.get_holding_registers(5) == [0]
        with peer(server) as client:
            assert client.ask(WRITE) == WRITTEN
        assert server.data_bank.get_holding_registers(5) == [9]


def held() -> tuple[int, int, int, int]:
    """Count threads, open files, tasks and event loops."""
    gc.collect()
    things = gc.get_objects()
    tasks = sum(isinstance(thing, asyncio.Task) for thing in things)
    loops = sum(isinstance(thing, asyncio.AbstractEventLoop) for thing in things)
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir())), tasks, loops


@pytest.mark.parametrize("bank", [DataBank, OwnBank])
def test_a_hundred_runs_leave_no_thread_socket_or_task(bank: type[DataBank]) -> None:
    server = ModbusServer(port=0, no_block=True, data_bank=bank())

    def run() -> None:
        with running(server), peer(server) as client:
            assert client.ask(WRITE) == WRITTEN

    # the first run opens what the process keeps, as the random source
    run()
    before = held()
    for _ in range(100):
        run()
    assert held() == before


def test_a_start_that_fails_leaves_nothing() -> None:
    with running(ModbusServer(port=0, no_block=True)) as first:
        second = ModbusServer(port=first.port, no_block=True, data_bank=OwnBank())
        assert not second.start()
        before = held()
        for _ in range(20):
            assert not second.start()
        assert held() == before


def test_user_code_may_stop_the_server_that_calls_it() -> None:
    class Stopping(DataBank):
        def on_holding_registers_change(
            self, address: int, from_value: list[int], to_value: list[int], srv_info: ServerInfo
        ) -> None:
            server.stop()
            running_after_stop.append(server.is_run())

    running_after_stop: list[bool] = []
    server = ModbusServer(port=0, no_block=True, data_bank=Stopping())
    for number in range(2):
        assert server.start() is True
        with peer(server) as client:
            request = f"06 00 05 00 {number + 1:02x}"
            assert client.ask(request) == request
            assert is_closed(client)
        assert running_after_stop == [False] * (number + 1)
    server.stop()
    assert threading.active_count() == 1


def test_a_start_waits_for_the_end_of_the_run_before_but_not_in_what_keeps_it_from_ending() -> None:
    class Restarting(Gated):
        def write_h_regs(self, address: int, words_l: list[int], srv_info: ServerInfo) -> DataHandler.Return:
            server.stop()
            started.append(server.start())
            return super().write_h_regs(address, words_l, srv_info)

    def open_gate() -> None:
        wait_until(server._starting.locked)
        handler.gate.set()

    started: list[bool] = []
    with running(ModbusServer(port=0, no_block=True)) as other:
        port = other.port
    handler = Restarting()
    server = ModbusServer(port=port, no_block=True, data_hdl=handler)
    with running(server), peer(server) as client:
        client.send(bytes.fromhex(WRITE))
        assert handler.entered.wait(PATIENCE)
        assert started == [False]
        assert "still stopping" in str(server.last_error)
        opening = threading.Thread(target=open_gate)
        opening.start()
        assert server.start() is True
        opening.join()
        assert client.receive()[1] == bytes.fromhex(WRITTEN)
        with peer(server) as second:
            assert second.ask("03 0005 0001") == "03 02 00 09"


def test_a_stop_lets_user_code_answer_and_begins_nothing_more() -> None:
    handler, server = gated()
    with running(server), peer(server) as client:
        client.send(bytes.fromhex("06 0001 0001"), bytes.fromhex("06 0002 0002"))
        assert handler.entered.wait(PATIENCE)
        stop_while(server, handler)
        assert client.receive()[1].hex() == "0600010001"
        assert client.receive()[1].hex() == "8606"
        assert is_closed(client)
    assert server.data_bank.get_holding_registers(1, 2) == [1, 0]


def test_user_code_that_hangs_does_not_hold_up_a_stop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lanes, "STOP_DEADLINE", 0.05)
    caplog.set_level(logging.INFO)
    handler, server = gated()
    before = threading.active_count()
    with running(server), peer(server) as client:
        client.send(bytes.fromhex("06 0001 0001"))
        assert handler.entered.wait(PATIENCE)
        server.stop()
        assert not server.is_run()
        assert "did not end within 0.05 s of the stop" in caplog.text
        # nobody knows how far it will come
        assert "outcome=unknown" in caplog.text
        assert server.start() is True
    handler.gate.set()
    wait_until(lambda: threading.active_count() == before)


def test_a_stop_begins_nothing_that_waits_for_a_free_worker() -> None:
    handler, server = gated()
    with running(server):
        clients = [Peer(server) for _ in range(lanes.WORKERS + 1)]
        for number, client in enumerate(clients):
            client.send(bytes((6, 0, number, 0, 1)))
        # the last one's request waits until a worker is free
        wait_until(lambda: server._lanes and len(server._lanes._lanes) == len(clients))
        stop_while(server, handler)
        replies = [client.receive()[1] for client in clients]
        for client in clients:
            client.close()
    assert sum(reply == b"\x86\x06" for reply in replies) == 1
    assert sum(server.data_bank.get_holding_registers(0, len(clients)) or []) == lanes.WORKERS


def test_a_handler_of_ctrl_c_that_is_there_stays() -> None:
    def own(number: int, frame: object) -> None:
        """Be there."""

    before = signal.signal(signal.SIGINT, own)
    try:
        with running(ModbusServer(port=0)):
            assert signal.getsignal(signal.SIGINT) is own
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)
