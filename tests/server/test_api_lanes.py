"""User code's calls: what is dropped when a session is over, how many wait, and how many run beside each other."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import threading
from collections.abc import Callable
from functools import partial

import pytest

from fieldgate_server import DataHandler, ModbusServer, lanes
from fieldgate_server.audit import Audit
from fieldgate_server.bank_unit import BankUnit
from fieldgate_server.data_bank import DataBank
from fieldgate_server.device import Device
from fieldgate_server.guard import Guard
from fieldgate_server.identity import Identity
from fieldgate_server.policy import OWNER_ROLE, OwnerPolicy
from fieldgate_server.server_info import ServerInfo
from fieldgate_server.units import Units
from support.api import PATIENCE, Peer, peer, running, wait_until


class Gated(DataHandler):
    """Writing 1 waits until the gate is open; other values don't wait."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()

    def write_h_regs(self, address: int, words_l: list[int], srv_info: ServerInfo) -> DataHandler.Return:
        if words_l == [1]:
            self.entered.release()
            assert self.gate.wait(PATIENCE)
        return super().write_h_regs(address, words_l, srv_info)


def gated() -> tuple[Gated, ModbusServer]:
    handler = Gated()
    return handler, ModbusServer(port=0, no_block=True, data_hdl=handler)


def write(address: int, value: int) -> bytes:
    return bytes((6, 0, address, 0, value))


def reset(client: Peer) -> None:
    """End a connection as a peer does that is gone, so that the server is told at once."""
    client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def outcomes(caplog: pytest.LogCaptureFixture, address: int) -> list[str]:
    """Give the trail's outcomes of the writes to a register."""
    lines = [line for line in caplog.text.splitlines() if f"range=holding {address} " in line.replace('"', "") + " "]
    return [line.partition("outcome=")[2].split()[0] for line in lines]


def test_what_has_not_begun_when_its_session_is_over_does_not_undo_what_is_newer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    handler, server = gated()
    with running(server):
        with contextlib.closing(Peer(server)) as gone:
            gone.send(write(1, 1), write(2, 2))
            assert handler.entered.acquire(timeout=PATIENCE)
            reset(gone)
        wait_until(lambda: outcomes(caplog, 2) == ["intent", "refused"])
        assert outcomes(caplog, 1) == ["intent"]
        with peer(server) as client:
            client.send(write(2, 9))
            assert client.receive()[1] == write(2, 9)
        handler.gate.set()
        # what was under way ends by itself, and the trail says how
        wait_until(lambda: outcomes(caplog, 1) == ["intent", "done"])
    assert server.data_bank.get_holding_registers(1, 2) == [1, 9]
    assert outcomes(caplog, 2) == ["intent", "refused", "intent", "done"]


def test_a_session_whose_peer_still_listens_gets_all_it_has_asked() -> None:
    handler, server = gated()
    with running(server), peer(server) as client:
        client.send(write(1, 1), write(2, 2))
        assert handler.entered.acquire(timeout=PATIENCE)
        client._socket.shutdown(socket.SHUT_WR)
        handler.gate.set()
        assert [client.receive()[1] for _ in range(2)] == [write(1, 1), write(2, 2)]
    assert server.data_bank.get_holding_registers(1, 2) == [1, 2]


def test_what_waits_for_a_free_worker_has_not_begun(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lanes, "FIRST_WORKERS", 1)
    monkeypatch.setattr(lanes, "WORKERS", 1)
    caplog.set_level(logging.INFO)
    handler, server = gated()
    with running(server), peer(server) as slow, peer(server) as third:
        slow.send(write(1, 1))
        assert handler.entered.acquire(timeout=PATIENCE)
        with contextlib.closing(Peer(server)) as gone:
            gone.send(write(2, 2))
            wait_until(lambda: outcomes(caplog, 2) == ["intent"])
            third.send(write(3, 3))
            wait_until(lambda: outcomes(caplog, 3) == ["intent"])
            reset(gone)
        wait_until(lambda: outcomes(caplog, 2) == ["intent", "refused"])
        handler.gate.set()
        assert slow.receive()[1] == write(1, 1)
        assert third.receive()[1] == write(3, 3)
    assert server.data_bank.get_holding_registers(1, 3) == [1, 0, 3]


def test_a_server_lets_no_more_calls_wait_than_its_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "WAITING", 2)
    handler, server = gated()
    with running(server), peer(server) as client, peer(server) as other:
        client.send(write(1, 1), write(2, 2), write(3, 3), write(4, 4))
        assert handler.entered.acquire(timeout=PATIENCE)
        other.send(write(5, 5))
        assert other.receive()[1].hex() == "8606"
        handler.gate.set()
        assert [client.receive()[1].hex() for _ in range(4)] == ["0600010001", "0600020002", "0600030003", "8606"]
        # there is room again, also after a session has left its calls behind
        handler.gate.clear()
        with contextlib.closing(Peer(server)) as gone:
            gone.send(write(1, 1), write(2, 2), write(2, 3))
            assert handler.entered.acquire(timeout=PATIENCE)
            reset(gone)
        wait_until(lambda: server._lanes and len(server._lanes._lanes) == 1)
        other.send(write(6, 6))
        assert other.receive()[1] == write(6, 6)
        handler.gate.set()
    assert server.data_bank.get_holding_registers(1, 6) == [1, 2, 3, 0, 0, 6]


def test_64_slow_clients_do_not_wait_for_each_other() -> None:
    together = threading.Barrier(64)

    class Meeting(DataHandler):
        """A read waits until all clients' reads are at work."""

        def read_coils(self, address: int, count: int, srv_info: ServerInfo) -> DataHandler.Return:
            together.wait(PATIENCE)
            return super().read_coils(address, count, srv_info)

    server = ModbusServer(port=0, no_block=True, data_hdl=Meeting())
    with running(server), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(peer(server)) for _ in range(64)]
        for client in clients:
            client.send(bytes.fromhex("0100000001"))
        assert {client.receive()[1].hex() for client in clients} == {"010100"}


def session() -> Guard:
    identity = Identity("unix:1", OWNER_ROLE, OwnerPolicy(1).rights(OWNER_ROLE), "loopback", "127.0.0.1:5")
    return Guard(identity, Units.single(BankUnit(DataBank(), Device())), Audit(None))


async def test_calls_go_on_where_no_more_threads_are_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    class Starved(lanes.Lanes):
        def _add_worker(self) -> None:
            if self._threads:
                raise RuntimeError("can't start new thread")
            super()._add_worker()

    monkeypatch.setattr(lanes, "FIRST_WORKERS", 1)
    async with Starved() as starved:
        results = [starved.submit(session(), partial(bytes, [number]), b"-") for number in range(3)]
        assert [await result for result in results] == [b"\0", b"\1", b"\2"]


async def test_what_a_call_raises_its_result_raises_and_the_next_one_runs() -> None:
    def fail() -> bytes:
        raise ValueError("call's own")

    calls: list[Callable[[], bytes]] = [fail, partial(bytes, 1)]
    async with lanes.Lanes() as made:
        one = session()
        failed, done = [made.submit(one, call, b"-") for call in calls]
        with pytest.raises(ValueError, match="call's own"):
            await failed
        assert await done == b"\0"


async def test_a_session_that_is_over_leaves_nothing_behind() -> None:
    order: list[str] = []
    async with lanes.Lanes() as made:
        one = session()
        assert await made.submit(one, partial(bytes, 1), b"-") == b"\0"
        assert len(made._lanes) == 1
        one.on_leave(partial(order.append, "told"))
        one.session("ended")
        assert not made._lanes
        one.session("closed")
    assert order == ["told"], "once"
