"""The control socket: who may give which command, what the trail says of it, and what is no command."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from fieldgate_core.errors import ConfigError
from fieldgate_tunnel import control
from support.asking import READ, READ_REPLY, WRITE, WRITE_REFUSED, ask, line_with
from support.operating import command, command_as, operated, rewrite_policy, trail_of
from support.site import ALL_RIGHTS, Pki, Site

WORDS = {"status": "status", "reload": "reload", "lock": "lock", "unlock": "lock", "kick": "kick", "stop": "stop"}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def more(word: str) -> dict[str, str]:
    return {"who": "unix:nobody"} if word == "kick" else {}


@pytest.mark.parametrize("manage", ["status", "reload", "lock", "kick", "stop"])
async def test_a_role_may_give_the_commands_that_it_was_granted_and_no_other(
    site_pki: Pki, tmp_path: Path, manage: str
) -> None:
    operator = f'{ALL_RIGHTS[:-1]}, {{ manage = ["{manage}"] }}]'
    async with operated(site_pki, tmp_path, operator=operator) as site:
        me = f"identity=unix:{pwd.getpwuid(os.geteuid()).pw_name} role=operator door=control peer=pid:{os.getpid()}"
        for word, needed in WORDS.items():
            answer = await command(site, word, **more(word))
            if needed != manage:
                assert (answer["ok"], answer["code"]) == (False, 1)
                assert f"may not {word}" in answer["error"]
                await line_with(site, "event=refused", me, f"manage={word} why=")
                assert not trail_of(site, "event=control", f"manage={word} ")
                continue
            assert answer["ok"] is True
            if word != "status":
                intent = await line_with(
                    site, "event=control", me, f"outcome=intent manage={word} ", "grant=operator[1]"
                )
                done = await line_with(site, "event=control", me, f"outcome=done manage={word} ")
                assert site.trail().index(intent) < site.trail().index(done)
        assert site.app.asked_to_stop.is_set() is (manage == "stop")
        assert site.app.lock.held is None


@needs_root
@pytest.mark.parametrize("role", ["the viewer's", "none"])
async def test_another_user_is_who_the_kernel_says(site_pki: Pki, tmp_path: Path, role: str) -> None:
    name = {"the viewer's": "daemon", "none": "bin"}[role]
    user = pwd.getpwnam(name)
    async with operated(site_pki, tmp_path) as site:
        viewer = '[{ units = "1", read = "all" }, { manage = ["status"] }]'
        rewrite_policy(site, viewer=viewer)
        assert (await command(site, "reload"))["ok"]
        path = site.folder / "control"
        with reachable(path, user.pw_gid) as at:
            status = await command_as(user.pw_uid, user.pw_gid, at, "status")
            locked = await command_as(user.pw_uid, user.pw_gid, at, "lock")
        assert status["ok"] is (role == "the viewer's")
        assert (locked["ok"], locked["code"]) == (False, 1)
        assert f"unix:{name} may not lock" in locked["error"]
        await line_with(site, "event=refused", f"identity=unix:{name}", "door=control", "manage=lock")
        assert site.app.lock.held is None
        async with site.stream("modbus") as stream:
            await ask(stream, WRITE, WRITE)


@needs_root
async def test_who_is_not_of_the_sockets_group_cannot_connect(site_pki: Pki, tmp_path: Path) -> None:
    daemon = pwd.getpwnam("daemon")
    async with operated(site_pki, tmp_path) as site:
        assert (site.folder / "control").stat().st_mode & 0o777 == 0o660
        with reachable(site.folder / "control", os.getegid()) as at, pytest.raises(PermissionError):
            await command_as(daemon.pw_uid, daemon.pw_gid, at, "status")


@contextlib.contextmanager
def reachable(path: Path, gid: int) -> Iterator[Path]:
    """Give a socket another group, and a second name where every user can go."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        folder.chmod(0o711)
        os.chown(path, -1, gid)
        os.link(path, folder / "control")
        yield folder / "control"
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[]",
        b"null",
        b"junk",
        b"[" * 2000,
        b'{"command": 1}',
        b'{"command": "halt"}',
        b'{"command": ["lock"]}',
        b'{"command": "kick"}',
        b'{"command": "kick", "who": 1}',
        b'{"command": "lock", "who": "me"}',
    ],
)
async def test_what_is_no_command_is_refused_and_does_nothing(site_pki: Pki, tmp_path: Path, line: bytes) -> None:
    async with operated(site_pki, tmp_path) as site:
        reader, writer = await asyncio.open_unix_connection(site.folder / "control")
        writer.write(line + b"\n")
        answer = json.loads(await reader.readline())
        assert (answer["ok"], answer["code"]) == (False, 2)
        writer.close()
        await writer.wait_closed()
        assert not trail_of(site, "event=control")
        assert (await command(site, "status"))["ok"]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody cut off for being slow."""
    monkeypatch.setattr(control, "DEADLINE", 3600.0)


async def test_who_says_too_much_is_cut_off(site_pki: Pki, tmp_path: Path, patient: None) -> None:
    async with operated(site_pki, tmp_path) as site:
        reader, writer = await asyncio.open_unix_connection(site.folder / "control")
        writer.write(b"x" * (control.LONGEST + 1))
        assert await end_of(reader) == b""
        writer.close()
        assert (await command(site, "status"))["ok"]


async def test_who_says_nothing_is_cut_off(site_pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "DEADLINE", 0.2)
    async with operated(site_pki, tmp_path) as site:
        reader, writer = await asyncio.open_unix_connection(site.folder / "control")
        writer.write(b'{"command"')
        assert await end_of(reader) == b""
        writer.close()
        assert (await command(site, "status"))["ok"]


async def test_so_many_connections_of_one_user_are_served_at_once_and_no_more(
    site_pki: Pki, tmp_path: Path, patient: None
) -> None:
    async with operated(site_pki, tmp_path) as site:
        path = site.folder / "control"
        mute = [await asyncio.open_unix_connection(path) for _ in range(control.OF_ONE_USER)]
        reader, one_more = await asyncio.open_unix_connection(path)
        assert await end_of(reader) == b""
        one_more.close()
        for _, stream in mute:
            stream.close()
        async with asyncio.timeout(10):
            while not await answers(site):
                await asyncio.sleep(0.01)


@needs_root
async def test_silent_connections_of_others_do_not_keep_the_operator_out(
    site_pki: Pki, tmp_path: Path, patient: None
) -> None:
    async with operated(site_pki, tmp_path) as site:
        with reachable(site.folder / "control", os.getegid()) as at, contextlib.ExitStack() as mute:
            for uid in [*FOREIGN] * 4:
                mute.enter_context(connected_as(uid, at))
            assert (await command(site, "lock"))["ok"]
        assert site.app.lock.held is not None


@needs_root
async def test_those_who_may_give_no_command_share_few_places(tmp_path: Path, patient: None) -> None:
    refused: list[tuple[str, str, str]] = []

    async def answer(_asked: dict[str, object], uid: int, _pid: int) -> dict[str, object]:
        return {"uid": uid}

    listens = control.ControlSocket(answer, lambda uid: uid == 0, lambda *told: refused.append(told))
    path = tmp_path / "control"
    async with listens.listening(path):
        with reachable(path, os.getegid()) as at, contextlib.ExitStack() as mute:
            places = [uid for uid in FOREIGN for _ in range(control.OF_ONE_USER)]
            for uid in places:
                mute.enter_context(connected_as(uid, at))
            assert await asked_as(0, at) == {"uid": 0}
            too_many = len(places) - control.WITHOUT_MANAGE
            full = f"users without manage have {control.WITHOUT_MANAGE} connections already"
            assert refused == [("control", f"pid:{os.getpid()}", full)] * too_many
            assert await asked_as(FOREIGN[-1], at) is None
            mute.close()
            async with asyncio.timeout(10):
                while await asked_as(FOREIGN[-1], at) != {"uid": FOREIGN[-1]}:
                    await asyncio.sleep(0.01)


FOREIGN = range(1, 7)
"""Users who have no role, and take more places than there are for them."""


def connected_as(uid: int, path: Path) -> socket.socket:
    """Connect as another user: the kernel says of a peer which effective uid it had then."""
    connection = socket.socket(socket.AF_UNIX)
    os.seteuid(uid)
    try:
        connection.connect(str(path))
    finally:
        os.seteuid(0)
    return connection


async def asked_as(uid: int, path: Path) -> dict[str, object] | None:
    """Ask something as another user; None if it is turned away."""
    reader, writer = await asyncio.open_unix_connection(sock=connected_as(uid, path))
    with contextlib.suppress(ConnectionError):
        writer.write(b"{}\n")
    said = await end_of(reader)
    writer.close()
    return cast("dict[str, object]", json.loads(said)) if said else None


async def answers(site: Site) -> bool:
    try:
        return bool((await command(site, "status"))["ok"])
    except (ConnectionError, ValueError):
        return False


async def end_of(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_the_socket_of_a_dead_server_is_replaced_and_that_of_a_living_one_is_not(
    site_pki: Pki, tmp_path: Path
) -> None:
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    async with operated(site_pki, tmp_path) as site:
        assert (await command(site, "status"))["ok"]
        with pytest.raises(ConfigError, match="another process listens there"):
            async with operated(site_pki, tmp_path):
                pass
        assert (await command(site, "status"))["ok"]
    assert not path.exists()


@pytest.mark.parametrize("kind", ["file", "folder of others", "no folder", "too long"])
async def test_a_socket_that_cannot_be_is_named(site_pki: Pki, tmp_path: Path, kind: str) -> None:
    names = {"file": "server.toml", "folder of others": "open/control", "no folder": "none/x", "too long": "x" * 200}
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(ConfigError, match=re.escape(str(tmp_path / names[kind]).split("/control")[0])):
        async with operated(site_pki, tmp_path, control=names[kind]):
            pass


def test_needs_a_folder_for_the_lock(tmp_path: Path) -> None:
    from fieldgate_server.settings import Settings

    with pytest.raises(ValueError, match="state = FOLDER"):
        Settings(control=tmp_path / "control")


async def test_status_says_who_is_connected_and_what_they_did(site_pki: Pki, tmp_path: Path) -> None:
    async with operated(site_pki, tmp_path) as site:
        async with site.stream("tls", "viewer") as viewer, site.stream("ssh") as operator:
            await ask(viewer, READ, READ_REPLY)
            await ask(viewer, WRITE, WRITE_REFUSED)
            await ask(operator, WRITE, WRITE)
            answer = await command(site, "status")
            assert answer["server"]["ports"] == site.app.ports
            assert answer["lock"] is None
            assert answer["policy"]["file"] == str(site.folder / "policy.toml")
            assert {Path(one["file"]).name for one in answer["certificates"]} == {
                "tls-chain.pem",
                "tls-client-ca.pem",
                "ssh-host-key-cert.pub",
            }
            seen = {one["door"]: one for one in answer["sessions"]}
            assert set(seen) == {"tls", "ssh"}
            tls, ssh = seen["tls"], seen["ssh"]
            assert re.fullmatch("tls:CN=test-issuing-1/[0-9A-F]+/viewer", tls["identity"])
            assert (tls["role"], tls["reads"], tls["writes"], tls["refusals"]) == ("viewer", 1, 0, 1)
            assert (ssh["role"], ssh["reads"], ssh["writes"], ssh["refusals"]) == ("operator", 0, 1, 0)
            assert tls["peer"].startswith("127.0.0.1:")
            async with asyncio.timeout(10):
                while not all(one["rate"] > 0 for one in (await command(site, "status"))["sessions"]):
                    await asyncio.sleep(0.05)
        async with asyncio.timeout(10):
            while (await command(site, "status"))["sessions"]:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("by", ["name", "number"])
@pytest.mark.parametrize("door", ["modbus", "tls", "ssh"])
async def test_who_is_kicked_loses_its_sessions_and_nobody_else_does(
    site_pki: Pki, tmp_path: Path, door: str, by: str
) -> None:
    async with operated(site_pki, tmp_path) as site:
        async with (
            site.stream(door) as one,
            site.stream(door) as two,
            site.stream("tls", "viewer") as other,
        ):
            for stream in (one, two, other):
                await ask(stream, READ, READ_REPLY)
            found = [seen for seen in (await command(site, "status"))["sessions"] if seen["role"] == "operator"]
            who = found[0]["identity"] if by == "name" else str(found[0]["number"])
            answer = await command(site, "kick", who=who)
            assert answer["closed"] == (2 if by == "name" else 1)
            assert await one[0].read() == b""
            if by == "name":
                assert await two[0].read() == b""
            else:
                await ask(two, READ, READ_REPLY)
            await ask(other, READ, READ_REPLY)
            line = await line_with(site, "event=session", "state=ended", "kicked by unix:")
            assert f"door={'loopback' if door == 'modbus' else door}" in line
        assert (await command(site, "kick", who="unix:who-is-not-here"))["closed"] == 0
        # a kick keeps nobody out
        async with site.stream(door) as back:
            await ask(back, READ, READ_REPLY)


async def test_a_trail_that_cannot_be_written_stops_what_gives_and_not_what_takes_away(
    site_pki: Pki, tmp_path: Path
) -> None:
    async with operated(site_pki, tmp_path) as site, site.stream("modbus") as stream:
        await ask(stream, READ, READ_REPLY)
        site.app._audit.close()
        for word in ("reload", "unlock", "stop"):
            answer = await command(site, word)
            assert (answer["ok"], answer["code"]) == (False, 1)
            assert "trail" in answer["error"]
        assert not site.app.asked_to_stop.is_set()
        assert (await command(site, "lock"))["ok"]
        assert site.app.lock.held is not None
        assert (await command(site, "kick", who="1"))["closed"] == 1
