"""Who is revoked is closed, and does not come in again by any door; nobody else is."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

import asyncssh
import pytest

from support.asking import READ, READ_REFUSED, READ_REPLY, WRITE, ask, line_with
from support.mint import Ssh
from support.operating import command, operated
from support.site import Pki, Site


async def name_of(site: Site, door: str) -> str:
    door = {"modbus": "loopback"}.get(door, door)
    found = [one for one in (await command(site, "status"))["sessions"] if one["door"] == door]
    name = found[0]["identity"]
    assert isinstance(name, str)
    return name


@pytest.mark.parametrize("form", ["name", "serial"])
@pytest.mark.parametrize("door", ["tls", "ssh"])
async def test_who_is_revoked_is_closed_and_does_not_come_in_again(
    site_pki: Pki, tmp_path: Path, door: str, form: str
) -> None:
    async with operated(site_pki, tmp_path) as site, site.stream(door, "viewer") as other, site.stream(door) as stream:
        await ask(stream, WRITE, WRITE)
        await ask(other, READ, READ_REPLY.replace(b"\x00\x11", b"\x01\x00"))
        seen = (await command(site, "status"))["sessions"]
        name = next(one["identity"] for one in seen if one["role"] == "operator")
        (site.folder / "revoked").write_text(f"{name if form == 'name' else name.rpartition('/')[0]}\n")
        assert (await command(site, "reload"))["closed"] == 1
        assert await stream[0].read() == b""
        await line_with(site, "event=session", "state=ended", "cause=revoked", f"door={door}")
        await ask(other, READ, READ_REPLY.replace(b"\x00\x11", b"\x01\x00"))
        if door == "tls":
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                async with site.stream("tls") as (reader, writer):
                    writer.write(READ)
                    assert await reader.read() == b""
        else:
            with pytest.raises((asyncssh.PermissionDenied, asyncssh.ConnectionLost)):
                async with site.stream("ssh"):
                    pass
        await line_with(site, "event=refused", f"door={door}", "is revoked")
        async with site.stream(door, "viewer") as more:
            await ask(more, READ, READ_REPLY.replace(b"\x00\x11", b"\x01\x00"))
        # what is off the list again comes in
        (site.folder / "revoked").write_text("# nobody\n")
        assert (await command(site, "reload"))["closed"] == 0
        async with site.stream(door) as back:
            await ask(back, WRITE, WRITE)


async def test_an_ssh_connection_without_a_channel_is_closed_as_well(site_pki: Pki, tmp_path: Path) -> None:
    async with operated(site_pki, tmp_path) as site:
        identity = Ssh(name="box-9").identity(site_pki, tmp_path / "box-9")
        connection = await asyncssh.connect(
            "127.0.0.1",
            site.app.ports["ssh"],
            username="operator",
            client_keys=[(str(identity / "ssh-key"), str(identity / "ssh-key-cert.pub"))],
            known_hosts=str(identity / "known_hosts"),
            agent_path=None,
            config=None,
        )
        async with connection, site.stream("ssh") as other:
            ca = next(issuer for issuer in site_pki.issuers if issuer.startswith("ssh-ca:")).removeprefix("ssh-ca:")
            (site.folder / "revoked").write_text(f"ssh:{ca}/17/box-9\n")
            assert (await command(site, "reload"))["closed"] == 0
            async with asyncio.timeout(10):
                await connection.wait_closed()
            await ask(other, WRITE, WRITE)


@pytest.mark.parametrize("what", ["its key", "its CA", "another key"])
async def test_a_certificate_is_revoked_with_its_key_and_with_its_ca(site_pki: Pki, tmp_path: Path, what: str) -> None:
    """As in a KRL: a key that is revoked is so in every certificate, and a CA's in all that it has signed."""
    async with operated(site_pki, tmp_path) as site, site.stream("tls") as other:
        folder, name = {
            "its key": (site_pki.client("viewer"), "ssh-key"),
            "its CA": (site_pki.folder / "ssh", "user-ca"),
            "another key": (site_pki.client("operator"), "ssh-key"),
        }[what]
        key = asyncssh.read_private_key(folder / name).get_fingerprint()
        async with site.stream("ssh", "viewer") as stream:
            await ask(stream, READ, READ_REPLY)
            (site.folder / "revoked").write_text(f"key:{key}\n")
            closed = 0 if what == "another key" else 1
            assert (await command(site, "reload"))["closed"] == closed
            if closed:
                assert await stream[0].read() == b""
            else:
                await ask(stream, READ, READ_REPLY)
        if closed:
            with pytest.raises((asyncssh.PermissionDenied, asyncssh.ConnectionLost)):
                async with site.stream("ssh", "viewer"):
                    pass
            await line_with(site, "event=refused", "door=ssh", "/viewer is revoked: key:SHA256:")
        else:
            async with site.stream("ssh", "viewer") as again:
                await ask(again, READ, READ_REPLY)
        await ask(other, READ, READ_REPLY)


async def test_a_local_user_who_is_revoked_is_closed_and_gets_01(site_pki: Pki, tmp_path: Path) -> None:
    async with operated(site_pki, tmp_path) as site, site.stream("modbus") as stream, site.stream("tls") as other:
        await ask(stream, WRITE, WRITE)
        (site.folder / "revoked").write_text(f"{await name_of(site, 'modbus')}\n")
        assert (await command(site, "reload"))["closed"] == 1
        assert await stream[0].read() == b""
        async with site.stream("modbus") as again:
            await ask(again, READ, READ_REFUSED)
        await line_with(site, "event=refused", "door=loopback", "why=revoked")
        answer = await command(site, "unlock")
        assert (answer["ok"], answer["code"]) == (False, 1)
        await ask(other, WRITE, WRITE)
