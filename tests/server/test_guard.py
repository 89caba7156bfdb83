"""The order of answers, step by step: of two things wrong, the earlier one is answered."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fieldgate_server.audit import Audit
from fieldgate_server.guard import Guard
from fieldgate_server.identity import Identity
from fieldgate_server.policy import parse
from fieldgate_server.rights import NO_RIGHTS, Rights
from fieldgate_server.table_functions import WriteRegister
from fieldgate_server.unit_settings import TableSettings, UnitSettings
from fieldgate_server.units import Units

ROLE = """grants = [
  {units="1", read="holding 0-9, coils 0-9", write="coils 0-9"},
  {units="1", read="holding 90-110", write="holding 0-9, holding 90-110", values="0..500"},
  {units="1", write="holding 95-96"},
  {units="7", read="all"},
]"""


class Bench:
    """A guard on one memory unit, its trail, and a way to ask it."""

    def __init__(self, folder: Path, rights: Rights | None = None) -> None:
        import tomllib

        self.file = folder / "audit.log"
        self.audit = Audit(self.file)
        unit = UnitSettings(id=1, holding=TableSettings(100, 5)).build()
        self.unit = unit
        policy = parse(tomllib.loads(f"[role.r]\n{ROLE}"), where="p")
        self.guard = Guard(
            Identity("tls:x", "r", rights if rights is not None else policy.rights("r"), "tls", "1.2.3.4:5"),
            Units({1: unit}, default=1),
            self.audit,
        )

    def ask(self, unit: int, pdu: str) -> str:
        reply = self.guard.answer(unit, bytes.fromhex(pdu))
        assert isinstance(reply, bytes)
        return reply.hex()

    def trail(self) -> list[str]:
        return self.file.read_text().splitlines()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("unit", "pdu", "reply", "why"),
    [
        (9, "0300000001", "8301", "3 no right on this unit comes before 4 unit not there"),
        (1, "04", "8401", "3 no right to the function comes before 5 malformed"),
        (1, "64", "e401", "3 unknown function"),
        (1, "2b0e0100", "ab01", "3 a function that is not served"),
        (7, "03", "830a", "4 unit not there comes before 5 malformed"),
        (1, "0300000000", "8303", "5 quantity 0 comes before 6 rights"),
        (1, "03ffff007e", "8303", "5 quantity 126 comes before 7 addresses"),
        (1, "03000a0001", "8301", "6 a cell without right"),
        (1, "0300090002", "8301", "6 one cell short refuses the whole"),
        (1, "03005b0014", "8302", "7 all cells granted, not all there"),
        (1, "03ffff0001", "8301", "6 no right at 65535 comes before 7 not there"),
        (1, "0600050200", "8601", "6 a value past its limit (512 > 500)"),
        (1, "06000501f4", "06000501f4", "8 the limit itself (500) is allowed"),
        (1, "06005fffff", "06005fffff", "8 another grant has no limit there"),
        (1, "0600691000", "8601", "6 a value past its limit comes before 7 not there"),
        (1, "06006901f4", "8602", "7 granted, its value too, and not there"),
        (1, "16006900000200", "9602", "7 FC22 of a register that is not there has no result to judge"),
        (1, "1700640001000000010203e8", "9701", "6 FC23 past its limit comes before 7 its read half not there"),
        (1, "16000500000200", "9601", "6 FC22 is judged by what results"),
        (1, "160005ffff0200", "160005ffff0200", "8 FC22 that leaves the register as it is"),
        (1, "1700000001006400010201f4", "9702", "7 FC23 with one half not there"),
        (1, "170000000a000000010203e8", "9701", "6 FC23 with a value past its limit"),
        (1, "1700320001000000010200aa", "9701", "6 FC23 without right to the read half"),
        (0, "0300000001", "03020005", "unit 0 names the default unit"),
        (255, "0300000001", "03020005", "unit 255 names the default unit"),
    ],
)
def test_the_order_of_answers(bench: Bench, unit: int, pdu: str, reply: str, why: str) -> None:
    assert bench.ask(unit, pdu) == reply, why


def test_an_identity_without_any_right_gets_01_whatever_it_asks(tmp_path: Path) -> None:
    bench = Bench(tmp_path, NO_RIGHTS)
    for pdu in ("0300000001", "03", "64", "0600000001", "80", "00"):
        assert bench.ask(9, pdu)[2:] == "01"
    assert bench.guard.refusals == 6


def test_a_refused_write_changes_nothing_and_is_in_the_trail(bench: Bench) -> None:
    bench.ask(1, "10000500020401f40fff")
    assert bench.unit.holding.read(5, 2) == b"\0\5\0\5"
    [line] = bench.trail()
    assert 'event=refused identity=tls:x role=r door=tls peer=1.2.3.4:5 unit=1 function=16 range="holding 5-6"' in line
    assert "exception=01" in line


def test_fc23_writes_neither_half_when_one_may_not(bench: Bench) -> None:
    assert bench.ask(1, "1700320001000000010200aa") == "9701"
    assert bench.unit.holding.read(0, 1) == b"\0\5"


def test_a_write_has_its_intent_before_and_its_outcome_after(bench: Bench) -> None:
    bench.ask(1, "060005002a")
    intent, outcome = bench.trail()
    assert "outcome=intent" in intent
    assert "new=002a" in intent
    assert "outcome=done" in outcome
    assert 'range="holding 5" grant=r[1] old=0005 new=002a' in outcome


def test_reads_are_counted_not_written(bench: Bench) -> None:
    bench.ask(1, "0300000001")
    bench.ask(1, "0100000001")
    assert bench.guard.reads == 2
    assert bench.trail() == []


def test_a_trail_that_cannot_be_written_refuses_writes_and_goes_on_reading(tmp_path: Path) -> None:
    # /dev/full is a real file that never takes a byte
    bench = Bench(tmp_path)
    bench.guard._audit = Audit(Path("/dev/full"))
    assert bench.ask(1, "060005002a") == "8604"
    assert bench.ask(1, "06006901f4") == "8604", "it comes before 7, cells that are not there"
    assert bench.unit.holding.read(5, 1) == b"\0\5"
    assert bench.ask(1, "0300050001") == "03020005"
    assert bench.ask(1, "0300320001") == "8301"
    bench.guard._audit.close()


def test_stopping_the_server_has_its_intent_before_and_its_outcome_after(bench: Bench) -> None:
    bench.guard.become(bench.guard.identity._replace(rights=Rights({}, {"stop": "r[0]"})))
    lines_then: list[list[str]] = []
    bench.guard.stop(lambda: lines_then.append(bench.trail()))
    [[intent]] = lines_then
    assert intent.endswith(
        "event=control identity=tls:x role=r door=tls peer=1.2.3.4:5 manage=stop outcome=intent grant=r[0]"
    )
    _, outcome = bench.trail()
    assert outcome.endswith(" manage=stop outcome=done grant=r[0]")


def test_who_may_not_stop_the_server_is_refused_and_without_a_trail_nobody_may(bench: Bench) -> None:
    def never() -> None:
        pytest.fail("stopped")

    bench.guard.stop(never)
    assert bench.trail()[0].endswith(' manage=stop why="no right to stop the server"')
    bench.guard.become(bench.guard.identity._replace(rights=Rights({}, {"stop": "r[0]"})))
    bench.audit.close()
    bench.guard.stop(never)


def test_a_unit_that_fails_on_the_way_answers_04_and_the_outcome_is_unknown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError("the device is on fire")

    monkeypatch.setattr(type(bench.unit), "perform", fail)
    assert bench.ask(1, "060005002a") == "8604"
    assert "outcome=unknown" in bench.trail()[-1]


def test_a_write_of_cells_that_are_not_there_has_its_lines_too(bench: Bench) -> None:
    assert bench.ask(1, "06006901f4") == "8602"
    assert ["outcome=intent" in bench.trail()[0], "outcome=refused" in bench.trail()[1]] == [True, True]


def test_a_result_that_cannot_be_known_lies_within_no_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WriteRegister, "written", lambda *_: None)
    assert bench.ask(1, "060005002a") == "8601", "limited to 0..500"
    assert bench.ask(1, "06005f002a") == "06005f002a", "granted without a limit"


def test_padding_bits_of_a_coil_write_stand_nowhere(bench: Bench) -> None:
    assert bench.ask(1, "0f0000000101fe") == "0f00000001"
    assert bench.unit.coils.read(0, 8) == b"\0"
    assert "new=00" in bench.trail()[-1]


async def test_a_reply_that_comes_later_has_its_outcome_when_it_comes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    later: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(type(bench.unit), "perform", lambda *_: later)
    reply = bench.guard.answer(1, bytes.fromhex("060005002a"))
    assert isinstance(reply, asyncio.Future)
    assert len(bench.trail()) == 1
    later.set_exception(TimeoutError())
    assert (await reply).hex() == "8604"
    assert "outcome=unknown" in bench.trail()[-1]
