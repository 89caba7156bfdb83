"""A box that dials in to a hub is reached there by name, by TLS from end to end, and by nobody whom the hub refuses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import ssl
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from fieldgate_client.connection import connect
from fieldgate_core import settings
from fieldgate_core.errors import ConfigError, NotTrustedError, RejectedError, UnreachableError
from fieldgate_core.modbus import Table
from fieldgate_core.url import SiteUrl, parse
from fieldgate_tunnel import dial, hub_peer, hub_settings
from fieldgate_tunnel.dial import Dial
from fieldgate_tunnel.dial_settings import DialSettings
from fieldgate_tunnel.dialling import staying
from fieldgate_tunnel.hub_peer import HubPeer
from fieldgate_tunnel.hub_settings import HubSettings
from fieldgate_tunnel.link_events import State
from fieldgate_tunnel.ssh_peer import CHANNELS
from support.asking import READ, READ_REPLY, ask, line_with, stock_options
from support.counts import LONG
from support.hubs import (
    BOX,
    DOMAIN,
    OTHER,
    PATIENCE,
    POLICY,
    RunningHub,
    as_box,
    box_folder,
    make_hub_pki,
    running_hub,
)
from support.site import TABLES_OF_THE_VECTORS, Pki, Site, running_site
from support.stock_sshd import free_port
from support.tools import run, running

TOOLS = ("ssh", "sftp")
one_loop = pytest.mark.asyncio(loop_factories=["uvloop"])


@pytest.fixture(scope="session")
def hub_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_hub_pki(tmp_path_factory.mktemp("hub-pki") / "pki", "127.0.0.1")


@pytest.fixture
async def hub(hub_pki: Pki, tmp_path: Path) -> AsyncIterator[RunningHub]:
    async with running_hub(hub_pki, tmp_path) as made:
        yield made


@contextlib.asynccontextmanager
async def dialling(hub: RunningHub, folder: Path, box: str = BOX, *, offers: str = "") -> AsyncIterator[Site]:
    """Run a box's server that dials in, and wait until its name is taken; `offers` a name that is not its own."""
    dial = hub.dial_settings(offers or box, box)
    async with running_site(as_box(hub.pki, box), box_folder(folder, box), units=TABLES_OF_THE_VECTORS + dial) as site:
        await hub.until_offered(offers or box)
        yield site


async def read(url: SiteUrl, identity: Path) -> int:
    async with connect(url, identity=identity) as client:
        return (await client.read_cells(Table.HOLDING, 0, 1))[0]


async def test_a_box_that_dials_in_is_reached_by_its_name(hub: RunningHub, tmp_path: Path) -> None:
    async with dialling(hub, tmp_path) as site:
        assert await read(hub.site(), hub.pki.client("operator")) == 17
        line = await line_with(site, "event=session", "door=tls")
        assert 'peer="via 127.0.0.1"' in line
        assert "/operator" in line
        (dial,) = site.app.dials
        await hub.until(lambda: dial.status().clients == 0)
        assert (dial.state, dial.status().connects) == (State.UP, 1)
    await hub.until(lambda: not hub.hub.offers)


async def test_what_the_site_refuses_is_refused_through_a_hub_too(hub: RunningHub, tmp_path: Path) -> None:
    """The hub lets a viewer in, and the box's own policy says what they may."""
    async with dialling(hub, tmp_path), connect(hub.site(), identity=hub.pki.client("viewer")) as client:
        assert await client.read_cells(Table.HOLDING, 0, 1) == [17]
        with pytest.raises(Exception, match="exception 01"):
            await client.write_cells(Table.HOLDING, 0, [1])


