"""Turns come at the pace, whoever asks and however late; and all links of a process take turns."""

import asyncio
import time

from fieldgate_core.errors import UnreachableError
from fieldgate_tunnel.dialers import Tunnel
from fieldgate_tunnel.link import OPENINGS, Link
from fieldgate_tunnel.pace import Pace


def test_who_comes_alone_does_not_wait() -> None:
    pace = Pace(10.0)
    assert [pace.turn(now) for now in (100.0, 101.0, 105.0)] == [0.0, 0.0, 0.0]


def test_who_come_together_come_one_after_the_other() -> None:
    pace = Pace(10.0)
    turns = [100.0 + pace.turn(100.0) for _ in range(30)]
    assert turns == sorted(turns)
    for begin in (100.0, 100.7, 101.35):
        assert sum(begin <= turn < begin + 1.0 for turn in turns) <= 11
    # and a pause is not saved up
    assert [pace.turn(200.0), round(pace.turn(200.0), 6)] == [0.0, 0.1]


async def test_links_of_one_process_do_not_all_open_at_once() -> None:
    tried: list[float] = []
    enough = asyncio.Event()

    async def open_way(_: asyncio.Protocol) -> Tunnel:
        tried.append(time.monotonic())
        if len(tried) == 80:
            enough.set()
        raise UnreachableError("there", "nobody is")

    links = [asyncio.create_task(Link("there", open_way).run()) for _ in range(80)]
    await enough.wait()
    for link in links:
        link.cancel()
    await asyncio.gather(*links, return_exceptions=True)
    tried.sort()
    # a turn may come late, so that the next one follows sooner; never do more come than turns
    assert all(later - first >= (40 - 10) / OPENINGS.rate for first, later in zip(tried, tried[40:], strict=False))
