"""The saved time: kept each hour, never moved back, and never so that a clock which ran ahead shuts the doors."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fieldgate_core.clock import BUILT
from fieldgate_server import clock_watch
from fieldgate_server.clock_watch import SLACK, ClockWatch
from fieldgate_server.expiry import Expiry

DAY = 86400.0
NOW = BUILT + 1000 * DAY
OWN = Expiry("id/tls-chain.pem", "CN=box", ends=NOW + 60 * DAY, begins=NOW - 30 * DAY)


class Machine:
    """What the machine's clock says, and what the kernel holds of it."""

    now = NOW
    state = "synced"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(time, "time", lambda: made.now)
    monkeypatch.setattr(clock_watch, "kernel_clock", lambda: made.state)
    return made


def started(folder: Path, *own: Expiry) -> ClockWatch:
    """Start anew, with what is on the disk."""
    watch = ClockWatch(folder)
    watch.know(own or (OWN,))
    return watch


def test_what_was_saved_holds_after_a_restart(machine: Machine, tmp_path: Path) -> None:
    started(tmp_path).save()
    assert (tmp_path / "clock").read_text() == f"{NOW:.0f}\n"
    assert (tmp_path / "clock").stat().st_mode & 0o777 == 0o600
    machine.now = NOW - 2 * DAY
    wrong = started(tmp_path).seen().wrong
    assert wrong is not None
    assert "the clock looks wrong" in wrong
    assert str(tmp_path / "clock") in wrong


def test_a_clock_that_is_set_back_a_little_is_let_be(machine: Machine, tmp_path: Path) -> None:
    watch = started(tmp_path)
    watch.save()
    machine.now = NOW - SLACK
    assert watch.seen().wrong is None
    machine.now -= 1
    assert watch.seen().wrong is not None


def test_the_saved_time_never_moves_back(machine: Machine, tmp_path: Path) -> None:
    watch = started(tmp_path)
    watch.save()
    for back in (60.0, 2 * DAY):
        machine.now = NOW - back
        watch.save()
        started(tmp_path).save()
    assert (tmp_path / "clock").read_text() == f"{NOW:.0f}\n"


@pytest.mark.parametrize("state", ["synced", "unknown"])
def test_a_clock_400_days_ahead_leaves_nothing_behind(machine: Machine, tmp_path: Path, state: str) -> None:
    machine.state = state
    watch = started(tmp_path)
    watch.save()
    machine.now = NOW + 400 * DAY
    watch.save()
    machine.now = NOW + 1
    assert watch.seen().wrong is None
    assert started(tmp_path).seen().wrong is None


def test_a_time_beyond_the_lives_of_all_own_certificates_does_not_count(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "clock").write_text(f"{NOW + 400 * DAY:.0f}\n")
    assert started(tmp_path).seen().wrong is None
    renewed = OWN._replace(ends=NOW + 900 * DAY)
    assert started(tmp_path, OWN, renewed).seen().wrong is not None
    assert machine.now == NOW


def test_nothing_is_saved_while_nobody_disciplines_the_clock(machine: Machine, tmp_path: Path) -> None:
    machine.state = "unsynced"
    started(tmp_path).save()
    assert not (tmp_path / "clock").exists()


def test_a_new_certificate_raises_the_floor(machine: Machine, tmp_path: Path) -> None:
    machine.now = OWN.begins - 1
    wrong = started(tmp_path).seen().wrong
    assert wrong is not None
    assert "certificate CN=box begins" in wrong


@pytest.mark.parametrize(
    ("junk", "told"), [(b"", True), (b"soon", True), (b"\xff" * 100, True), (b"1e9", True), (b"9" * 64, False)]
)
def test_what_is_no_time_is_left_out(
    machine: Machine, tmp_path: Path, junk: bytes, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "clock").write_bytes(junk)
    assert started(tmp_path).seen().wrong is None
    assert ("no time can be read" in caplog.text) is told
    assert machine.now == NOW


def test_a_disk_that_is_full_is_told_and_stops_nothing(
    machine: Machine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch = started(tmp_path / "none")
    watch.save()
    assert "could not be saved" in caplog.text
    assert machine.now == NOW


async def test_it_is_saved_at_once_and_then_each_hour(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look() -> None:
        watch.save_when_due()
        assert watch._saving is not None
        await watch._saving

    watch = started(tmp_path)
    await look()
    machine.now = NOW + 60
    await look()
    assert (tmp_path / "clock").read_text() == f"{NOW:.0f}\n"
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + 3601)
    await look()
    assert (tmp_path / "clock").read_text() == f"{NOW + 60:.0f}\n"


async def test_it_is_saved_at_the_end(machine: Machine, tmp_path: Path) -> None:
    watch = started(tmp_path)
    watch.save_when_due()
    machine.now = NOW + 60
    await watch.close()
    assert (tmp_path / "clock").read_text() == f"{NOW + 60:.0f}\n"


def test_it_says_once_that_the_clock_is_wrong_and_once_that_it_is_right(
    machine: Machine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch = started(tmp_path)
    for now in (NOW, NOW, 0.0, 0.0, 60.0, NOW, NOW):
        machine.now = now
        watch.look()
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "the clock looks wrong",
        "the clock is plausible again",
    ]