@one_loop
async def test_who_fails_at_a_box_through_a_hub_locks_out_nobody_else_there(
    hub: RunningHub, other_pki: Pki, tmp_path: Path
) -> None:
    stranger = shutil.copytree(hub.pki.client("operator").resolve(), tmp_path / "stranger")
    for name in ("tls-key.pem", "tls-chain.pem"):
        shutil.copy(other_pki.client("operator") / name, stranger / name)
    async with dialling(hub, tmp_path) as site:
        for _ in range(site.app.configuration.settings.limits.failures_before_lockout + 2):
            with pytest.raises(RejectedError, match="does not accept our certificate"):
                await read(hub.site(), stranger)
        await line_with(site, "event=refused", "certificate is not accepted", 'peer="via 127.0.0.1"')
        assert await read(hub.site(), hub.pki.client("operator")) == 17


async def test_without_its_domain_a_box_cannot_be_verified_and_nothing_is_tried(hub: RunningHub) -> None:
    with pytest.raises(ConfigError, match=rf"{BOX}\.DOMAIN"):
        await read(parse(hub.url()), hub.pki.client("operator"))


async def test_a_hub_that_leads_to_another_valid_box_is_refused(hub_pki: Pki, tmp_path: Path) -> None:
    """So is one that ends TLS itself with that box's certificate and key: the client sees the same."""
    lying = POLICY.replace(f'offered_by = ["{BOX}"]', f'offered_by = ["{OTHER}"]')
    async with running_hub(hub_pki, tmp_path, lying) as hub, dialling(hub, tmp_path, OTHER, offers=BOX) as site:
        with pytest.raises(NotTrustedError, match=rf"not valid for '{BOX}\.{DOMAIN}'"):
            await read(hub.site(), hub_pki.client("operator"))
        # the hub's own certificate is as little the box's
        assert not [line for line in site.trail() if "event=session" in line]


async def test_a_hub_that_ends_tls_with_its_own_certificate_is_refused(hub_pki: Pki, tmp_path: Path) -> None:
    async with running_hub(hub_pki, tmp_path) as hub:
        pki = as_box(hub_pki, "hub")
        dial = hub.dial_settings()
        async with running_site(pki, box_folder(tmp_path, BOX), units=TABLES_OF_THE_VECTORS + dial):
            await hub.until_offered()
            with pytest.raises(NotTrustedError, match="not valid for"):
                await read(hub.site(), hub_pki.client("operator"))


