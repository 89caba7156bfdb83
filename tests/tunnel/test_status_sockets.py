"""`tunnel status` clears away what dead processes left, and nothing else."""

from __future__ import annotations

import logging
import socket
import threading
from pathlib import Path

import pytest

from fieldgate_tunnel import status


def test_the_socket_of_a_process_that_lives_and_does_not_answer_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    status.folder().mkdir()
    dead, busy = (status.folder() / f"tunnel-{pid}.sock" for pid in (1, 2))
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(dead))
    with socket.socket(socket.AF_UNIX) as listener, caplog.at_level(logging.WARNING):
        listener.bind(str(busy))
        listener.listen()
        # as one does that has all its places taken
        hangs_up = threading.Thread(target=lambda: listener.accept()[0].close())
        hangs_up.start()
        assert status.running() == []
        hangs_up.join()
    assert busy.exists()
    assert not dead.exists()
    assert [record.getMessage().startswith(str(busy)) for record in caplog.records] == [True]
