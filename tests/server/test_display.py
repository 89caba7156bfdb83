"""Texts on a stream whose reader is slow or gone: nobody waits for it, and what is left out is counted."""

from __future__ import annotations

import os
import threading

import pytest

from fieldgate_server import display
from fieldgate_server.display import Display


async def test_texts_are_shown_in_their_order_before_the_end() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader) as read, os.fdopen(writer, "w") as stream:
        shown = Display(stream)
        async with shown.running():
            for number in range(3):
                shown.show(f"frame {number}")
        stream.close()
        assert read.read() == "frame 0\nframe 1\nframe 2\n"


async def test_a_reader_that_is_slow_misses_texts_and_is_told_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "_MOST", 4)
    monkeypatch.setattr(display, "_PATIENCE", 60.0)
    reader, writer = os.pipe()
    with os.fdopen(reader) as read, os.fdopen(writer, "w") as stream:
        shown = Display(stream)
        lines: list[str] = []
        async with shown.running():
            # one text more than a pipe holds: the writing thread waits there, and four wait behind it
            shown.show("x" * 70_000)
            for number in range(1000):
                shown.show(f"frame {number}")
            thread = threading.Thread(target=lambda: lines.extend(read))
            thread.start()
        stream.close()
        thread.join()
    assert any("frames were not shown" in line for line in lines)
    assert len(lines) < 20


async def test_a_reader_that_has_gone_is_not_waited_for() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    shown = Display(stream)
    async with shown.running():
        for number in range(10_000):
            shown.show(f"frame {number}")
    with pytest.raises(BrokenPipeError):
        stream.close()