async def test_a_hub_that_ends_tls_with_the_right_name_of_another_ca_is_refused(
    hub_pki: Pki, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    strangers = make_hub_pki(tmp_path_factory.mktemp("strangers") / "pki", "127.0.0.1")
    async with running_hub(hub_pki, tmp_path) as hub:
        pki = as_box(strangers, BOX)
        dial = hub.dial_settings()
        async with running_site(pki, box_folder(tmp_path, BOX), units=TABLES_OF_THE_VECTORS + dial):
            await hub.until_offered()
            with pytest.raises(NotTrustedError, match="certificate is not accepted"):
                await read(hub.site(), hub_pki.client("operator"))


async def test_the_policy_decides_who_of_two_boxes_has_a_name(hub: RunningHub, tmp_path: Path) -> None:
    async with dialling(hub, tmp_path) as site:
        wrong = hub.dial_settings(BOX, OTHER)
        other = as_box(hub.pki, OTHER)
        async with running_site(other, box_folder(tmp_path, OTHER), units=TABLES_OF_THE_VECTORS + wrong) as thief:
            (dial,) = thief.app.dials
            await hub.until(lambda: dial.state is State.DOWN)
            assert "does not take this name" in dial.status().reason
            assert await read(hub.site(), hub.pki.client("operator")) == 17
            await line_with(site, "event=session", "door=tls")


async def test_a_second_box_that_may_have_the_name_waits_until_it_is_free(hub_pki: Pki, tmp_path: Path) -> None:
    both = POLICY.replace(f'offered_by = ["{BOX}"]', f'offered_by = ["{BOX}", "{OTHER}"]')
    async with running_hub(hub_pki, tmp_path, both) as hub, contextlib.AsyncExitStack() as second:
        async with dialling(hub, tmp_path) as first:
            wanted = hub.dial_settings(BOX, OTHER)
            other = as_box(hub_pki, OTHER)
            folder = box_folder(tmp_path, OTHER)
            site = await second.enter_async_context(running_site(other, folder, units=TABLES_OF_THE_VECTORS + wanted))
            (dial,) = site.app.dials
            await hub.until(lambda: dial.state is State.DOWN)
            assert hub.hub.offers[BOX].subject == BOX
            assert first.app.dials[0].status().connects == 1
        await hub.until(lambda: BOX in hub.hub.offers and hub.hub.offers[BOX].subject == OTHER)


async def test_a_new_session_of_a_box_takes_over_from_a_stale_one(hub: RunningHub, tmp_path: Path) -> None:
    """The stale one, a stock connection that offers the same name, is ended by the hub."""
    async with stock_box(hub, 1) as stale:
        await hub.until_offered()
        first = hub.hub.offers[BOX]
        async with dialling(hub, tmp_path):
            await hub.until(lambda: hub.hub.offers.get(BOX) not in {None, first})
            assert await read(hub.site(), hub.pki.client("operator")) == 17
            assert await stale.wait() == 255


async def test_who_may_not_reach_a_box_is_told_so(hub: RunningHub, tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match=f"{BOX} has not dialled in"):
        await read(hub.site(), hub.pki.client("operator"))
    async with dialling(hub, tmp_path, OTHER):
        with pytest.raises(RejectedError, match="may not reach"):
            await read(hub.site(OTHER), hub.pki.client("viewer"))
        assert await read(hub.site(OTHER), hub.pki.client("operator")) == 17
        with pytest.raises(RejectedError, match="may not reach"):
            await read(hub.site("box-9"), hub.pki.client("operator"))
    with pytest.raises(RejectedError, match="does not accept our key"):
        await read(hub.site(), hub.pki.client("stranger"))


def as_client(hub: RunningHub, login: str) -> contextlib.AbstractAsyncContextManager[asyncssh.SSHClientConnection]:
    """Log in at the hub, and no more."""
    identity = hub.pki.client(login)
    return asyncssh.connect(
        "127.0.0.1",
        hub.hub.port,
        username=login,
        client_keys=[(str(identity / "ssh-key"), str(identity / "ssh-key-cert.pub"))],
        known_hosts=str(identity / "known_hosts"),
        agent_path=None,
        config=None,
    )


def stock(hub: RunningHub, login: str, *words: str) -> list[str]:
    """Give the arguments of a stock ssh to the hub."""
    options = stock_options(hub.pki.client(login))
    return [*options, "-p", str(hub.hub.port), "-l", login, *words, "127.0.0.1"]


@contextlib.asynccontextmanager
async def stock_box(hub: RunningHub, port: int, name: str = f"/{BOX}/mbaps") -> AsyncIterator[Process]:
    """Run a stock `ssh -N -R` that offers a box's name for a local port."""
    words = stock(hub, BOX, "-o", "ExitOnForwardFailure=yes", "-N", "-R", f"{name}:127.0.0.1:{port}")
    async with running("ssh", *words) as process:
        yield process


@one_loop
@pytest.mark.parametrize("name", [f"/{BOX}/mbaps", f"{BOX}:802"])
async def test_a_stock_ssh_offers_a_box_as_well(hub: RunningHub, tmp_path: Path, name: str) -> None:
    async with (
        running_site(as_box(hub.pki, BOX), box_folder(tmp_path, BOX)) as site,
        stock_box(hub, site.app.ports["tls"], name),
    ):
        await hub.until_offered()
        assert await read(hub.site(), hub.pki.client("operator")) == 17


@one_loop
@pytest.mark.parametrize("name", [f"/{BOX}/mbaps", f"{BOX}:802"])
async def test_a_stock_ssh_reaches_a_box_as_well(hub: RunningHub, tmp_path: Path, name: str) -> None:
    """What it finds there is TLS, and the box's own."""
    port = free_port()
    identity = hub.pki.client("operator")
    context = ssl.create_default_context(cafile=str(identity / "tls-server-ca.pem"))
    context.load_cert_chain(identity / "tls-chain.pem", identity / "tls-key.pem")
    words = stock(hub, "operator", "-v", "-N", "-L", f"{port}:{name}")
    async with dialling(hub, tmp_path), running("ssh", *words) as process:
        assert process.stderr is not None
        while b"Entering interactive session" not in (line := await process.stderr.readline()):
            assert line
        streams = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=f"{BOX}.{DOMAIN}")
        await ask(streams, READ, READ_REPLY)
        streams[1].close()
        with contextlib.suppress(ssl.SSLError):
            await streams[1].wait_closed()


