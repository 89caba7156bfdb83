"""A read that was allowed is not judged again, and yet nothing that has changed since is missed."""

from __future__ import annotations

import tomllib

import pytest

from fieldgate_core.modbus import Table
from fieldgate_server import guard
from fieldgate_server.audit import Audit
from fieldgate_server.coverage import Coverage
from fieldgate_server.guard import Guard
from fieldgate_server.identity import Identity
from fieldgate_server.policy import Policy, parse
from fieldgate_server.rates import BURST, Bucket
from fieldgate_server.unit_settings import TableSettings, UnitSettings
from fieldgate_server.units import Units

READ, DENIED, BUSY = "0300000001", "8301", "8306"


def policy(grants: str, now: float = 0.0) -> Policy:
    return parse(tomllib.loads(f"[role.r]\ngrants = [{grants}]"), where="p", now=now)


class Bench:
    """A guard on one unit, and how often the rights to its registers were looked at."""

    def __init__(self, given: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
        self.unit = UnitSettings(id=1, holding=TableSettings(1000, 5)).build()
        self.now = 0
        self.rate = Bucket(0, lambda: self.now)
        self.guard = Guard(self.identity(given), Units({1: self.unit}, default=1), Audit(None), rate=self.rate)
        self.looked = 0
        allows = Coverage.allows

        def counted(coverage: Coverage, start: int, count: int) -> str | None:
            self.looked += 1
            return allows(coverage, start, count)

        monkeypatch.setattr(Coverage, "allows", counted)

    @staticmethod
    def identity(given: Policy) -> Identity:
        return Identity("tls:x", "r", given.rights("r"), "tls", "1.2.3.4:5")

    def ask(self, pdu: str, unit: int = 1) -> str:
        reply = self.guard.answer(unit, bytes.fromhex(pdu))
        assert isinstance(reply, bytes)
        return reply.hex()


ALL = '{units="1", read="all", write="all"}, {units="1", function="8/04"}, {units="1", function="8/01"}'


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(policy(ALL), monkeypatch)


def test_the_same_read_is_judged_once_and_shows_what_is_there_now(bench: Bench) -> None:
    assert bench.ask(READ) == "03020005"
    bench.unit.put(Table.HOLDING, 0, b"\0\7", "test", quantity=1)
    assert [bench.ask(READ), bench.ask(READ)] == ["03020007", "03020007"]
    assert bench.looked == 1
    assert bench.guard.reads == 3


def test_it_is_remembered_for_the_unit_that_was_asked(bench: Bench) -> None:
    assert bench.ask(READ) == "03020005"
    assert bench.ask(READ, unit=2) == DENIED


def test_a_right_that_is_lost_by_a_reload_is_lost_to_the_next_read(bench: Bench) -> None:
    assert bench.ask(READ) == bench.ask(READ) == "03020005"
    bench.guard.become(bench.identity(policy('{units="1", read="holding 1-9"}')))
    assert bench.ask(READ) == DENIED
    bench.guard.become(bench.identity(policy(ALL)))
    assert bench.ask(READ) == "03020005"


def test_a_grant_that_ends_by_time_ends_for_the_next_read(monkeypatch: pytest.MonkeyPatch) -> None:
    given = policy('{units="1", read="holding 0", until="2026-12-01T00:00:00Z"}, {units="1", read="holding 1-9"}')
    bench = Bench(given, monkeypatch)
    assert bench.ask(READ) == bench.ask(READ) == "03020005"
    bench.guard.become(bench.identity(given.at(2e9)))
    assert bench.ask(READ) == DENIED


def test_the_rate_of_remembered_reads_is_limited(bench: Bench) -> None:
    assert bench.ask(READ) == bench.ask(READ) == "03020005"
    bench.rate.change(1)
    bench.now += BURST
    assert [bench.ask(READ), bench.ask(READ)] == ["03020005", BUSY]
    bench.now += BURST
    assert bench.ask(READ) == "03020005"


def test_a_unit_that_listens_only_answers_no_remembered_read(bench: Bench) -> None:
    assert bench.ask(READ) == "03020005"
    assert bench.ask("0800040000") == ""
    assert bench.ask(READ) == ""
    assert bench.ask("0800010000") == ""
    assert bench.ask(READ) == "03020005"


def test_what_depends_on_the_cells_is_judged_each_time(bench: Bench) -> None:
    queue = "1803e0"
    bench.unit.put(Table.HOLDING, 992, b"\0\1", "test", quantity=1)
    assert bench.ask(queue) == "18000400010005"
    bench.unit.put(Table.HOLDING, 992, b"\0\x1f", "test", quantity=1)
    assert bench.ask(queue) == "9802"


def test_an_address_that_is_not_there_is_not_remembered_as_one(bench: Bench) -> None:
    assert [bench.ask("0303e80001"), bench.ask("0303e80001")] == ["8302", "8302"]


def test_a_peer_that_asks_for_ever_different_cells_fills_no_memory(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_REMEMBERED", 4)
    asked = [f"03{start:04x}0001" for start in range(8)]
    for pdu in asked:
        assert bench.ask(pdu) == "03020005"
    assert bench.looked == 8
    # the last four are still known, the first ones are not
    assert [bench.ask(pdu) for pdu in (*asked[4:], asked[0])] == ["03020005"] * 5
    assert bench.looked == 9
