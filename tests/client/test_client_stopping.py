"""Signals to stop: the first cancels, the next do not cut the clean-up short."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from fieldgate_client import stopping

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_cancels_and_the_next_do_not(number: signal.Signals) -> None:
    cleaned: list[str] = []

    async def work() -> None:
        os.kill(os.getpid(), number)
        try:
            await asyncio.Event().wait()
        finally:
            for again in SIGNALS:
                os.kill(os.getpid(), again)
            # turns of the loop, in which it handles them
            for _ in range(10):
                await asyncio.sleep(0)
            cleaned.append("up")

    with pytest.raises(KeyboardInterrupt):
        stopping.run(work())
    assert cleaned == ["up"]


def test_work_that_nobody_stops_gives_its_result() -> None:
    async def work() -> int:
        return 7

    assert stopping.run(work()) == 7
