"""Every function x role x unit x range edge through each door: the model's answer, its effect, its trail, `explain`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import os
import pwd
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from fieldgate_core import settings
from fieldgate_server import explain_command
from fieldgate_server.app import App
from fieldgate_server.catalogue import BY_NAME
from fieldgate_server.explain import Answer as Explained
from fieldgate_server.explain import Case
from fieldgate_server.identity import Identity
from fieldgate_server.memory import MemoryUnit
from fieldgate_server.settings import Settings
from support.asking import Stream
from support.matrix import (
    ADDRESSES,
    ASKED_UNITS,
    CONTROL,
    DEFAULT_UNIT,
    LAYOUTS,
    MISSING,
    ROLES,
    SITE,
    Answer,
    Ask,
    Model,
    asks,
    coils_of,
    facts,
    oracle,
    result,
)
from support.oracle import Oracle
from support.site import Pki, Site, make_pki, write_files

USERS = {"operator": "root", "viewer": "daemon", "adjoining": "bin", "named": "sys", "nothing": "games"}
"""Who has which role on loopback."""
BATCH = 64
"""Requests that are under way at once, at most."""
COUNTED = ("identity", "function", "unit", "malformed", "cells", "address")
"""The steps that the server counts."""
Plan = list[tuple[Ask, Answer]]
Cells = dict[str, bytes]


@pytest.fixture(scope="module")
def matrix_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """A PKI with a certificate for each role."""
    from fieldgate_certs.cli import main

    pki = make_pki(tmp_path_factory.mktemp("matrix") / "pki")
    for role in ROLES.keys() - {"operator", "viewer"}:
        assert main(["issue", "client", role, "--role", role, "--dir", str(pki.folder)]) == 0
    return pki


@functools.cache
def plan_of(role: str) -> Plan:
    """Give all requests of a role, and their answers by the model."""
    model = Model(role)
    return [(ask, model.answer(ask)) for ask in asks(role)]


def batches(plan: Plan) -> Iterator[Plan]:
    """Cut into batches that end with what changes cells, so that every request meets the units as they are at first."""
    batch: Plan = []
    for one in plan:
        batch.append(one)
        if one[1].leaves or len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


class Cabinet:
    """The units of a running server, from inside: what they hold, told by table, and put back."""

    def __init__(self, app: App) -> None:
        self.units: dict[int, MemoryUnit] = {}
        for number in LAYOUTS:
            unit = app._units.get(number)
            assert isinstance(unit, MemoryUnit)
            self.units[number] = unit
        self.first = self.held()

    def held(self, *, all_views: bool = False) -> dict[int, Cells]:
        """Give all that is held; tables that are one and the same only once, unless all are to be seen."""
        found: dict[int, Cells] = {}
        for number, layout in LAYOUTS.items():
            names = {"separate": "coils discrete holding input", "unified": "coils holding", "overlaid": "holding"}
            unit = self.units[number]
            wanted = names["separate" if all_views else layout].split()
            found[number] = {name: table.read(0, table.size) for name, table in unit.tables.items() if name in wanted}
            found[number] |= {f"file {file}": records.read(0, records.size) for file, records in unit.files.items()}
        return found

    def check(self, batch: Plan) -> None:
        """Check that the last request of a batch has changed what it should, and none anything else; put that back."""
        ask, answer = batch[-1]
        wanted = self.first
        if answer.leaves:
            wanted = self.first | {ask.number: patched(self.first[ask.number], answer.leaves)}
        held = self.held()
        if held != wanted:
            different = [(n, table) for n in held for table in held[n] if held[n][table] != wanted[n][table]]
            raise AssertionError(f"{different} after {batch}")
        tables = {str(name): table for name, table in self.units[ask.number].tables.items()} if answer.leaves else {}
        for name, address in answer.leaves:
            before = self.first[ask.number][name]
            if name == "coils":
                tables[name].write(address, 1, bytes((before[address >> 3] >> (address & 7) & 1,)))
            else:
                table = tables[name] if name in tables else self.units[ask.number].files[int(name[5:])]
                table.write(address, 1, before[2 * address : 2 * address + 2])


def patched(cells: Cells, leaves: Mapping[tuple[str, int], int]) -> Cells:
    """Give tables in which some cells hold something else."""
    found = {name: bytearray(data) for name, data in cells.items()}
    for (name, address), value in leaves.items():
        if name == "coils":
            mask = 1 << (address & 7)
            found[name][address >> 3] = found[name][address >> 3] & ~mask | (mask if value else 0)
        else:
            struct.pack_into(">H", found[name], 2 * address, value)
    return {name: bytes(data) for name, data in found.items()}


@contextlib.asynccontextmanager
async def as_user(site: Site, name: str) -> AsyncIterator[Stream]:
    """Open the loopback door as another user of this machine: a socket belongs to who makes it."""
    os.seteuid(pwd.getpwnam(name).pw_uid)
    try:
        connection = socket.socket()
    finally:
        os.seteuid(0)
    connection.setblocking(False)  # noqa: FBT003
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", site.app.ports["modbus"]))
    reader, writer = await asyncio.open_connection(sock=connection)
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def matrix_site(pki: Pki, folder: Path) -> AsyncIterator[Site]:
    """Run a server whose users and certificates have all roles of the matrix."""
    file = write_files(pki, folder, user="root", grants=ROLES, units=SITE, extra="")
    with (folder / "policy.toml").open("a") as policy:
        for role in ROLES.keys() - {"operator", "viewer"}:
            policy.write(f'"unix:{USERS[role]}" = "{role}"\n')
    app = App(settings.load(file, Settings))
    async with app.running():
        yield Site(app, pki, folder)


def framed(transaction: int, unit: int, pdu: bytes) -> bytes:
    return struct.pack(">HHHB", transaction, 0, 1 + len(pdu), unit) + pdu


async def run_matrix(stream: Stream, role: str, cabinet: Cabinet) -> list[bytes | None]:
    """Ask all that a role asks, and check replies and effects batch by batch; gives the replies."""
    reader, writer = stream
    given: list[bytes | None] = []
    for batch in batches(plan_of(role)):
        writer.write(b"".join(framed(number, ask.unit, ask.pdu) for number, (ask, _) in enumerate(batch)))
        for number, (ask, answer) in enumerate(batch):
            if answer.reply is None:
                given.append(None)
                continue
            head = await reader.readexactly(7)
            reply = await reader.readexactly(struct.unpack(">HHHB", head)[2] - 1)
            assert head == framed(number, ask.unit, reply)[:7], ask
            # of functions that show a state only the first byte is foretold
            assert reply == answer.reply if len(answer.reply) > 1 else reply[:1] == answer.reply, (ask, answer, reply)
            given.append(reply)
        if batch[-1][1].reply is not None:
            cabinet.check(batch)
    return given


def check_trail(lines: list[str], role: str, door: str) -> None:
    """Check that all that a role was refused, wrote and controlled is in the trail, and nothing else."""
    refused = 0
    acts = []
    for line in lines:
        told = facts(line)
        if told.get("role") != role or told.get("door") != door:
            continue
        if told["event"] == "refused":
            refused += int(told.get("repeated", 1))
        elif told["event"] in {"write", "control"}:
            acts.append((told["event"], told["outcome"], told["unit"], told["function"], told.get("range")))
    wanted = []
    for ask, answer in plan_of(role):
        if answer.step in {"done", "address"} and (ask.writes or ask.name in CONTROL):
            event = "write" if ask.writes else "control"
            cells = ", ".join(range_text(*run) for run in ask.writes) or None
            outcome = "refused" if answer.code else "done"
            wanted += [(event, one, str(ask.number), ask.name, cells) for one in ("intent", outcome)]
    assert acts == wanted
    # faults of a request itself leave no line
    assert refused == sum(answer.code == 1 for _, answer in plan_of(role))


def range_text(table: str, first: int, count: int) -> str:
    return f"{table} {first}" if count == 1 else f"{table} {first}-{first + count - 1}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")
@pytest.mark.parametrize("door", ["modbus", "tls", "ssh"])
async def test_every_function_role_unit_and_edge(matrix_pki: Pki, tmp_path: Path, door: str) -> None:
    async with matrix_site(matrix_pki, tmp_path) as site:
        cabinet = Cabinet(site.app)
        all_views = cabinet.held(all_views=True)
        for role in ROLES:
            way = as_user(site, USERS[role]) if door == "modbus" else site.stream(door, role)
            async with asyncio.timeout(30), way as stream:
                replies = await run_matrix(stream, role, cabinet)
            assert cabinet.held(all_views=True) == all_views
            check_explain(site, role, replies)
        steps = Counter(answer.step for role in ROLES for _, answer in plan_of(role))
        assert {str(step): count for step, count in site.app._counts.refused.items() if count} == {
            step: steps[step] for step in COUNTED
        }
    for role in ROLES:
        check_trail(site.trail(), role, "loopback" if door == "modbus" else door)


def test_the_matrix_grants_and_refuses_every_function() -> None:
    outcomes = {(ask.name, answer.step) for role in ROLES for ask, answer in plan_of(role)}
    for name in BY_NAME:
        assert {(name, step) for step in ("done", "function", "identity", "unit")} <= outcomes, name
    with_cells = {ask.name for ask in asks("operator") if (ask.reads or ask.writes) and ask.name != "7"}
    assert {(name, step) for name in with_cells for step in ("cells", "address", "malformed")} <= outcomes


# explain


def check_explain(site: Site, role: str, replies: list[bytes | None]) -> None:
    """Check that `explain` says of each request what its reply says, where it can be asked at all."""
    now = time.time()
    wanted = settings.load(site.folder / "server.toml", Settings)
    known = explain_command._Site(site.app.policy, wanted, now)
    who = Identity("", role, site.app.policy.rights(role), "", "")
    cases = {unit: explain_command._case(who, explain_command._number(unit, known), known)[0] for unit in ASKED_UNITS}
    for (ask, _), reply in zip(plan_of(role), replies, strict=True):
        if reply is None or not ask.sound or not namable(ask):
            continue
        answers = [explained(cases[ask.unit], *question) for question in questions(ask)]
        allowed = all(answer.allowed for answer in answers)
        code = reply[1] if reply[0] & 0x80 else None
        if ask.number == MISSING:
            # a unit that is not there is told before its cells are judged
            assert code == 0x0A if allowed else code in {0x01, 0x0A}, (role, ask, reply)
            continue
        assert allowed is (code != 1), (role, ask, reply)
        inside = all(run == asked(run) for run in (*ask.reads, *ask.writes))
        if allowed and inside and ask.name != "24":
            # of a queue the cells that are there may be fewer than those that are judged
            assert any(answer.notes for answer in answers) is (code == 2), (role, ask, reply)


Question = tuple[str, str, list[str] | None]


def questions(ask: Ask) -> Iterator[Question]:
    """Give what `explain` is asked: verb, what, values."""
    if not ask.reads and not ask.writes:
        yield "function", ask.name, None
        return
    if ask.name == "7":
        yield "function", "7", None
    for run in ask.reads:
        yield "read", range_text(*asked(run)), None
    left = result(ask, oracle_of(ask.number), LAYOUTS.get(ask.number, "separate"))
    for run in ask.writes:
        table, first, count = asked(run)
        values: list[str] | None = ["7"]
        if table == "holding":
            found = [left[address] for address in range(first, first + count)]
            # a register that is not there has no value
            values = None if None in found else [str(value) for value in found]
        elif table == "coils":
            # nor are there values where a coil is not there
            values = [str(bit) for bit in coils_of(ask)] if count == run[2] else None
        yield "write", range_text(table, first, count), values


@functools.cache
def oracle_of(number: int) -> Oracle:
    return oracle(number if number in LAYOUTS else DEFAULT_UNIT)


def asked(run: tuple[str, int, int]) -> tuple[str, int, int]:
    """Leave out what is past the last address: it cannot be named."""
    table, first, count = run
    return table, first, min(count, ADDRESSES - first)


def namable(ask: Ask) -> bool:
    """Tell whether all records can be named: a file has 10,000 at most (V1.1b3, 6.14)."""
    return all(first + count <= 10000 for table, first, count in (*ask.reads, *ask.writes) if table.startswith("file"))


def explained(case: Case, verb: str, what: str, values: list[str] | None) -> Explained:
    """Ask as the command does, once it has read its arguments."""
    return explain_command._answer(argparse.Namespace(verb=verb, value=values, type=None), case, what)
