"""A reload: it takes effect whole or not at all, at once, on live sessions too, and drops only who is revoked."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from support.asking import READ, READ_REFUSED, READ_REPLY, WRITE, WRITE_REFUSED, Stream, ask, line_with, tls_stream
from support.box import running_box
from support.counts import rounds
from support.mint import Tls, issuing_ca
from support.operating import (
    OPERATOR,
    READER,
    change,
    command,
    extra_settings,
    operated,
    prepare,
    rewrite_policy,
    trail_of,
)
from support.site import DOORS, Elsewhere, Pki, Site


@pytest.mark.requirement("R-26", "R-27")
@pytest.mark.parametrize("door", DOORS)
async def test_a_right_that_was_lost_is_lost_to_the_next_request_of_a_live_session(
    site_pki: Pki, tmp_path: Path, door: str
) -> None:
    async with operated(site_pki, tmp_path) as site, site.stream(door) as stream:
        await ask(stream, WRITE, WRITE)
        rewrite_policy(site, operator=READER)
        assert await command(site, "reload") == {"ok": True, "waiting": [], "closed": 0}
        await ask(stream, WRITE, WRITE_REFUSED)
        await ask(stream, READ, READ_REPLY.replace(b"\x00\x11", b"\x01\x00"))
        rewrite_policy(site)
        assert (await command(site, "reload"))["ok"]
        await ask(stream, WRITE, WRITE)
        await line_with(site, "event=control", "manage=reload", "outcome=done")


@pytest.mark.parametrize("door", DOORS)
async def test_who_has_no_role_any_more_stays_and_may_do_nothing(site_pki: Pki, tmp_path: Path, door: str) -> None:
    async with operated(site_pki, tmp_path) as site, site.stream(door) as stream:
        await ask(stream, READ, READ_REPLY)
        policy = site.folder / "policy.toml"
        text = policy.read_text().replace("role.operator", "role.engineer").replace('= "operator"', '= "engineer"')
        # the control socket's user keeps its rights; its own sessions have another role now
        policy.write_text(text)
        assert (await command(site, "reload"))["closed"] == 0
        if door == "modbus":
            await ask(stream, READ, READ_REPLY)
            await line_with(site, "event=session", "role=engineer", "state=judged")
        else:
            await ask(stream, READ, READ_REFUSED)
            await line_with(site, "event=session", "role=INVALID", f"door={door}", "state=judged", "may not give role")


FAULTS = {
    "policy": ("policy.toml", "[role", "is not valid TOML"),
    "a grant": ("policy.toml", '[role.operator]\ngrants = [{ units = "999", read = "all" }]', "is no unit"),
    "settings": ("server.toml", "max_sessions = 0", "at least 1"),
    "an unknown key": ("server.toml", "nobody = 1", "unknown key"),
    "revoked": ("revoked", "nobody in particular", "line 1"),
    "bytes": ("revoked", "\udcff", "is not UTF-8 text"),
    "no policy": ("server.toml", "[listen]\nport = 0", "cannot be taken away"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_is_wrong_keeps_all_that_was_and_is_the_answer(site_pki: Pki, tmp_path: Path, fault: str) -> None:
    name, text, told = FAULTS[fault]
    async with operated(site_pki, tmp_path) as site, site.stream("tls") as stream:
        before = site.app.configuration
        if fault != "policy":
            # what would be lost if half of it were taken over
            rewrite_policy(site, operator=READER)
        (site.folder / name).write_bytes(text.encode(errors="surrogateescape"))
        answer = await command(site, "reload")
        assert (answer["ok"], answer["code"]) == (False, 2)
        assert told in answer["error"]
        assert site.app.configuration is before
        await ask(stream, WRITE, WRITE)
        line = await line_with(site, "event=control", "manage=reload", "outcome=failed")
        assert told.split()[-1] in line


@pytest.mark.parametrize("file", ["tls-key.pem", "tls-chain.pem", "tls-client-ca.pem", "ssh-host-key"])
@pytest.mark.parametrize("how", ["missing", "junk", "readable by others"])
async def test_a_wrong_identity_keeps_the_old_one(site_pki: Pki, tmp_path: Path, file: str, how: str) -> None:
    async with own_identity(site_pki, tmp_path) as (site, folder):
        path = folder / file
        if how == "missing":
            path.unlink()
        elif how == "junk":
            path.write_text("junk")
        else:
            path.chmod(0o666)
        rewrite_policy(site, operator=READER)
        answer = await command(site, "reload")
        # a chain is for everybody to read and write as far as its key is not
        if (file, how) == ("tls-chain.pem", "readable by others"):
            assert answer["ok"]
            return
        assert (answer["ok"], answer["code"]) == (False, 2)
        assert file in answer["error"]
        for door in ("tls", "ssh"):
            async with site.stream(door) as stream:
                await ask(stream, WRITE, WRITE)


@contextlib.asynccontextmanager
async def own_identity(pki: Pki, folder: Path) -> AsyncIterator[tuple[Site, Path]]:
    """Run a site whose doors have a copy of the server's identity, to be changed."""
    copy = folder / "identity"
    shutil.copytree(pki.server, copy)
    async with operated(Elsewhere(pki.folder, pki.issuers, copy), folder) as site:
        yield site, copy


