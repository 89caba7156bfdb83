"""The lock at the doors: nothing is written while it holds, reads go on, and no end of the server ends it."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest

from support.asking import READ, READ_REPLY, WRITE, WRITE_REFUSED, ask, line_with
from support.box import Box, fieldgate, running_box
from support.operating import OPERATOR, command, extra_settings, operated, prepare
from support.site import DOORS, Pki

CLEAR_COUNTERS = bytes.fromhex("0003000000060108000a0000")
CONTROL_REFUSED = bytes.fromhex("000300000003018801")
PAST_THE_END = bytes.fromhex("000400000006010603e80001")
PAST_THE_END_02 = bytes.fromhex("000400000003018602")
PAST_THE_END_01 = bytes.fromhex("000400000003018601")
MASK = bytes.fromhex("000500000008011600000000ffff")
MASK_REFUSED = bytes.fromhex("000500000003019601")
CONTROLLER = f'{OPERATOR[:-1]}, {{ units = "all", function = "8/0A" }}]'


@pytest.mark.parametrize("door", DOORS)
async def test_while_it_is_locked_nothing_is_written_and_reads_go_on(site_pki: Pki, tmp_path: Path, door: str) -> None:
    async with operated(site_pki, tmp_path, operator=CONTROLLER) as site, site.stream(door) as stream:
        await ask(stream, CLEAR_COUNTERS, CLEAR_COUNTERS)
        await ask(stream, PAST_THE_END, PAST_THE_END_02)
        assert (await command(site, "lock"))["ok"]
        # a session from before, and a new one
        async with site.stream(door) as other:
            for each in (stream, other):
                await ask(each, WRITE, WRITE_REFUSED)
                await ask(each, CLEAR_COUNTERS, CONTROL_REFUSED)
                await ask(each, MASK, MASK_REFUSED)
                await ask(each, READ, READ_REPLY)
                # the lock comes before the range
                await ask(each, PAST_THE_END, PAST_THE_END_01)
        line = await line_with(site, "event=refused", "function=6", "why=locked")
        assert "exception=01" in line
        assert 'range="holding 0"' in line
        await line_with(site, "event=refused", "function=8/0A", "why=locked")
        assert (await command(site, "status"))["lock"]["by"].startswith("unix:")
        assert (await command(site, "unlock"))["ok"]
        await ask(stream, WRITE, WRITE)
        await ask(stream, CLEAR_COUNTERS, CLEAR_COUNTERS)


def frames(box: Box, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", box.ports["modbus"]), 10) as connection:
        connection.sendall(request)
        return connection.recv(300)


def test_it_outlives_the_server_be_it_killed_until_somebody_unlocks(site_pki: Pki, tmp_path: Path) -> None:
    prepare(tmp_path)
    grants = {"operator": OPERATOR}
    at = ["--config", str(tmp_path / "server.toml")]
    with running_box(site_pki, tmp_path, grants=grants, extra=extra_settings()) as box:
        assert frames(box, WRITE) == WRITE
        done = fieldgate("server", "lock", *at)
        assert (done.returncode, done.stdout) == (0, "locked: everything is read-only\n")
        box.process.send_signal(signal.SIGKILL)
        box.process.wait()
    # its socket is still there, and nobody behind it
    assert (tmp_path / "control").is_socket()
    done = fieldgate("server", "status", *at)
    assert done.returncode == 3
    assert "no server answers" in done.stderr
    with running_box(site_pki, tmp_path, grants=grants, extra=extra_settings()) as box:
        assert frames(box, WRITE) == WRITE_REFUSED
        assert frames(box, READ) == READ_REPLY
        done = fieldgate("server", "status", *at)
        assert "LOCKED by unix:" in done.stdout
        assert fieldgate("server", "unlock", "--control", str(tmp_path / "control")).returncode == 0
        assert frames(box, WRITE) == WRITE
    with running_box(site_pki, tmp_path, grants=grants, extra=extra_settings()) as box:
        assert frames(box, WRITE) == WRITE
        box.stop()
    (tmp_path / "state/locked").write_text("damaged")
    with running_box(site_pki, tmp_path, grants=grants, extra=extra_settings()) as box:
        assert frames(box, WRITE) == WRITE_REFUSED
        assert json.loads(fieldgate("server", "status", *at, "--json").stdout)["lock"] == {"by": None, "since": None}
        assert "LOCKED by somebody since nobody knows when" in fieldgate("server", "status", *at).stdout


def test_commands_are_for_people_and_programs(site_pki: Pki, tmp_path: Path) -> None:
    prepare(tmp_path)
    operator = '[{ units = "all", read = "all" }, { manage = ["status", "reload", "kick", "stop"] }]'
    at = ["--config", str(tmp_path / "server.toml")]
    with running_box(site_pki, tmp_path, grants={"operator": operator}, extra=extra_settings()) as box:
        refused = fieldgate("server", "lock", *at)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "may not lock: role 'operator' has no grant" in refused.stderr
        refused = fieldgate("server", "lock", *at, "--json")
        assert (refused.returncode, json.loads(refused.stdout)["ok"]) == (1, False)
        with socket.create_connection(("127.0.0.1", box.ports["modbus"]), 10) as connection:
            connection.sendall(READ)
            assert connection.recv(300) == READ_REPLY
            status = fieldgate("server", "status", *at)
            assert status.returncode == 0
            assert "1 session\n" in status.stdout
            assert (
                f"ports: modbus {box.ports['modbus']}, tls {box.ports['tls']}, ssh {box.ports['ssh']}" in status.stdout
            )
            row = status.stdout.splitlines()[-1].split()
            assert row[:3] == ["1", "operator", "loopback"]
            assert row[-1].startswith("unix:")
            kicked = fieldgate("server", "kick", row[-1], *at)
            assert (kicked.returncode, kicked.stdout) == (0, "1 session closed\n")
            assert connection.recv(300) == b""
        reloaded = fieldgate("server", "reload", *at)
        assert (reloaded.returncode, reloaded.stdout) == (0, "reloaded\n")
        (tmp_path / "policy.toml").write_text("[role")
        broken = fieldgate("server", "reload", *at)
        assert (broken.returncode, broken.stdout) == (2, "")
        assert "policy.toml: is not valid TOML" in broken.stderr
        assert fieldgate("server", "kick", *at).returncode == 2
        assert fieldgate("server", "status").returncode == 2
        stopped = fieldgate("server", "stop", *at)
        assert (stopped.returncode, stopped.stdout) == (0, "stopping\n")
        assert box.process.wait(10) == 0
        assert box.process.stdout is not None
        assert "unix:" in box.process.stdout.read()
    settings = tmp_path / "other.toml"
    settings.write_text("")
    no_socket = fieldgate("server", "status", "--config", str(settings))
    assert no_socket.returncode == 2
    assert "control: is not set" in no_socket.stderr
