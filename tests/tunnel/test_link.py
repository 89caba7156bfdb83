"""A link on a device that does what the test says: its states and why, and the true end of every request."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fieldgate_core.errors import (
    ConfigError,
    DeadlineError,
    NotTrustedError,
    OutcomeUnknownError,
    TunnelLostError,
    UnreachableError,
)
from fieldgate_core.url import parse
from fieldgate_tunnel import link as link_module
from fieldgate_tunnel.budget import DAY
from fieldgate_tunnel.dialers import Tunnel
from fieldgate_tunnel.keepalive import Keepalive, Probe
from fieldgate_tunnel.link import Link
from fieldgate_tunnel.link_events import BudgetWarning, LinkConnecting, LinkDegraded, LinkDown, LinkUp, State
from support.peers import Device, device
from support.watch import PATIENCE, running, watched

READ, VALUE = bytes.fromhex("0300000001"), bytes.fromhex("03020011")
WRITE = bytes.fromhex("0600010007")
SLOW = Keepalive(15.0, 3, 0.2)


class Plant:
    """What a device answers, to be changed by the test: by PDU, else an echo of writes and 17 for reads."""

    def __init__(self) -> None:
        self.answers: dict[bytes, bytes | None] = {}
        self.mute = False
        self.writes = 0

    def reply(self, pdu: bytes) -> bytes | None:
        self.writes += pdu[0] == 6
        if self.mute:
            return None
        if pdu in self.answers:
            return self.answers[pdu]
        return pdu if pdu[0] == 6 else VALUE


@contextlib.asynccontextmanager
async def plant() -> AsyncIterator[tuple[Plant, Device]]:
    made = Plant()
    async with device(made.reply) as there:
        yield made, there


@pytest.mark.parametrize("answer", ["03020000", "8301", "8302", "8306"])
async def test_any_reply_but_0a_and_0b_is_up(answer: str) -> None:
    async with plant() as (made, there):
        made.answers[READ] = bytes.fromhex(answer)
        async with watched(there.url) as watch:
            await watch.next(LinkUp)
            assert (watch.link.state, watch.link.reason) == (State.UP, "")
            assert [type(event) for event in watch.events] == [LinkConnecting, LinkUp]


@pytest.mark.parametrize(("code", "words"), [(0x0A, "gateway path unavailable"), (0x0B, "gateway target failed")])
async def test_a_dead_default_unit_is_degraded_carries_requests_and_heals_though_others_are_busy(
    code: int, words: str
) -> None:
    async with plant() as (made, there):
        made.answers[READ] = bytes((0x83, code))
        async with watched(there.url) as watch:
            degraded = await watch.next(LinkDegraded)
            assert words in degraded.reason
            assert watch.link.state is State.DEGRADED
            assert await watch.link.carrier.request(3, WRITE, deadline=PATIENCE) == WRITE

            async def busy() -> None:
                while True:
                    await watch.link.carrier.request(3, WRITE, deadline=PATIENCE)
                    await asyncio.sleep(0.01)

            other = asyncio.create_task(busy())
            del made.answers[READ]
            await watch.next(LinkUp)
            other.cancel()


async def test_an_open_connection_alone_is_not_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "FIRST_REPLY", 0.2)
    async with plant() as (made, there):
        made.mute = True
        async with watched(there.url) as watch:
            down = await watch.next(LinkDown)
            assert "the tunnel opened, but Modbus is silent" in down.problem
            assert not any(isinstance(event, LinkUp) for event in watch.events)
            assert watch.link.status().connects == 0


async def test_a_probe_reads_what_it_is_told_to() -> None:
    async with plant() as (_, there), watched(there.url, probe=Probe(7, 0x100)) as watch:
        await watch.next(LinkUp)
        assert there.requests == [bytes.fromhex("0301000001")]


async def test_silence_is_degraded_then_down_and_the_link_comes_back() -> None:
    async with plant() as (made, there), watched(there.url) as watch:
        await watch.next(LinkUp)
        made.mute = True
        degraded = await watch.next(LinkDegraded)
        assert "though the tunnel lives" in degraded.reason
        assert (await watch.next(LinkDown)).retry_in is not None
        made.mute = False
        await watch.next(LinkUp)
        assert watch.link.status().connects == 2


async def test_one_missed_probe_heals_without_a_new_tunnel() -> None:
    async with plant() as (made, there), watched(there.url, keepalive=Keepalive(0.2, 50, 0.2)) as watch:
        await watch.next(LinkUp)
        made.mute = True
        await watch.next(LinkDegraded)
        # what comes now waits: on a silent tunnel a write would end as unknown
        asked = asyncio.create_task(watch.link.carrier.request(1, WRITE, deadline=PATIENCE))
        probes = len(there.requests)
        async with asyncio.timeout(PATIENCE):
            while len(there.requests) == probes:
                await asyncio.sleep(0.01)
        assert made.writes == 0
        made.mute = False
        await watch.next(LinkUp)
        assert await asked == WRITE
        assert (made.writes, watch.link.status().connects) == (1, 1)


async def test_who_talks_is_not_probed() -> None:
    async with plant() as (_, there), watched(there.url) as watch:
        await watch.next(LinkUp)
        end = time.monotonic() + 4 * 0.2
        while time.monotonic() < end:
            await watch.link.carrier.request(1, WRITE, deadline=PATIENCE)
            await asyncio.sleep(0.01)
        assert there.requests.count(READ) == 1


async def test_a_refused_connection_is_tried_again_without_end() -> None:
    async with plant() as (_, there):
        url = there.url
    async with watched(url) as watch:
        for attempt in range(1, 6):
            assert (await watch.next(LinkConnecting)).attempt == attempt
            down = await watch.next(LinkDown)
            assert isinstance(down.error, UnreachableError)
            assert not down.hopeless
        assert watch.link.state is State.DOWN
        assert watch.link.reason == "connection refused"


@pytest.mark.parametrize("error", [NotTrustedError("x", "an impostor"), ConfigError("key", "is gone")])
async def test_what_time_can_not_mend_is_said_so(error: NotTrustedError | ConfigError) -> None:
    async def refused(_: asyncio.Protocol) -> Tunnel:
        raise error

    async with running(Link("modbus+tls://box", refused)) as watch:
        down = await watch.next(LinkDown)
        assert down.hopeless
        assert down.error is error
        assert down.retry_in is not None


async def test_a_write_without_an_answer_is_unknown_and_never_sent_again() -> None:
    async with plant() as (made, there), watched(there.url) as watch:
        await watch.next(LinkUp)
        made.answers[WRITE] = b""  # executed, and the connection closed
        with pytest.raises(OutcomeUnknownError, match="the site closed the tunnel") as raised:
            await watch.link.carrier.request(1, WRITE, deadline=PATIENCE)
        assert raised.value.function == 6
        assert (await watch.next(LinkDown)).unknown_writes == 1
        await watch.next(LinkUp)
        assert made.writes == 1


async def test_a_read_without_an_answer_tells_why_the_tunnel_was_lost() -> None:
    async with plant() as (made, there), watched(there.url) as watch:
        await watch.next(LinkUp)
        made.answers[bytes.fromhex("0300050001")] = b""
        with pytest.raises(TunnelLostError, match="the site closed the tunnel"):
            await watch.link.carrier.request(1, bytes.fromhex("0300050001"), deadline=PATIENCE)


async def test_a_request_without_an_answer_ends_at_its_deadline_and_its_late_reply_is_discarded() -> None:
    async with plant() as (made, there), watched(there.url, keepalive=SLOW) as watch:
        await watch.next(LinkUp)
        made.mute = True
        with pytest.raises(DeadlineError):
            await watch.link.carrier.request(1, READ, deadline=0.1)
        with pytest.raises(OutcomeUnknownError):
            await watch.link.carrier.request(1, WRITE, deadline=0.1)
        made.mute = False
        assert await watch.link.carrier.request(1, WRITE, deadline=PATIENCE) == WRITE


async def test_new_work_waits_for_the_link_to_its_deadline_and_was_then_not_sent() -> None:
    async with plant() as (made, there):
        url = there.url
    async with watched(url) as watch:
        with pytest.raises(TunnelLostError, match="not sent"):
            await watch.link.carrier.request(1, WRITE, deadline=0.2)
    assert made.writes == 0


async def test_new_work_that_waits_goes_when_the_link_is_up() -> None:
    gate = asyncio.Event()
    async with plant() as (made, there):
        to_there = link_module.to_site(parse(there.url), None)

        async def late(protocol: asyncio.Protocol) -> Tunnel:
            await gate.wait()
            return await to_there(protocol)

        async with running(Link(there.url, late)) as watch:
            asked = asyncio.create_task(watch.link.carrier.request(1, WRITE, deadline=PATIENCE))
            await asyncio.sleep(0)
            gate.set()
            assert await asked == WRITE
            assert made.writes == 1


async def test_new_work_fails_at_once_where_it_may_not_wait() -> None:
    async with plant() as (_, there):
        url = there.url
    async with watched(url, waits=False) as watch:
        await watch.next(LinkDown)
        with pytest.raises(TunnelLostError, match="not sent: connection refused"):
            await watch.link.carrier.request(1, READ, deadline=3600)


async def test_a_malformed_reply_ends_the_tunnel() -> None:
    async with plant() as (made, there), watched(there.url, keepalive=SLOW) as watch:
        await watch.next(LinkUp)
        made.answers[WRITE] = b"\x10\0\0\0\1"
        with pytest.raises(OutcomeUnknownError, match="malformed"):
            await watch.link.carrier.request(1, WRITE, deadline=PATIENCE)
        assert "a malformed reply" in (await watch.next(LinkDown)).problem
        await watch.next(LinkUp)


async def test_who_stops_asking_is_forgotten_and_a_stop_ends_what_waits() -> None:
    async with plant() as (made, there), watched(there.url, keepalive=SLOW) as watch:
        await watch.next(LinkUp)
        made.mute = True
        given_up = asyncio.create_task(watch.link.carrier.request(1, READ, deadline=PATIENCE))
        waits = asyncio.create_task(watch.link.carrier.request(1, WRITE, deadline=PATIENCE))
        await asyncio.sleep(0.05)
        given_up.cancel()
    with pytest.raises(OutcomeUnknownError):
        await waits
    assert watch.events[-1] == LinkDown(watch.events[-1].error, None, unknown_writes=1)  # type: ignore[union-attr]


async def test_a_subscriber_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def fails(_: object) -> None:
        raise RuntimeError("oops")

    async with plant() as (_, there), watched(there.url) as watch:
        stop = watch.link.subscribe(fails)
        await watch.next(LinkUp)
        stop()
    assert "a subscriber failed" in caplog.text


class Clock:
    """Wall time that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 20_000.0 * DAY
        monkeypatch.setattr("fieldgate_tunnel.link.time.time", lambda: self.now)