def shown(stream: Stream) -> int:
    """Give the serial of the certificate that the TLS door has shown."""
    writer: Any = stream[1]
    leaf = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(leaf).serial_number


@pytest.mark.requirement("TCP-3")
async def test_a_certificate_that_was_replaced_is_shown_to_new_connections(site_pki: Pki, tmp_path: Path) -> None:
    async with own_identity(site_pki, tmp_path) as (site, folder), site.stream("tls") as old:
        before = shown(old)
        minted = Tls(
            ca=issuing_ca(site_pki), roles=(), purpose=ExtendedKeyUsageOID.SERVER_AUTH, hosts=("127.0.0.1", "localhost")
        )
        new = minted.identity(site_pki, tmp_path / "new")
        for name in ("tls-key.pem", "tls-chain.pem"):
            shutil.copy(new / name, folder / name)
        async with not_verified(site) as stream:
            assert shown(stream) == before, "nothing changes before the reload"
        assert (await command(site, "reload"))["ok"]
        async with not_verified(site) as stream:
            assert shown(stream) != before
            await ask(stream, WRITE, WRITE)
        await ask(old, WRITE, WRITE)
        ends = [one["ends"] for one in (await command(site, "status"))["certificates"] if "chain" in one["file"]]
        assert ends == [
            x509.load_pem_x509_certificate((new / "tls-chain.pem").read_bytes()).not_valid_after_utc.timestamp()
        ]


@contextlib.asynccontextmanager
async def not_verified(site: Site) -> AsyncIterator[Stream]:
    """Open the TLS door as an operator who looks at nothing."""
    identity = site.pki.client("operator")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(identity / "tls-chain.pem", identity / "tls-key.pem")
    reader, writer = await asyncio.open_connection("127.0.0.1", site.app.ports["tls"], ssl=context)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


async def test_a_host_key_that_was_replaced_is_shown_to_new_connections(
    site_pki: Pki, other_pki: Pki, tmp_path: Path
) -> None:
    async with own_identity(site_pki, tmp_path) as (site, folder), site.stream("ssh") as old:
        for name in ("ssh-host-key", "ssh-host-key-cert.pub"):
            shutil.copy(other_pki.server / name, folder / name)
        async with site.stream("ssh") as stream:
            await ask(stream, WRITE, WRITE)
        assert (await command(site, "reload"))["ok"]
        with pytest.raises(asyncssh.HostKeyNotVerifiable):
            async with site.stream("ssh"):
                pass
        key = await asyncssh.get_server_host_key("127.0.0.1", site.app.ports["ssh"], server_host_key_algs="default")
        assert key is not None
        await ask(old, WRITE, WRITE)


