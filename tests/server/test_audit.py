"""The trail's file: whole lines, a full disk, and nothing after the end."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from fieldgate_server.audit import Audit, AuditError


def test_a_line_that_was_cut_short_does_not_swallow_the_next_one(tmp_path: Path) -> None:
    """A real short write: the file may grow to a limit in the middle of the second line."""
    file = tmp_path / "audit.log"
    audit = Audit(file)
    audit.line("first", number=1)
    size = file.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
        with pytest.raises(AuditError):
            audit.line("second", number=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    assert file.stat().st_size == size + 10
    audit.line("third", number=3)
    audit.close()
    first, torn, said, lost, third = file.read_text().splitlines()
    assert first.endswith("seq=1 event=first number=1")
    assert len(torn) == 10
    assert "seq=2 event=trail state=continued torn=10:" in said
    assert lost.endswith("seq=3 event=trail state=recovered lost=1 late=0")
    assert third.endswith("seq=4 event=third number=3")


def test_nothing_is_written_after_the_end(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.log")
    audit.line("one")
    audit.close()
    with pytest.raises(AuditError):
        audit.line("two")
    assert "two" not in (tmp_path / "audit.log").read_text()


def test_a_fact_cannot_forge_a_line_or_a_field(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.log")
    audit.line("refused", what='a"\nseq=9 event=write outcome=done', who="x y=z")
    audit.close()
    [line] = (tmp_path / "audit.log").read_text().splitlines()
    assert line.endswith(r'event=refused what="a\"\nseq=9 event=write outcome=done" who="x y=z"')


def test_the_file_is_not_for_everybody_to_read(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        Audit(tmp_path / "audit.log").close()
    finally:
        os.umask(mask)
    assert (tmp_path / "audit.log").stat().st_mode & 0o777 == 0o640
