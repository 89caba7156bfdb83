"""A write whose intent is not durable yet: it waits, is judged again when it is, and runs once or not at all."""

from __future__ import annotations

import asyncio
import tomllib
from asyncio import Future
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldgate_server.audit import Audit
from fieldgate_server.guard import Guard
from fieldgate_server.identity import Identity
from fieldgate_server.lock import Held as LockedBy
from fieldgate_server.policy import parse
from fieldgate_server.trail_settings import AuditSettings
from fieldgate_server.unit_settings import TableSettings, UnitSettings
from fieldgate_server.units import Units
from support.hung import Pipe, hung

WRITE = bytes.fromhex("060005002a")
MASK = bytes.fromhex("160005feff0100")
"""AND FEFF, OR 0100: what results depends on what is there."""
POLICY = '[role.r]\ngrants = [{units="1", read="all", write="holding 0-9", values="0..500"}]'


class Held:
    """A guard on a unit of tables, with a trail that hangs."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.audit = Audit(AuditSettings(pipe.path, deadline=30))
        self.unit = UnitSettings(id=1, holding=TableSettings(10, 5)).build()
        self.guard = Guard(
            Identity("tls:x", "r", parse(tomllib.loads(POLICY), where="p").rights("r"), "tls", "1.2.3.4:5"),
            Units({1: self.unit}, default=1),
            self.audit,
        )

    def ask(self, pdu: bytes) -> Future[bytes]:
        """Ask while the disk hangs: the reply comes later."""
        self.pipe.fill()
        reply = self.guard.answer(1, pdu)
        assert isinstance(reply, Future)
        assert self.guard.holds()
        assert self.unit.holding.read(5, 1) == b"\0\5", "nothing runs before its intent is in the trail"
        return reply

    async def lines(self, reply: Future[bytes]) -> list[str]:
        """Let the disk go on, and give the trail's lines once the reply is there."""
        taken = ""
        while not reply.done():
            taken += self.pipe.read()
            await asyncio.sleep(0.001)
        self.audit.close()
        return (taken + self.pipe.read()).lstrip("-").splitlines()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    with hung(tmp_path / "audit.log") as pipe:
        yield Held(pipe)


def outcomes(lines: list[str]) -> list[str]:
    return [line.split("outcome=")[1].split()[0] for line in lines if "outcome=" in line]


async def test_it_runs_when_its_intent_is_durable(held: Held) -> None:
    reply = held.ask(WRITE)
    assert outcomes(await held.lines(reply)) == ["intent", "done"]
    assert reply.result() == WRITE
    assert held.unit.holding.read(5, 1) == b"\0\x2a"
    assert not held.guard.holds()


@pytest.mark.parametrize("state", ["closed", "ended", "expired"])
async def test_it_does_not_run_when_its_session_has_ended(held: Held, state: str) -> None:
    """By itself, or by a kick or a newer session of the same role while the peer does not read."""
    reply = held.ask(WRITE)
    held.guard.session(state)
    assert outcomes(await held.lines(reply)) == ["intent", "refused"]
    assert reply.result().hex() == "8604"
    assert held.unit.holding.read(5, 1) == b"\0\5"


async def test_what_would_result_now_is_judged_again(held: Held) -> None:
    """0105 is within 0..500 and 0900 is not: another session has written 0800 meanwhile."""
    reply = held.ask(MASK)
    held.unit.holding.write(5, 1, b"\x08\0")
    lines = await held.lines(reply)
    assert outcomes(lines) == ["intent", "refused"]
    assert any("event=refused" in line and "new=0900" in line for line in lines)
    assert reply.result().hex() == "9601"
    assert held.unit.holding.read(5, 1) == b"\x08\0"


async def test_a_lock_that_comes_meanwhile_is_what_the_trail_says(held: Held) -> None:
    reply = held.ask(WRITE)
    held.guard._lock.held = LockedBy("unix:ann", 0.0)
    lines = await held.lines(reply)
    assert outcomes(lines) == ["intent", "refused"]
    assert [line.rpartition("exception=")[2] for line in lines if "outcome=refused" in line] == ["01"]
    assert any("why=locked" in line for line in lines)
    assert reply.result().hex() == "8601"
    assert held.unit.holding.read(5, 1) == b"\0\5"


async def test_a_unit_that_listens_only_by_now_says_nothing_and_does_nothing(held: Held) -> None:
    reply = held.ask(WRITE)
    held.unit.device.listen()
    assert outcomes(await held.lines(reply)) == ["intent", "refused"]
    assert reply.result() == b""
    assert held.unit.holding.read(5, 1) == b"\0\5"


async def test_another_result_that_is_allowed_has_an_intent_of_its_own(held: Held) -> None:
    reply = held.ask(MASK)
    held.unit.holding.write(5, 1, b"\0\x07")
    lines = await held.lines(reply)
    assert sorted(outcomes(lines)) == ["done", "intent", "intent", "refused"]
    assert [line.rpartition("new=")[2] for line in lines if "outcome=done" in line] == ["0107"]
    assert reply.result() == MASK
    assert held.unit.holding.read(5, 1) == b"\1\7"