@pytest.mark.requirement("TCP-3")
async def test_who_is_of_a_ca_that_is_not_trusted_any_more_may_do_nothing(
    site_pki: Pki, other_pki: Pki, tmp_path: Path
) -> None:
    async with own_identity(site_pki, tmp_path) as (site, folder), site.stream("tls") as stream:
        await ask(stream, WRITE, WRITE)
        # its CA has the same name, and another key
        shutil.copy(other_pki.server / "tls-client-ca.pem", folder / "tls-client-ca.pem")
        assert (await command(site, "reload"))["closed"] == 0
        await ask(stream, WRITE, WRITE_REFUSED)
        await line_with(site, "event=session", "state=judged", "is not trusted any more")
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            async with site.stream("tls") as refused:
                await ask(refused, READ, READ_REPLY)
        shutil.copy(site_pki.server / "tls-client-ca.pem", folder / "tls-client-ca.pem")
        assert (await command(site, "reload"))["ok"]
        await ask(stream, WRITE, WRITE)


async def test_what_cannot_change_is_named_and_the_rest_taken_over(site_pki: Pki, tmp_path: Path) -> None:
    async with operated(site_pki, tmp_path) as site, site.stream("modbus") as stream:
        file = site.folder / "server.toml"
        change(file, "[listen]\nport = 0", "[listen]\nport = 1")
        change(file, "id = 1", "id = 7")
        change(file, "[ssh]\n", "[ssh]\n# another address\n")
        text = file.read_text()
        head, ssh = text.split("[ssh]")
        file.write_text(f"max_sessions = 1\nidle = 5000\n{head}[ssh]{ssh.replace('127.0.0.1', '127.0.0.2', 1)}")
        answer = await command(site, "reload")
        assert answer == {"ok": True, "waiting": ["listen.port", "ssh.host", "unit"], "closed": 0}
        await line_with(site, "manage=reload", "outcome=done", "listen.port, ssh.host, unit")
        await ask(stream, WRITE, WRITE)
        assert site.app.configuration.settings.idle == 5000
        # the one that is there is all that there may be
        async with site.stream("modbus") as (reader, _):
            assert await reader.read() == b""
        await line_with(site, "event=refused", "more than 1 sessions")


@pytest.mark.parametrize("door", ["tls", "ssh"])
async def test_limits_of_a_door_hold_for_who_comes_after_the_reload(site_pki: Pki, tmp_path: Path, door: str) -> None:
    async def come() -> tuple[asyncio.StreamWriter, bool]:
        """Come from one address and say nothing; tells whether the door lets that wait."""
        before, bitten = gate.under_way, gate.hits.total()
        _, writer = await asyncio.open_connection("127.0.0.1", site.app.ports[door], local_addr=("127.0.0.2", 0))
        async with asyncio.timeout(10):
            while gate.under_way == before and gate.hits.total() == bitten:
                await asyncio.sleep(0.001)
        return writer, gate.under_way > before

    async with operated(site_pki, tmp_path) as site:
        listener = site.app._tls if door == "tls" else site.app._ssh
        assert listener is not None
        gate = listener.gate
        first, waits = await come()
        second, waits_too = await come()
        assert waits
        assert waits_too
        change(site.folder / "server.toml", "[listen]", "[limits]\nhandshakes_per_address = 2\n[listen]")
        assert await command(site, "reload") == {"ok": True, "waiting": [], "closed": 0}
        third, waits = await come()
        assert not waits
        for writer in (first, second, third):
            writer.close()


async def test_limits_that_are_none_keep_the_old(site_pki: Pki, tmp_path: Path) -> None:
    async with operated(site_pki, tmp_path) as site:
        change(site.folder / "server.toml", "[listen]", "[limits]\nhandshakes = 0\n[listen]")
        answer = await command(site, "reload")
        assert answer["ok"] is False
        assert "limits: handshakes is more than 0" in str(answer)
        assert site.app._limits.handshakes == 64


