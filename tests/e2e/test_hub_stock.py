"""A stock sshd as hub, with the Match blocks of `tunnel ssh-config --hub`: boxes by name, and nothing else."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from fieldgate_client.connection import connect
from fieldgate_core.errors import NotTrustedError, RejectedError, UnreachableError
from fieldgate_core.modbus import Table
from fieldgate_core.sites import ListedSite
from fieldgate_core.url import SiteUrl
from fieldgate_tunnel.link_events import State
from fieldgate_tunnel.ssh_config import BOXES, CLIENTS, FOLDER, HUB
from support.box import fieldgate
from support.hubs import BOX, DOMAIN, OTHER, as_box, box_folder, make_hub_pki
from support.site import TABLES_OF_THE_VECTORS, Pki, running_site
from support.stock_sshd import TOOLS as SSHD_TOOLS
from support.stock_sshd import linux_group, linux_user, open_folder, sshd
from support.tools import run, tool

TOOLS = (*SSHD_TOOLS, "groupadd", "groupdel")
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make Linux users and run an sshd for them")
one_loop = pytest.mark.asyncio(loop_factories=["uvloop"])


@dataclass
class StockHub:
    """A stock sshd as hub: a user for each of two boxes and one for clients, who is the principal operator."""

    pki: Pki
    folder: Path
    port: int
    users: dict[str, str]
    client: str

    def url(self, box: str, user: str) -> str:
        return f"modbus+tls+ssh://{user}@127.0.0.1:{self.port}/{box}"

    def site(self, box: str = BOX) -> SiteUrl:
        return ListedSite(self.url(box, self.client), domain=DOMAIN).address

    def dial(self, name: str, box: str) -> str:
        """Give the [[dial]] that offers a name with the account and the identity of a box."""
        return f'\n[[dial]]\nurl = "{self.url(name, self.users[box])}"\nidentity = "{identity(self, box)}"\n'

    def options(self, who: str, user: str) -> list[str]:
        settings = {
            "IdentityFile": identity(self, who) / "ssh-key",
            "CertificateFile": identity(self, who) / "ssh-key-cert.pub",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": identity(self, who) / "known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "BatchMode": "yes",
            "ExitOnForwardFailure": "yes",
            "User": user,
            "Port": self.port,
        }
        return ["-F", "none", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]


def identity(hub: StockHub, who: str) -> Path:
    """Give the folder of a box or client, with the hub's plain host key pinned in its known_hosts."""
    return hub.folder / f"identity-{who}"


@pytest.fixture(scope="session")
def stock_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_hub_pki(tmp_path_factory.mktemp("stock-hub-pki") / "pki", "127.0.0.1")


@pytest.fixture
def stock_hub(stock_pki: Pki) -> Iterator[StockHub]:
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder())
        # sshd wants every folder of the way to be root's alone, which /tmp is not
        root = Path(tempfile.mkdtemp(prefix="fieldgate-hub-", dir="/run"))
        stack.callback(shutil.rmtree, root)
        root.chmod(0o755)
        boxes, clients = stack.enter_context(linux_group()), stack.enter_context(linux_group())
        users = {box: stack.enter_context(linux_user(boxes)) for box in (BOX, OTHER)}
        client = stack.enter_context(linux_user(clients))
        (folder / "principals").mkdir()
        for principal, user in ((BOX, users[BOX]), (OTHER, users[OTHER]), ("operator", client)):
            (folder / "principals" / user).write_text(f"{principal}\n")
        (folder / "user-ca.pub").write_bytes((stock_pki.server / "ssh-user-ca.pub").read_bytes())
        subprocess.run([tool("ssh-keygen"), "-k", "-f", str(folder / "revoked.krl")], check=True, capture_output=True)
        done = fieldgate("tunnel", "ssh-config", "--hub", BOX, OTHER)
        assert (done.returncode, done.stderr) == (0, "")
        text = done.stdout
        for box, user in users.items():
            # the line that the block's head tells to run
            (line,) = [line for line in text.splitlines() if line.endswith(f"{HUB}/{box}")]
            made = line.removeprefix("#   ").replace(f"-o {box}", f"-o {user}").replace(CLIENTS, clients)
            subprocess.run(made.replace(HUB, str(root)).split(), check=True)
        for old, new in ((BOXES, boxes), (CLIENTS, clients), (FOLDER, str(folder)), (HUB, str(root))):
            text = text.replace(old, new)
        port = stack.enter_context(sshd(folder, "X11Forwarding yes\nPermitTunnel yes\n" + text))
        subprocess.run([tool("sshd"), "-t", "-f", str(folder / "sshd_config")], check=True)
        hub = StockHub(stock_pki, folder, port, users, client)
        pinned = f"[127.0.0.1]:{port} {(folder / 'host-key.pub').read_text()}"
        for who in (BOX, OTHER, "operator"):
            shutil.copytree(stock_pki.client(who).resolve(), identity(hub, who))
            (identity(hub, who) / "known_hosts").write_text(pinned)
        yield hub


async def read(hub: StockHub, box: str = BOX) -> int:
    async with connect(hub.site(box), identity=identity(hub, "operator")) as client:
        return (await client.read_cells(Table.HOLDING, 0, 1))[0]


