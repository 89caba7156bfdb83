"""The relay of hub and dial: bytes both ways, half-close, back-pressure, and an end that ends the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fieldgate_tunnel.relay import End


@contextlib.asynccontextmanager
async def relayed(server: asyncio.Server) -> AsyncIterator[int]:
    """Give a port that leads through a relay to a server."""
    loop = asyncio.get_running_loop()
    target = server.sockets[0].getsockname()[1]
    tasks: set[asyncio.Task[object]] = set()

    def accept() -> End:
        near, far = End.pair()
        # the far end is late, so what has come meanwhile has to wait
        tasks.add(asyncio.ensure_future(loop.create_connection(lambda: far, "127.0.0.1", target)))
        return near

    front = await loop.create_server(accept, "127.0.0.1", 0)
    async with front, server:
        yield front.sockets[0].getsockname()[1]
        await asyncio.gather(*tasks)


async def test_all_bytes_pass_both_ways_and_each_end_may_end_first() -> None:
    sent = bytes(range(256)) * 40_000

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = await reader.read()
        writer.write(got[::-1])
        writer.close()
        await writer.wait_closed()

    async with relayed(await asyncio.start_server(echo, "127.0.0.1", 0)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        writer.write_eof()
        assert await reader.read() == sent[::-1]
        writer.close()
        await writer.wait_closed()


async def test_who_does_not_read_holds_the_sender_back() -> None:
    blocked = asyncio.Event()
    read_on = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(1000):
            writer.write(bytes(65536))
            try:
                await asyncio.wait_for(writer.drain(), 0.5)
            except TimeoutError:
                blocked.set()
                await read_on.wait()
                await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with relayed(await asyncio.start_server(flood, "127.0.0.1", 0)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(20):
            await blocked.wait()
        read_on.set()
        total = 0
        while data := await reader.read(1 << 20):
            total += len(data)
        assert total == 1000 * 65536
        writer.close()
        await writer.wait_closed()


async def test_a_lost_end_ends_the_other() -> None:
    ended = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended.set()
        writer.close()

    async with relayed(await asyncio.start_server(wait, "127.0.0.1", 0)) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x")
        await writer.drain()
        writer.transport.abort()
        async with asyncio.timeout(20):
            await ended.wait()