def test_sighup_reloads_and_says_what_is_wrong_in_the_log(site_pki: Pki, tmp_path: Path) -> None:
    import socket

    from support.api import wait_until

    prepare(tmp_path)
    with running_box(site_pki, tmp_path, grants={"operator": OPERATOR}, extra=extra_settings()) as box:
        with socket.create_connection(("127.0.0.1", box.ports["modbus"]), 10) as connection:
            connection.sendall(WRITE)
            assert connection.recv(300) == WRITE
            policy = tmp_path / "policy.toml"
            good = policy.read_text()
            policy.write_text("[role")
            box.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "is not valid TOML" in box.log())
            connection.sendall(WRITE)
            assert connection.recv(300) == WRITE
            policy.write_text(good.replace(OPERATOR, READER))
            box.process.send_signal(signal.SIGHUP)
            wait_until(lambda: any("outcome=done manage=reload" in line for line in box.audit_lines()))
            connection.sendall(WRITE)
            assert connection.recv(300) == WRITE_REFUSED
        assert any("identity=signal:HUP" in line for line in box.audit_lines())
        assert box.stop() == 0


CLIENTS = 32
IDLE_DOORS = ("tls", "ssh", "modbus", "tls")


class Poller:
    """Asks one thing after the other, and counts what it was answered."""

    def __init__(self, stream: Stream) -> None:
        self._reader: Any = stream[0]
        self._writer: Any = stream[1]
        self.asked = 0
        self.answered = 0
        self.stop = False

    async def run(self) -> None:
        """Poll until told to stop. Raises IncompleteReadError when the connection is closed."""
        number = 0
        while not self.stop:
            number = number % 65535 + 1
            # three at a time: what is under way when a reload comes is answered as well
            head = number.to_bytes(2, "big")
            self._writer.write(head + READ[2:] + head + WRITE[2:] + head + READ[2:])
            self.asked += 3
            for _ in range(3):
                reply = await self._reader.readexactly(6)
                body = await self._reader.readexactly(int.from_bytes(reply[4:6], "big"))
                assert reply[:2] == head
                assert body[1] & 0x80 == 0, "a request was refused"
                self.answered += 1


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_under_load_no_request_is_lost_and_no_connection_but_the_revoked(site_pki: Pki, tmp_path: Path) -> None:
    extra = "max_sessions_per_identity = 100\n"
    async with operated(site_pki, tmp_path, extra=extra) as site, contextlib.AsyncExitStack() as stack:
        folder = tmp_path / "leaver"
        leaver = Tls(ca=issuing_ca(site_pki), name="leaver").identity(site_pki, folder)
        pollers = [
            Poller(await stack.enter_async_context(site.stream(IDLE_DOORS[number % len(IDLE_DOORS)])))
            for number in range(CLIENTS - 1)
        ]
        leaving = Poller(await stack.enter_async_context(tls_stream(site, leaver)))
        tasks = [asyncio.create_task(poller.run()) for poller in (*pollers, leaving)]
        good = (site.folder / "policy.toml").read_text()
        done = failed = 0
        count = rounds(10, 100)
        for turn in range(count):
            before = [poller.answered for poller in pollers]
            broken = turn % 4 == 3
            (site.folder / "policy.toml").write_text(f"{good}\n[role.more{turn}]\n{'grants' if broken else ''}")
            if turn == count // 2:
                (site.folder / "policy.toml").write_text(good)
                (site.folder / "revoked").write_text(f"tls:CN=test-issuing-1/{serial_of(leaver)}\n")
                broken = False
            answer = await command(site, "reload")
            assert answer["ok"] is not broken
            assert answer.get("closed", 0) == (1 if turn == count // 2 else 0)
            done, failed = done + (not broken), failed + broken
            async with asyncio.timeout(30):
                while any(poller.answered < was + 6 for poller, was in zip(pollers, before, strict=True)):
                    await asyncio.sleep(0.001)
        for poller in pollers:
            poller.stop = True
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [end for end in ended[:-1] if end is not None] == []
        assert isinstance(ended[-1], (asyncio.IncompleteReadError, ConnectionError))
        assert all(poller.asked == poller.answered for poller in pollers)
        assert len(trail_of(site, "manage=reload", "outcome=done")) == done
        assert len(trail_of(site, "manage=reload", "outcome=failed")) == failed
        assert len(trail_of(site, "event=session", "state=ended")) == 1


def serial_of(identity: Path) -> str:
    return f"{x509.load_pem_x509_certificate((identity / 'tls-chain.pem').read_bytes()).serial_number:X}"
