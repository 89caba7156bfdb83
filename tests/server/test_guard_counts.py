"""What the guard counts, step by step, and where the rate stands in the order of answers."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from fieldgate_server.audit import Audit
from fieldgate_server.counts import Counts, Step
from fieldgate_server.guard import Guard
from fieldgate_server.identity import Identity
from fieldgate_server.lock import Held, Lock
from fieldgate_server.policy import parse
from fieldgate_server.rates import Bucket
from fieldgate_server.rights import NO_RIGHTS
from fieldgate_server.unit_settings import TableSettings, UnitSettings
from fieldgate_server.units import Units

ROLE = """[role.r]
grants = [
  {units="1", read="holding 0-9, holding 90-110", write="holding 0-9, holding 90-110", values="0..500"},
  {units="1", function="8/0A"},
  {units="7", read="all"},
]"""


class Bench:
    """A guard with a lock and a rate, its counts, and a way to ask it."""

    def __init__(self, *, rights: bool = True, trail: Path | None = None, per_second: float = 0) -> None:
        unit = UnitSettings(id=1, holding=TableSettings(100, 5)).build()
        granted = parse(tomllib.loads(ROLE), where="p").rights("r") if rights else NO_RIGHTS
        self.now = 0
        self.lock = Lock()
        self.counts = Counts()
        self.guard = Guard(
            Identity("tls:x", "r", granted, "tls", "1.2.3.4:5"),
            Units({1: unit}, default=1),
            Audit(trail),
            lock=self.lock,
            rate=Bucket(per_second, lambda: self.now),
            counts=self.counts,
        )

    def ask(self, unit: int, pdu: str) -> str:
        reply = self.guard.answer(unit, bytes.fromhex(pdu))
        assert isinstance(reply, bytes)
        return reply.hex()


@pytest.mark.parametrize(
    ("unit", "pdu", "reply", "step"),
    [
        (1, "04", "8401", Step.FUNCTION),
        (9, "0300000001", "8301", Step.FUNCTION),
        (7, "0300000001", "830a", Step.UNIT),
        (1, "0300000000", "8303", Step.MALFORMED),
        (1, "03000a0001", "8301", Step.CELLS),
        (1, "0600050200", "8601", Step.CELLS),
        (1, "03006e0001", "8302", Step.ADDRESS),
        (1, "06006901f4", "8602", Step.ADDRESS),
    ],
)
def test_each_refusal_is_counted_once_and_under_its_step(unit: int, pdu: str, reply: str, step: Step) -> None:
    bench = Bench()
    assert bench.ask(unit, pdu) == reply
    assert bench.counts.refused == {step: 1}


def test_what_is_carried_out_is_no_refusal() -> None:
    bench = Bench()
    assert bench.ask(1, "0300000001") == "03020005"
    assert bench.ask(1, "060005002a") == "060005002a"
    assert bench.ask(1, "08000a0000") == "08000a0000"
    assert bench.counts.refused == {}
    assert bench.counts.acts == {("write", "done"): 1, ("control", "done"): 1}


def test_steps_of_whoever_has_no_right_at_all_of_the_lock_and_of_the_trail() -> None:
    nobody = Bench(rights=False)
    assert nobody.ask(1, "0300000001") == "8301"
    assert nobody.counts.refused == {Step.IDENTITY: 1}
    locked = Bench()
    locked.lock.held = Held("unix:root", 0.0)
    assert locked.ask(1, "060005002a") == "8601"
    assert locked.ask(1, "0300000001") == "03020005"
    assert locked.counts.refused == {Step.LOCKED: 1}
    # /dev/full is a real file that never takes a byte
    silent = Bench(trail=Path("/dev/full"))
    assert silent.ask(1, "060005002a") == "8604"
    assert silent.counts.refused == {Step.TRAIL: 1}
    assert silent.counts.acts == {}


def test_a_unit_that_fails_leaves_an_unknown_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()

    def fail(*_: object) -> bytes:
        raise OSError("the device is on fire")

    monkeypatch.setattr("fieldgate_server.memory.MemoryUnit.perform", fail)
    assert bench.ask(1, "060005002a") == "8604"
    assert bench.counts.acts == {("write", "unknown"): 1}


@pytest.mark.parametrize(
    ("unit", "pdu", "reply", "why"),
    [
        (1, "04", "8401", "3 no right to the function comes before the rate"),
        (7, "0300000001", "830a", "4 unit not there comes before the rate"),
        (1, "0300000000", "8303", "5 malformed comes before the rate"),
        (1, "03000a0001", "8301", "6 no right to a cell comes before the rate"),
        (1, "0600050200", "8601", "6 a value past its limit comes before the rate"),
        (1, "03006e0001", "8306", "the rate comes before 7 not there"),
        (1, "06006901f4", "8606", "the rate comes before 7 not there, for a write"),
        (1, "0300000001", "8306", "a read"),
        (1, "060005002a", "8606", "a write, and before the lock"),
        (1, "08000a0000", "8806", "a control action, and before the lock"),
    ],
)
def test_the_rate_stands_between_steps_6_and_7(unit: int, pdu: str, reply: str, why: str, tmp_path: Path) -> None:
    trail = tmp_path / "audit.log"
    bench = Bench(per_second=1, trail=trail)
    assert bench.ask(1, "0300000001") == "03020005"
    bench.lock.held = Held("unix:root", 0.0)
    assert bench.ask(unit, pdu) == reply, why
    assert bench.counts.refused[Step.RATE] == (reply[2:] == "06")
    assert ("exception=06" in trail.read_text()) is (reply[2:] == "06")


def test_below_its_rate_it_is_served_and_beyond_it_it_recovers() -> None:
    bench = Bench(per_second=2)
    assert [bench.ask(1, "0300000001")[:2] for _ in range(4)] == ["03", "03", "83", "83"]
    bench.now += 500_000_000
    assert [bench.ask(1, "060005002a")[:2] for _ in range(2)] == ["06", "86"]
    bench.now += 10**9
    assert [bench.ask(1, "0300000001")[:2] for _ in range(3)] == ["03", "03", "83"]


def test_refusals_cost_nothing_of_the_rate() -> None:
    bench = Bench(per_second=1)
    for _ in range(20):
        bench.ask(1, "03000a0001")
    assert bench.ask(1, "0300000001") == "03020005"