OPEN, LISTEN = "open failed", "remote port forwarding failed"
FORBIDDEN = {
    "shell": ([], [], OPEN),
    "exec": ([], ["true"], OPEN),
    "subsystem": (["-s"], ["sftp"], OPEN),
    "pty": (["-tt"], [], OPEN),
    "agent forwarding": (["-A"], ["true"], OPEN),
    "X11": (["-X"], ["true"], OPEN),
    "remote forward": (["-N", "-R", "0:localhost:1"], [], LISTEN),
    "remote forward of SSH's port": (["-N", "-R", f"{BOX}:22:localhost:1"], [], LISTEN),
    "remote SOCKS": (["-N", "-R", "4321"], [], LISTEN),
    "remote Unix socket": (["-N", "-R", "/tmp/x.sock:localhost:1"], [], LISTEN),
    "another box's name": (["-N", "-R", f"/{OTHER}/mbaps:localhost:1"], [], LISTEN),
    "a name of no box": (["-N", "-R", "/box-9/mbaps:localhost:1"], [], LISTEN),
    "-W to the hub itself": (["-W", "localhost:{port}"], [], OPEN),
    "-W to another host": (["-W", "192.0.2.1:802"], [], OPEN),
    "-W to itself": (["-W", f"{BOX}:802"], [], OPEN),
    "-W to a box's SSH": (["-W", f"{BOX}:22"], [], OPEN),
    "tun": (["-w", "0:0"], ["true"], "open failed"),
}


@one_loop
@pytest.mark.parametrize("what", FORBIDDEN)
async def test_every_other_feature_is_refused_by_the_hub(hub: RunningHub, what: str) -> None:
    """To a box; what it is served is its own name, which is offered at last."""
    options, words, said = FORBIDDEN[what]
    filled = [word.format(port=hub.hub.port) for word in options]
    more = ["-o", "ExitOnForwardFailure=yes", *filled]
    ended = await run("ssh", *stock(hub, BOX, *more), *words, DISPLAY="127.0.0.1:7")
    assert (ended.code, ended.out) == (255, "")
    if what != "tun" or os.geteuid() == 0:
        assert said in ended.err
    assert hub.hub.offers == {}
    async with stock_box(hub, 1):
        await hub.until_offered()


@one_loop
async def test_sockets_of_the_hubs_machine_are_out_of_reach(hub: RunningHub, tmp_path: Path) -> None:
    """A stock ssh asks for these only once somebody has connected."""
    service = await asyncio.start_unix_server(lambda _reader, _writer: pytest.fail("reached"), tmp_path / "socket")
    async with service, as_client(hub, "operator") as connection:
        for path in (str(tmp_path / "socket"), f"/{BOX}/../{BOX}/mbaps", "/box-9/mbaps"):
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.open_unix_connection(path)


