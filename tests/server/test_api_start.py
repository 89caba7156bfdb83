"""The API's server, started by one thread while others stop it."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from fieldgate_server import ModbusServer
from support.api import PATIENCE, peer, running, wait_until


def test_a_stop_at_any_moment_of_a_start_breaks_neither() -> None:
    def stop() -> None:
        try:
            while not over.is_set():
                server.stop()
        except RuntimeError as error:
            broken.append(error)

    broken: list[RuntimeError] = []
    server = ModbusServer(port=0, no_block=True)
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(30):
            over = threading.Event()
            stopping = [threading.Thread(target=stop) for _ in range(2)]
            for thread in stopping:
                thread.start()
            started = server.start()
            over.set()
            for thread in stopping:
                thread.join(PATIENCE)
            assert started is (server.last_error is None)
            server.stop()
            assert not server.is_run()
    finally:
        sys.setswitchinterval(switching)
    assert broken == []
    assert threading.active_count() == 1
    with running(server), peer(server) as client:
        assert client.ask("06 0005 0009") == "06 00 05 00 09"


def test_a_server_that_is_stopped_before_it_listens_has_not_started(tmp_path: Path) -> None:
    class Slow:
        """A path that takes its time."""

        entered, gate = threading.Event(), threading.Event()

        def __fspath__(self) -> str:
            self.entered.set()
            assert self.gate.wait(PATIENCE)
            return str(tmp_path / "policy.toml")

    (tmp_path / "policy.toml").write_text("[role.some]\ngrants = []\n")
    started: list[bool] = []
    server = ModbusServer(port=0, no_block=True, policy=Slow())  # type: ignore[arg-type]
    starting = threading.Thread(target=lambda: started.append(server.start()))
    starting.start()
    assert Slow.entered.wait(PATIENCE)
    wait_until(lambda: server._run)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    wait_until(lambda: server._run and server._run._asked)
    Slow.gate.set()
    starting.join(PATIENCE)
    stopping.join(PATIENCE)
    assert started == [False]
    assert str(server.last_error) == "the server was stopped while it was starting"
    with running(server):
        assert server.last_error is None
