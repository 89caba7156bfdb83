"""Keep a TLS door on loopback busy, from several addresses, without ever authenticating: silence, garbage, handshakes.

    flood.py PORT [--handshakes-per-second N]

40 connections say nothing and 40 send garbage, each taken up again a moment after the door has ended it; handshakes are
begun and never finished. It prints `ready` when it has begun, and goes on until it is ended.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ssl

SILENT = [f"127.0.0.{n}" for n in range(2, 10)] * 5
GARBAGE = [f"127.0.1.{n}" for n in range(2, 10)] * 5
BEGINNERS = [f"127.0.2.{n}" for n in range(2, 10)]
NOISE = bytes(range(256)) * 4
PAUSE = 0.2
OPEN_AT_ONCE = 400


def client_hello() -> bytes:
    """Give what a TLS client says first."""
    said = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stream = context.wrap_bio(ssl.MemoryBIO(), said, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        stream.do_handshake()
    return said.read()


async def connect_and_wait(port: int, source: str, says: bytes) -> None:
    """Connect, say something, and wait until the door has enough."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        try:
            writer.write(says)
            while await reader.read(65536):
                pass
        finally:
            writer.transport.abort()


async def again_and_again(port: int, source: str, says: bytes) -> None:
    while True:
        await connect_and_wait(port, source, says)
        await asyncio.sleep(PAUSE)


async def begin_handshakes(port: int, rate: float) -> None:
    hello, under_way, turn = client_hello(), set[asyncio.Task[None]](), 0
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        while due <= loop.time():
            # what stood still for a while does not make up for it
            due = max(due + 1 / rate, loop.time() - 1 / rate)
            if len(under_way) < OPEN_AT_ONCE:
                task = asyncio.create_task(connect_and_wait(port, BEGINNERS[turn % len(BEGINNERS)], hello))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                turn += 1
        await asyncio.sleep(0.005)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--handshakes-per-second", type=float, default=200.0)
    options = parser.parse_args()
    async with asyncio.TaskGroup() as tasks:
        for source in SILENT:
            tasks.create_task(again_and_again(options.port, source, b""))
        for source in GARBAGE:
            tasks.create_task(again_and_again(options.port, source, NOISE))
        tasks.create_task(begin_handshakes(options.port, options.handshakes_per_second))
        print("ready", flush=True)


asyncio.run(main())
