"""The trail's writer: a disk that hangs, is full, or is slow to flush, under both policies; the loop never waits."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
import subprocess
import threading
from asyncio import Future
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldgate_server import trail_writer
from fieldgate_server.audit import Audit, AuditError
from fieldgate_server.trail_settings import AuditSettings
from support.hung import Pipe, hung

SOON = 0.2
"""A deadline that a test waits for; nothing in it is measured."""


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    with hung(tmp_path / "audit.log") as made:
        yield made


def hang(audit: Audit) -> Future[None]:
    """Write until the pipe is full: the line that blocks becomes a future."""
    for number in range(1000):
        later = audit.line("fill", number=number, padding="x" * 200)
        if later is not None:
            return later
    raise AssertionError("nothing blocked")


async def test_a_hung_disk_is_an_error_after_the_deadline_and_then_at_once(pipe: Pipe) -> None:
    audit = Audit(AuditSettings(pipe.path, deadline=SOON))
    later = hang(audit)
    behind = audit.line("behind")
    assert behind is not None, "it does not wait for what waits already"
    for waiting in (later, behind):
        with pytest.raises(AuditError):
            await waiting
    with pytest.raises(AuditError):
        audit.line("refused-at-once")
    assert audit.lag > 0
    taken = await pipe.read_until("state=recovered")
    assert "event=behind" in taken, "it came late, but it came"
    assert "refused-at-once" not in taken
    assert "event=trail state=recovered lost=1 late=2" in taken
    assert audit.line("again") is None
    audit.close()


async def test_a_hung_disk_lets_others_go_on_where_that_is_asked(pipe: Pipe) -> None:
    audit = Audit(AuditSettings(pipe.path, deadline=SOON, on_failure="go-on"))
    await hang(audit)
    assert audit.line("not-written") is None
    assert "state=recovered lost=1 late=1" in await pipe.read_until("state=recovered")
    audit.close()


async def test_a_slow_disk_within_the_deadline_is_only_waited_for(pipe: Pipe) -> None:
    audit = Audit(AuditSettings(pipe.path, deadline=60))
    later = hang(audit)
    assert not later.done()
    await asyncio.gather(later, pipe.read_until("padding"))
    audit.close()
    assert "state=recovered" not in pipe.read()


def test_without_a_loop_a_line_waits_to_the_deadline(pipe: Pipe) -> None:
    audit = Audit(AuditSettings(pipe.path, deadline=SOON))
    with pytest.raises(AuditError):
        hang(audit)
    pipe.read()
    audit.close()


async def test_the_queue_is_bounded(pipe: Pipe) -> None:
    audit = Audit(AuditSettings(pipe.path, deadline=60))
    waiting = [hang(audit)]
    for _ in range(trail_writer.QUEUE):
        later = audit.line("one-more")
        assert later is not None
        waiting.append(later)
    with pytest.raises(AuditError):
        audit.line("one-too-many")
    taken = ""
    while not all(line.done() for line in waiting):
        taken += pipe.read()
        await asyncio.sleep(0)
    assert "state=recovered lost=1 late=0" in taken + pipe.read()
    audit.close()


@pytest.mark.parametrize(("on_failure", "refused"), [("refuse-writes", True), ("go-on", False)])
def test_a_full_disk_under_both_policies(on_failure: str, refused: bool) -> None:
    audit = Audit(AuditSettings(Path("/dev/full"), on_failure=on_failure))
    with pytest.raises(AuditError) if refused else contextlib.nullcontext():
        assert audit.line("write") is None
    audit.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_disk_that_fills_up_and_is_emptied(
    small_disk: Path, durability: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from fieldgate_core.cli import main

    file = small_disk / "audit.log"
    assert main(["server", "audit", "init", str(file)]) == 0
    key = small_disk.with_name("key")
    key.touch(0o600)
    key.write_text(capsys.readouterr().out)
    audit = Audit(AuditSettings(file, durability=durability))
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(40_000))
    written = 0
    with contextlib.suppress(AuditError):
        while True:
            audit.line("fill", number=written, padding="x" * 200)
            written += 1
    assert 10 < written < 200
    with pytest.raises(AuditError):
        audit.line("still-full", padding="x" * 5000)
    ballast.unlink()
    audit.line("again")
    audit.close()
    text = file.read_text()
    assert len(re.findall("event=fill .* mac=", text)) == written
    assert "event=trail state=recovered lost=2" in text
    assert "event=again" in text
    sequence, digest = audit.head
    assert main(["server", "audit", "verify", str(file), "--key", str(key), "--head", f"{sequence}:{digest}"]) == 0


async def test_power_durability_is_a_flush_that_many_lines_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes = 0
    gate = threading.Event()
    real = os.fdatasync

    def fdatasync(descriptor: int) -> None:
        nonlocal flushes
        flushes += 1
        gate.wait()
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    file = tmp_path / "audit.log"
    audit = Audit(AuditSettings(file, durability="power"))
    first = audit.line("first")
    assert first is not None
    while not flushes:
        await asyncio.sleep(0)
    others = [audit.line("more", number=number) for number in range(100)]
    assert not first.done(), "it is written, and not yet durable"
    gate.set()
    for line in (first, *others):
        assert line is not None
        await line
    assert flushes == 2
    audit.close()
    assert len(file.read_text().splitlines()) == 101


async def test_a_flush_that_fails_is_an_error_though_the_line_stands_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fdatasync(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    audit = Audit(AuditSettings(tmp_path / "audit.log", durability="power"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fdatasync)
        later = audit.line("first")
        assert later is not None
        with pytest.raises(AuditError):
            await later
    second = audit.line("second")
    assert second is not None
    await second
    audit.close()
    text = (tmp_path / "audit.log").read_text()
    assert ["event=first" in text, "event=second" in text, text.count("seq=1 ")] == [True, True, 1]


def test_lines_of_many_threads_are_whole_and_in_order(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    audit = Audit(file)

    def many(name: int) -> None:
        for number in range(200):
            audit.line("many", name=name, number=number)

    threads = [threading.Thread(target=many, args=[name]) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    audit.close()
    lines = file.read_text().splitlines()
    assert [int(line.split("seq=")[1].split()[0]) for line in lines] == list(range(1, 1601))
    for name in range(8):
        own = [line for line in lines if f"name={name} " in line]
        assert [int(line.rpartition("=")[2]) for line in own] == list(range(200))


def test_what_was_counted_is_written_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    audit = Audit(file)
    for port in range(50):
        audit.line("refused", f"identity=tls:x role=r door=tls peer=1.2.3.4:{port} ", unit=1, why="no right")
    audit.line("write", "identity=tls:x ", outcome="intent")
    audit.close()
    first, write, counted = file.read_text().splitlines()
    assert first.endswith('peer=1.2.3.4:0 unit=1 why="no right"')
    assert write.endswith("event=write identity=tls:x outcome=intent")
    assert counted.endswith('event=refused identity=tls:x role=r door=tls unit=1 why="no right" repeated=49')


def test_a_trail_that_nobody_holds_any_more_leaves_no_thread(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.log")
    audit.line("one")
    [thread] = [
        one
        for one in threading.enumerate()
        if one.name == "fieldgate-trail" and audit._writer is not None and one is audit._writer._thread
    ]
    del audit
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()