async def test_a_spent_budget_warns_holds_the_link_down_and_ends_at_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    monkeypatch.setattr(link_module, "_LOOK", 0.05)
    monkeypatch.setattr(link_module, "_LONGEST_HOLD", 0.05)
    async with plant() as (_, there), watched(there.url, bytes_per_day=20_000) as watch:
        await watch.next(LinkUp)
        with contextlib.suppress(TunnelLostError, OutcomeUnknownError):
            while True:
                await watch.link.carrier.request(1, WRITE, deadline=PATIENCE)
        warning = await watch.next(BudgetWarning)
        assert warning.used >= 16_000
        held = await watch.next(LinkDown, lambda event: "held down until 00:00 UTC" in event.problem)
        assert held.retry_in == DAY
        # there is nothing to wait for today
        with pytest.raises(TunnelLostError, match="of today are spent"):
            await watch.link.carrier.request(1, READ, deadline=3600)
        status = watch.link.status()
        assert status.cap is not None
        assert status.today >= status.cap
        clock.now += DAY
        await watch.next(LinkUp)
        assert await watch.link.carrier.request(1, WRITE, deadline=PATIENCE) == WRITE
        assert watch.link.status().today < 20_000


async def test_probes_are_spread_where_the_budget_gets_tight(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    monkeypatch.setattr(link_module, "_LOOK", 0.02)
    async with plant() as (_, there), watched(there.url, bytes_per_day=100_000) as watch:
        await watch.next(LinkUp)
        wire = watch.link._wire
        assert wire is not None
        assert wire.pulse.next - wire.pulse.heard_at == pytest.approx(0.2)
        while watch.link.status().today < 75_000:
            await watch.link.carrier.request(1, WRITE, deadline=PATIENCE)
        async with asyncio.timeout(PATIENCE):
            while wire.pulse.next - wire.pulse.heard_at < 0.2 * 2.4:
                await asyncio.sleep(0.01)


async def test_the_kernel_is_as_patient_as_the_link() -> None:
    async with plant() as (_, there), watched(there.url, keepalive=Keepalive(0.5, 3, 0.2)) as watch:
        await watch.next(LinkUp)
        assert watch.link._wire is not None
        sock = watch.link._wire.tcp._socket
        assert sock is not None
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 2000


async def test_bytes_on_the_wire_are_those_of_tcp_with_headers() -> None:
    async with plant() as (_, there), watched(there.url, keepalive=SLOW) as watch:
        await watch.next(LinkUp)
        before = watch.link.status()
        assert (before.sent, before.received) == (12, 11)
        for _ in range(10):
            await watch.link.carrier.request(1, WRITE, deadline=PATIENCE)
        after = watch.link.status()
        assert (after.sent, after.received) == (132, 131)
        assert before.wire is not None
        assert after.wire is not None
        # ten frames each way, each at least one segment
        assert after.wire - before.wire >= 20 * (12 + 52)
        assert after.today == after.wire
        assert after.round_trip is not None


async def test_an_identity_that_is_missing_is_no_matter_of_time(tmp_path: Path) -> None:
    async with watched("modbus+tls://127.0.0.1:9", tmp_path / "none") as watch:
        assert (await watch.next(LinkDown)).hopeless
