"""Change events: who subscribed hears of every changed run, in every table that shows it, and who changed it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from fieldgate_core.modbus import File, Space, Table
from fieldgate_server.app import App
from fieldgate_server.audit import Audit
from fieldgate_server.changes import Change, Changes
from fieldgate_server.guard import Guard
from fieldgate_server.identity import Identity
from fieldgate_server.layout import Layout
from fieldgate_server.memory import MemoryUnit
from fieldgate_server.policy import OWNER_ROLE, OwnerPolicy
from fieldgate_server.settings import ListenSettings, Settings
from fieldgate_server.unit_settings import FileSettings, UnitSettings
from fieldgate_server.units import Units

WHO = "unix:1000"


class Watched:
    """A unit of a layout, an owner who asks it, and what was heard of its changes."""

    def __init__(self, layout: Layout = Layout.SEPARATE) -> None:
        self.changes = Changes()
        self.heard: list[Change] = []
        self.end = self.changes.subscribe(self.heard.append)
        self.unit: MemoryUnit = UnitSettings(layout=layout, file=(FileSettings(4, 10),)).build(self.changes)
        identity = Identity(WHO, OWNER_ROLE, OwnerPolicy(1000).rights(OWNER_ROLE), "loopback", "p")
        self.guard = Guard(identity, Units({1: self.unit}, 1), Audit(Path("/dev/null")))

    def ask(self, pdu: str) -> None:
        reply = self.guard.answer(1, bytes.fromhex(pdu))
        assert isinstance(reply, bytes)
        assert not reply[0] & 0x80


def heard(watched: Watched) -> list[tuple[Space, int, tuple[int, ...], tuple[int, ...]]]:
    return [(space, start, before, after) for _, space, start, before, after, _ in watched.heard]


def test_a_write_tells_each_changed_run_once() -> None:
    watched = Watched()
    watched.ask("1000030002040007 0000")
    watched.ask("10000200050a 0001 0007 0002 0000 0003")
    assert heard(watched) == [
        (Table.HOLDING, 3, (0,), (7,)),
        (Table.HOLDING, 2, (0,), (1,)),
        (Table.HOLDING, 4, (0,), (2,)),
        (Table.HOLDING, 6, (0,), (3,)),
    ]
    assert {change.by for change in watched.heard} == {WHO}


@pytest.mark.parametrize("pdu", ["0300000001", "0600000000", "0500000000", "16000000ff0000"])
def test_what_changes_nothing_is_not_told(pdu: str) -> None:
    watched = Watched()
    watched.ask(pdu)
    assert watched.heard == []


def test_a_refused_write_is_not_told() -> None:
    watched = Watched()
    assert watched.guard.answer(1, bytes.fromhex("0600640001")) == b"\x86\x02"
    assert watched.heard == []


def test_an_overlaid_unit_tells_every_table_that_shows_the_change() -> None:
    watched = Watched(Layout.OVERLAID)
    watched.ask("05 0011 ff00")
    assert heard(watched) == [
        (Table.COILS, 17, (0,), (1,)),
        (Table.DISCRETE, 17, (0,), (1,)),
        (Table.HOLDING, 1, (0,), (2,)),
        (Table.INPUT, 1, (0,), (2,)),
    ]
    watched.heard.clear()
    watched.ask("06 0001 0005")
    assert heard(watched) == [
        (Table.HOLDING, 1, (2,), (5,)),
        (Table.INPUT, 1, (2,), (5,)),
        (Table.COILS, 16, (0, 1, 0), (1, 0, 1)),
        (Table.DISCRETE, 16, (0, 1, 0), (1, 0, 1)),
    ]


def test_files_are_told_too() -> None:
    watched = Watched()
    watched.ask("15 09 06 0004 0007 0001 06af")
    assert heard(watched) == [(File(4), 7, (0,), (0x6AF,))]


def test_what_the_server_itself_puts_says_who_did_it() -> None:
    watched = Watched()
    watched.unit.put(Table.COILS, 6, b"\x05", "simulation", quantity=3)
    assert [change.by for change in watched.heard] == ["simulation", "simulation"]
    assert heard(watched) == [(Table.COILS, 6, (0,), (1,)), (Table.COILS, 8, (0,), (1,))]


@pytest.mark.parametrize(("start", "quantity"), [(-1, 1), (99, 2), (100, 1)])
def test_cells_that_are_not_there_cannot_be_put(start: int, quantity: int) -> None:
    watched = Watched()
    with pytest.raises(ValueError, match="unit 1 has no holding"):
        watched.unit.put(Table.HOLDING, start, bytes(2 * quantity), "test", quantity=quantity)
    assert watched.heard == []


def test_one_subscriber_that_fails_does_not_keep_the_others_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    later: list[Change] = []

    def fail(_: Change) -> None:
        raise ZeroDivisionError

    watched.changes.subscribe(fail)
    watched.changes.subscribe(later.append)
    watched.ask("0600000001")
    assert [len(watched.heard), len(later)] == [1, 1]
    assert "a subscriber failed" in caplog.text


def test_who_unsubscribed_hears_no_more() -> None:
    watched = Watched()
    watched.end()
    watched.ask("0600000001")
    assert watched.heard == []


async def test_whoever_subscribes_to_a_running_server_hears_of_its_changes() -> None:
    app = App(Settings(listen=ListenSettings(port=0)), owner_rights=True)
    heard: list[Change] = []
    async with app.running():
        app.changes.subscribe(heard.append)
        reader, writer = await asyncio.open_connection("127.0.0.1", app.ports["modbus"])
        writer.write(bytes.fromhex("000100000006 01 06 0005 0007"))
        await reader.readexactly(12)
        writer.close()
    assert [(change.unit, change.space, change.start, change.after) for change in heard] == [
        (1, Table.HOLDING, 5, (7,))
    ]
    assert heard[0].by == f"unix:{os.geteuid()}"