@one_loop
async def test_a_key_without_certificate_is_known_by_its_fingerprint(hub_pki: Pki, tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    policy = f'[[box]]\nname = "{BOX}"\noffered_by = ["key:{key.get_fingerprint()}"]\n'
    async with running_hub(hub_pki, tmp_path, policy) as hub:
        known = str(hub_pki.client("viewer") / "known_hosts")
        options = {"known_hosts": known, "agent_path": None, "config": None, "username": "any"}
        async with asyncssh.connect("127.0.0.1", hub.hub.port, client_keys=[key], **options) as connection:
            await connection.create_unix_server(lambda: asyncssh.SSHUNIXSession(), f"/{BOX}/mbaps")
            assert hub.hub.offers[BOX].peer.name == f"key:{key.get_fingerprint()}"
        other = asyncssh.generate_private_key("ssh-ed25519")
        with pytest.raises(asyncssh.PermissionDenied):
            await asyncssh.connect("127.0.0.1", hub.hub.port, client_keys=[other], **options)


@one_loop
async def test_a_certificate_of_another_ca_is_worth_nothing_whatever_its_principal(
    hub: RunningHub, other_pki: Pki, tmp_path: Path
) -> None:
    folder = shutil.copytree(other_pki.client("operator").resolve(), tmp_path / "stranger")
    shutil.copy(hub.pki.client("operator") / "known_hosts", folder / "known_hosts")
    with pytest.raises(RejectedError, match="does not accept our key"):
        await read(hub.site(), folder)
    with pytest.raises(UnreachableError, match="has not dialled in"):
        await read(hub.site(), hub.pki.client("operator"))


async def test_a_reload_ends_what_is_not_permitted_any_more(hub: RunningHub, tmp_path: Path) -> None:
    async with dialling(hub, tmp_path) as site:
        (dial,) = site.app.dials
        offer = hub.hub.offers[BOX]
        revoked = tmp_path / "revoked"
        revoked.write_text(f"{offer.peer.name}\n")
        hub.file.write_text(f'revoked = "{revoked}"\n{hub.file.read_text()}')
        hub.hub.replace(hub_settings.read(settings.load(hub.file, HubSettings)))
        await hub.until(lambda: not hub.hub.offers and dial.state is State.DOWN)
        await hub.until(lambda: "does not accept our key" in dial.status().reason)


async def test_a_reload_ends_who_is_at_a_box_that_they_may_not_reach_any_more(hub: RunningHub, tmp_path: Path) -> None:
    """The viewer, who may still reach another box; the operator, who may still reach this one, stays."""
    async with (
        dialling(hub, tmp_path),
        as_client(hub, "viewer") as viewer,
        as_client(hub, "operator") as operator,
    ):
        for one in (viewer, operator):
            await one.open_unix_connection(f"/{BOX}/mbaps")
        policy = hub.file.read_text().replace('["operator", "viewer"]', '["operator"]')
        hub.file.write_text(f'{policy}\n[[box]]\nname = "box-9"\noffered_by = ["box-9"]\nreached_by = ["viewer"]\n')
        hub.hub.replace(hub_settings.read(settings.load(hub.file, HubSettings)))
        async with asyncio.timeout(PATIENCE):
            await viewer.wait_closed()
        await hub.until(lambda: hub.hub.offers[BOX].clients == 1)
        assert not operator.is_closed()


@contextlib.asynccontextmanager
async def silent_box(hub: RunningHub, answer: asyncio.Event) -> AsyncIterator[HubPeer]:
    """A box that takes its name, and answers who comes once it is let."""

    async def late() -> asyncssh.SSHUNIXSession[bytes]:
        await answer.wait()
        return asyncssh.SSHUNIXSession()

    async with as_client(hub, BOX) as box:
        await box.create_unix_server(late, f"/{BOX}/mbaps")
        yield hub.hub.offers[BOX].peer


@one_loop
async def test_who_opens_many_channels_at_once_gets_no_more_of_them(hub: RunningHub) -> None:
    answer = asyncio.Event()
    async with silent_box(hub, answer), as_client(hub, "operator") as client:
        opened = [asyncio.ensure_future(client.open_unix_connection(f"/{BOX}/mbaps")) for _ in range(4 * CHANNELS)]
        await hub.until(lambda: sum(one.done() for one in opened) >= 3 * CHANNELS)
        answer.set()
        async with asyncio.timeout(PATIENCE):
            ended = await asyncio.gather(*opened, return_exceptions=True)
        assert sum(isinstance(one, asyncssh.ChannelOpenError) for one in ended) == 3 * CHANNELS


@one_loop
async def test_a_channel_that_a_box_has_not_answered_keeps_its_place_there_when_the_client_has_left(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_peer, "CHANNELS_OF_BOX", 2)
    answer = asyncio.Event()
    async with silent_box(hub, answer) as box:
        async with as_client(hub, "operator") as client:
            opened = [asyncio.ensure_future(client.open_unix_connection(f"/{BOX}/mbaps")) for _ in range(2)]
            await hub.until(lambda: len(box._adapters) == 2)
        await asyncio.gather(*opened, return_exceptions=True)
        async with as_client(hub, "viewer") as client:
            with pytest.raises(asyncssh.ChannelOpenError, match="at most 2"):
                await client.open_unix_connection(f"/{BOX}/mbaps")
            answer.set()
            # nobody waits for these any more, so the hub closes them
            await hub.until(lambda: not box._adapters)
            await client.open_unix_connection(f"/{BOX}/mbaps")
            assert hub.hub.offers[BOX].clients == 1


class Late:
    """Serves what comes through a hub, as soon as it is let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()

    async def check(self) -> None:
        pass

    async def take(self) -> asyncio.BaseProtocol:
        await self.let.wait()
        return asyncio.Protocol()


@one_loop
async def test_a_box_takes_no_more_connections_of_a_hub_than_it_can_hold(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial, "CLIENTS", 2)
    served = Late()
    box = Dial(DialSettings(hub.url(BOX, BOX), hub.pki.client(BOX)), served)
    async with staying([box]), as_client(hub, "operator") as client:
        await hub.until_offered()
        opened = [asyncio.ensure_future(client.open_unix_connection(f"/{BOX}/mbaps")) for _ in range(5)]
        await hub.until(lambda: sum(one.done() for one in opened) == 3)
        served.let.set()
        async with asyncio.timeout(PATIENCE):
            ended = await asyncio.gather(*opened, return_exceptions=True)
        assert [str(one) for one in ended if isinstance(one, BaseException)] == 3 * ["at most 2 connections"]
        assert box.status().clients == 2


@one_loop
async def test_more_connections_a_second_than_the_hub_takes_are_ended_at_once(hub_pki: Pki, tmp_path: Path) -> None:
    async with running_hub(hub_pki, tmp_path, more="accepts_per_second = 1.0") as hub:
        for _ in range(20):
            ended = await run("ssh", *stock(hub, BOX, "-N", "-R", "/tmp/x:localhost:1"))
            if "Connection closed" in ended.err or "Connection reset" in ended.err:
                break
        assert hub.hub.accepts.turned_away >= 1


@pytest.mark.long
@pytest.mark.skipif(not LONG, reason="installs ssh-audit from PyPI: make test-long")
@one_loop
async def test_ssh_audit_has_nothing_against_the_hub(hub: RunningHub, tmp_path: Path) -> None:
    python = tmp_path / "audit/bin/python"
    make = [sys.executable, "-m", "venv", str(tmp_path / "audit")]
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "ssh-audit>=3.9"]
    audit = [str(python.with_name("ssh-audit")), "--json", "--skip-rate-test", "--port", str(hub.hub.port)]
    for command in (make, pip):
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        if done.returncode and not os.environ.get("CI"):
            pytest.skip(f"{command[2]} failed: {done.stderr[-200:]}")
        assert done.returncode == 0, done.stderr
    done = await asyncio.to_thread(subprocess.run, [*audit, "127.0.0.1"], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert found["cves"] == []
    notes = [(one["algorithm"], one["notes"]) for kind in ("kex", "key", "enc", "mac") for one in found[kind]]
    assert len(notes) >= 8
    assert [(name, note["fail"]) for name, note in notes if "fail" in note] == []