async def until_read(hub: StockHub) -> None:
    """Read as soon as the box is there. Raises TimeoutError."""
    async with asyncio.timeout(20):
        while True:
            try:
                assert await read(hub) == 17
            except UnreachableError:
                await asyncio.sleep(0.05)
            else:
                return


@only_root
@one_loop
async def test_a_box_is_reached_by_name_through_a_stock_sshd(stock_hub: StockHub, tmp_path: Path) -> None:
    units = TABLES_OF_THE_VECTORS + stock_hub.dial(BOX, BOX)
    with pytest.raises(UnreachableError, match=f"does not reach {BOX} now"):
        await read(stock_hub)
    async with running_site(as_box(stock_hub.pki, BOX), box_folder(tmp_path, BOX), units=units):
        await until_read(stock_hub)
        # what a dead one leaves behind is replaced, and so is a session that only seems to live
        again = box_folder(tmp_path, "again")
        async with running_site(as_box(stock_hub.pki, BOX), again, units=units) as second:
            (dial,) = second.app.dials
            async with asyncio.timeout(20):
                while dial.state is not State.UP:
                    await asyncio.sleep(0.02)
            assert await read(stock_hub) == 17
            assert "event=session" in (again / "audit.log").read_text()


@only_root
@one_loop
async def test_a_box_takes_no_name_but_its_own_from_a_stock_sshd(stock_hub: StockHub, tmp_path: Path) -> None:
    """And one that lies there all the same, by another's account, has not the other's certificate."""
    units = TABLES_OF_THE_VECTORS + stock_hub.dial(BOX, OTHER)
    async with running_site(as_box(stock_hub.pki, OTHER), box_folder(tmp_path, OTHER), units=units) as thief:
        (dial,) = thief.app.dials
        async with asyncio.timeout(20):
            while "does not take this name" not in dial.status().reason:
                await asyncio.sleep(0.02)
    lying = TABLES_OF_THE_VECTORS + stock_hub.dial(BOX, BOX)
    async with running_site(as_box(stock_hub.pki, OTHER), box_folder(tmp_path, "lies"), units=lying):
        with pytest.raises(NotTrustedError, match=rf"not valid for '{BOX}\.{DOMAIN}'"):
            await until_read(stock_hub)


OPEN, LISTEN = "open failed", "remote port forwarding failed"
FORBIDDEN = {
    "shell": ([], [], OPEN),
    "exec": ([], ["true"], OPEN),
    "subsystem": (["-s"], ["sftp"], OPEN),
    "pty": (["-tt"], [], OPEN),
    "agent forwarding": (["-A"], ["true"], OPEN),
    "X11": (["-X"], ["true"], OPEN),
    "remote forward": (["-N", "-R", "0:localhost:1"], [], LISTEN),
    "remote SOCKS": (["-N", "-R", "4321"], [], LISTEN),
    "remote Unix socket": (["-N", "-R", "/x.sock:localhost:1"], [], LISTEN),
    "-W to sshd": (["-W", "localhost:{port}"], [], OPEN),
    "-W to another host": (["-W", "192.0.2.1:802"], [], OPEN),
}


@only_root
@one_loop
async def test_every_other_feature_is_refused_by_a_stock_hub(stock_hub: StockHub, tmp_path: Path) -> None:
    for who, user in ((BOX, stock_hub.users[BOX]), ("operator", stock_hub.client)):
        options = stock_hub.options(who, user)
        for what, (words, command, said) in FORBIDDEN.items():
            filled = [word.format(port=stock_hub.port) for word in words]
            ended = await run("ssh", *options, *filled, "127.0.0.1", *command, DISPLAY="127.0.0.1:7")
            assert (who, what, ended.code, ended.out) == (who, what, 255, "")
            assert said in ended.err, (who, what, ended)
    other = ["-N", "-R", f"/{OTHER}/mbaps:localhost:1"]
    ended = await run("ssh", *stock_hub.options(BOX, stock_hub.users[BOX]), *other, "127.0.0.1")
    assert LISTEN in ended.err
    own = identity(stock_hub, "operator")
    async with asyncssh.connect(
        "127.0.0.1",
        stock_hub.port,
        username=stock_hub.client,
        client_keys=[(str(own / "ssh-key"), str(own / "ssh-key-cert.pub"))],
        known_hosts=str(own / "known_hosts"),
        agent_path=None,
        config=None,
    ) as connection:
        for path in ("/run/systemd/notify", "/box-9/mbaps", f"/{BOX}/other"):
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.open_unix_connection(path)
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.forward_remote_path(f"/{BOX}/mbaps", "/tmp/y.sock")


@only_root
@one_loop
async def test_a_login_that_the_stock_hub_does_not_know_is_told_so(stock_hub: StockHub) -> None:
    stranger = ListedSite(stock_hub.url(BOX, stock_hub.users[BOX]), domain=DOMAIN).address
    with pytest.raises(RejectedError, match="does not accept our key"):
        async with connect(stranger, identity=identity(stock_hub, "operator")):
            pytest.fail("let in")


@pytest.mark.parametrize("box", ["Box", "a/b", "box 7", "x\n"])
def test_a_name_that_would_say_more_in_sshd_config_is_refused(box: str) -> None:
    done = fieldgate("tunnel", "ssh-config", "--hub", box)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no name of a box" in done.stderr
