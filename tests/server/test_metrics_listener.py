"""The metrics' listener gives one answer a connection, to GET /metrics alone, and no peer holds it up."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

import pytest

from fieldgate_server.metrics_listener import CONTENT_TYPE, HOLD, Bounds, MetricsListener
from fieldgate_tunnel.peer import PeerUsers
from support.other_user import other_user
from support.scrape import DAEMON, GET, get_as, talk

PATIENT = Bounds(request=512, deadline=60, readers=4)
"""With a deadline that no test reaches."""
HASTY = Bounds(request=512, deadline=0.5, readers=4)


@dataclass
class Bench:
    """A listener, the clock that it goes by, how often it was scraped, and what it has refused."""

    text: bytes = b"fieldgate_up 1\n"
    now: float = 100.0
    scrapes: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    def scrape(self) -> bytes:
        self.scrapes += 1
        return self.text


@pytest.fixture
def peers() -> Iterator[PeerUsers]:
    found = PeerUsers()
    yield found
    found.close()


@contextlib.asynccontextmanager
async def listening(
    bench: Bench, peers: PeerUsers, bounds: Bounds = PATIENT, allowed: tuple[str, ...] | None = None
) -> AsyncIterator[MetricsListener]:
    def refused(door: str, _peer: str, what: str) -> None:
        bench.refused.append((door, what))

    listener = MetricsListener(bench.scrape, peers, allowed, refused, bounds=bounds, clock=lambda: bench.now)
    await listener.start("127.0.0.1", 0)
    try:
        yield listener
    finally:
        await listener.close()


async def wait_for(there: Callable[[], bool]) -> None:
    """Wait until something is so. Raises TimeoutError if it never is."""
    async with asyncio.timeout(20):
        while not there():
            await asyncio.sleep(0.01)


async def test_a_scrape_is_one_whole_reply_and_the_end(peers: PeerUsers) -> None:
    async with listening(Bench(), peers) as listener:
        for ask in (GET, GET.replace(b"1.1", b"1.0"), GET.replace(b"metrics", b"metrics?x=1"), GET + b"GET / HTTP/1.1"):
            head, _, body = (await talk(listener.port, ask)).partition(b"\r\n\r\n")
            assert head.split(b"\r\n")[0] == b"HTTP/1.1 200 OK"
            assert f"Content-Type: {CONTENT_TYPE}".encode() in head
            assert f"Content-Length: {len(body)}".encode() in head
            assert body == b"fieldgate_up 1\n"


async def test_a_request_may_come_byte_by_byte(peers: PeerUsers) -> None:
    async with listening(Bench(), peers) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        for at in range(len(GET)):
            writer.write(GET[at : at + 1])
            await asyncio.sleep(0)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics/ HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics/../metrics HTTP/1.1\r\n\r\n", 404),
        (b"GET http://localhost/metrics HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody", 405),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", 405),
        (b"get /metrics HTTP/1.1\r\n\r\n", 405),
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET  /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/2.0\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 512 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 512, 431),
        (b"a" * 511 + b"\n", 431),
    ],
)
async def test_everything_else_is_refused_and_scrapes_nothing(peers: PeerUsers, sent: bytes, status: int) -> None:
    bench = Bench()
    async with listening(bench, peers) as listener:
        said = await talk(listener.port, sent)
        assert said.startswith(f"HTTP/1.1 {status} ".encode()), said
        assert (b"Allow: GET\r\n" in said) is (status == 405)
        assert bench.scrapes == 0
        assert (await talk(listener.port, GET)).startswith(b"HTTP/1.1 200")


async def test_a_flood_without_a_newline_ends_and_nothing_of_it_is_kept(peers: PeerUsers) -> None:
    async with listening(Bench(), peers) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        await wait_for(lambda: len(listener.readers) == 1)
        (inside,) = listener.readers
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"a" * 65536)
                await writer.drain()
        writer.close()
        await wait_for(lambda: not listener.readers)
        assert inside._request == b""


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\n", GET[:-1]])
async def test_who_never_ends_the_request_is_cut_off(peers: PeerUsers, sent: bytes) -> None:
    async with listening(Bench(), peers, HASTY) as listener:
        assert await talk(listener.port, sent) == b""


async def test_who_ends_its_side_before_the_request_is_whole_is_let_go(peers: PeerUsers) -> None:
    async with listening(Bench(), peers) as listener:
        assert await talk(listener.port, b"GET /metrics", end=True) == b""


async def test_to_go_on_sending_does_not_put_the_deadline_off(peers: PeerUsers) -> None:
    async with listening(Bench(), peers, Bounds(request=10**9, deadline=0.5, readers=4)) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"a")
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()
        assert not listener.readers


async def test_who_does_not_take_the_reply_is_cut_off(peers: PeerUsers) -> None:
    bench = Bench(text=b"a" * 50_000_000)
    async with listening(bench, peers, HASTY) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, limit=1)
        writer.write(GET)
        await wait_for(lambda: bench.scrapes == 1)
        await wait_for(lambda: not listener.readers)
        writer.transport.abort()
        del reader


async def test_one_user_has_only_so_many_places_and_they_come_back(peers: PeerUsers) -> None:
    async with listening(Bench(), peers) as listener:
        mute = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(PATIENT.of_one_user)]
        await wait_for(lambda: len(listener.readers) == PATIENT.of_one_user)
        assert await talk(listener.port, GET) == b""
        assert len(listener.readers) == PATIENT.of_one_user
        for _, writer in mute:
            writer.close()
        await wait_for(lambda: not listener.readers)
        assert (await talk(listener.port, GET)).startswith(b"HTTP/1.1 200")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
async def test_a_user_with_all_its_places_leaves_those_of_others_until_all_are_taken(peers: PeerUsers) -> None:
    async with listening(Bench(), peers) as listener:
        at = ("127.0.0.1", listener.port)
        with other_user(DAEMON) as daemon, other_user(2) as bin_user:
            daemon.send(at, b"", "stay", count=3 * PATIENT.readers)
            assert (await talk(listener.port, GET)).startswith(b"HTTP/1.1 200 ")
            assert len(listener.readers) == PATIENT.of_one_user
            bin_user.send(at, b"", "stay", count=3 * PATIENT.readers)
            await wait_for(lambda: len(listener.readers) == PATIENT.readers)
            assert await talk(listener.port, GET) == b""


async def test_who_may_not_read_is_told_so_before_it_asks(peers: PeerUsers) -> None:
    bench = Bench()
    async with listening(bench, peers, allowed=("who-is-not-here",)) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        async with asyncio.timeout(20):
            assert (await reader.read()).startswith(b"HTTP/1.1 403 ")
        writer.close()
        assert [door for door, _ in bench.refused] == ["metrics"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
async def test_who_may_not_read_takes_no_place_from_who_may(peers: PeerUsers) -> None:
    bench = Bench()
    async with listening(bench, peers, allowed=("root",)) as listener:
        with other_user(DAEMON) as daemon:
            daemon.send(("127.0.0.1", listener.port), b"", "stay", count=3 * PATIENT.readers)
            assert (await talk(listener.port, GET)).startswith(b"HTTP/1.1 200 ")
            assert bench.refused == [("metrics", "user daemon: metrics.users does not name it")] * 3 * PATIENT.readers


async def test_who_hammers_gets_the_same_text_for_a_while(peers: PeerUsers) -> None:
    bench = Bench()
    async with listening(bench, peers) as listener:
        for _ in range(20):
            await talk(listener.port, GET)
        assert bench.scrapes == 1
        bench.now += HOLD
        await talk(listener.port, GET)
        assert bench.scrapes == 2


async def test_metrics_that_cannot_be_made_are_said_to_be_so(
    peers: PeerUsers, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> bytes:
        raise OSError("no clock")

    bench = Bench()
    monkeypatch.setattr(Bench, "scrape", fail)
    async with listening(bench, peers) as listener:
        assert (await talk(listener.port, GET)).startswith(b"HTTP/1.1 500 ")
        monkeypatch.undo()
    assert "the metrics cannot be made" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
async def test_users_are_known_by_their_socket_and_others_are_refused(peers: PeerUsers) -> None:
    bench = Bench()
    async with listening(bench, peers, allowed=("daemon",)) as listener:
        assert (await get_as(DAEMON, listener.port)).startswith(b"HTTP/1.1 200 ")
        assert bench.refused == []
        for uid, who in ((2, "user bin"), (0, "user root"), (54321, "a peer whose user is not known")):
            assert (await get_as(uid, listener.port)).startswith(b"HTTP/1.1 403 ")
            assert bench.refused.pop() == ("metrics", f"{who}: metrics.users does not name it")
        assert bench.scrapes == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
async def test_without_names_every_local_user_may_read(peers: PeerUsers) -> None:
    async with listening(Bench(), peers) as listener:
        for uid in (DAEMON, 54321, 0):
            assert (await get_as(uid, listener.port)).startswith(b"HTTP/1.1 200 ")
