"""What the commands that keep tunnels have in common: the loop they run on, and what they say on stdout."""

from __future__ import annotations

import asyncio
import contextlib


def runner() -> asyncio.Runner:
    """Give a runner on uvloop where it is to be had."""
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def say(line: str) -> None:
    """Print a line for the program that has started this one."""
    # it may have closed the pipe since
    with contextlib.suppress(BrokenPipeError):
        print(line, flush=True)  # noqa: T201 - the command's output
