"""`fieldgate tunnel ssh-config`: stock ssh works with its Host block, a stock sshd is a door with its Match block."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from fieldgate_tunnel.ssh_config import FOLDER
from support.asking import READ, READ_REPLY, WRITE, ask, check_serves, line_with
from support.box import fieldgate
from support.mint import Ssh
from support.site import Pki, Site, running_site
from support.stock_sshd import TOOLS as SSHD_TOOLS
from support.stock_sshd import free_port, keygen, linux_group, linux_user, open_folder, sshd
from support.tools import run, running, tool

TOOLS = (*SSHD_TOOLS, "sftp", "groupadd", "groupdel")
"""Stock tools that these tests need (conftest.py)."""

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make Linux users and run an sshd for them")
one_loop = pytest.mark.asyncio(loop_factories=["uvloop"])


def printed(*arguments: str, **environment: str) -> str:
    done = fieldgate("tunnel", "ssh-config", *arguments, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def at_free_port(file: Path, text: str) -> int:
    """Write this configuration, with its local port exchanged for a free one; gives that."""
    port = free_port()
    assert text.count("127.0.0.1:5020 ") == 1
    file.write_text(text.replace("127.0.0.1:5020 ", f"127.0.0.1:{port} "))
    return port


@contextlib.asynccontextmanager
async def plain_ssh(file: Path, name: str) -> AsyncIterator[None]:
    """Run `ssh -N NAME` with this configuration."""
    async with running("ssh", "-v", "-F", str(file), "-N", name) as process:
        assert process.stderr is not None
        said = b""
        while b"Entering interactive session" not in said:
            line = await process.stderr.readline()
            assert line, said.decode()
            said += line
        yield


@one_loop
@pytest.mark.parametrize("folder", ["plain", "with a blank, and ümlaut"])
async def test_plain_ssh_reaches_the_door_with_the_host_block_alone(site: Site, tmp_path: Path, folder: str) -> None:
    identity = tmp_path / folder
    identity.symlink_to(site.pki.client("viewer"))
    url = f"modbus+ssh://127.0.0.1:{site.app.ports['ssh']}"
    text = printed(url, "--identity", str(identity))
    port = at_free_port(tmp_path / "config", text)
    async with plain_ssh(tmp_path / "config", "fieldgate-127.0.0.1"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await ask((reader, writer), READ, READ_REPLY)
        writer.close()
        await writer.wait_closed()
    assert "/viewer " in await line_with(site, "event=session", "role=viewer", "door=ssh")


@one_loop
async def test_the_host_block_trusts_no_host_but_those_of_the_identity(
    site: Site, other_pki: Pki, tmp_path: Path
) -> None:
    text = printed(f"modbus+ssh://127.0.0.1:{site.app.ports['ssh']}", "--identity", str(other_pki.client("viewer")))
    (tmp_path / "config").write_text(text)
    ended = await run("ssh", "-F", str(tmp_path / "config"), "-N", "fieldgate-127.0.0.1")
    assert ended.code == 255
    assert "Host key verification failed" in ended.err


def test_the_host_block_says_what_ssh_is_to_do(site_pki: Pki, tmp_path: Path) -> None:
    identity = str(site_pki.client("viewer"))
    (tmp_path / "config").write_text(printed("modbus+ssh://box.example.com", FIELDGATE_IDENTITY=identity))
    command = [tool("ssh"), "-G", "-F", str(tmp_path / "config"), "fieldgate-box.example.com"]
    said = set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines())
    assert said >= {
        "hostname box.example.com",
        "port 2222",
        "user viewer",
        f"identityfile {identity}/ssh-key",
        f"certificatefile {identity}/ssh-key-cert.pub",
        "identitiesonly yes",
        f"userknownhostsfile {identity}/known_hosts",
        "stricthostkeychecking true",
        "localforward [127.0.0.1]:5020 [localhost]:502",
        "exitonforwardfailure yes",
        "serveraliveinterval 15",
        "serveralivecountmax 3",
        "forwardagent no",
        "forwardx11 no",
        "batchmode yes",
    }
    plain = subprocess.run([*command[:-1], "box.example.com"], check=True, capture_output=True, text=True).stdout
    # who logs in to the box itself is not changed
    assert "localforward" not in plain
    assert "port 22\n" in plain


FAULTS = {
    "no URL": ([], "name a URL"),
    "both": (["modbus+ssh://a@b", "--server"], "takes no URL"),
    "TLS": (["modbus+tls://box"], "is not reached by SSH"),
    "no login": (["modbus+ssh://box"], "no login name"),
    "a host that ends the line": (["modbus+ssh://a@b%0a"], "no host"),
    "a host with a blank": (["modbus+ssh://a@b c"], "no host"),
    "a login that ends the quotes": (['modbus+ssh://a"b@c'], "no login name"),
    "a folder that ssh would expand": (["modbus+ssh://a@b", "--identity", "/%h"], "no folder"),
    "a group that is a pattern": (["--server", "--group", "*"], "no name of a group"),
    "a group without a server": (["modbus+ssh://a@b", "--group", "x"], "goes with --server"),
    "a port": (["--server", "--port", "70000"], "1 to 65535"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_written_is_refused(fault: str) -> None:
    arguments, said = FAULTS[fault]
    done = fieldgate("tunnel", "ssh-config", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@dataclass
class Door:
    """A stock sshd with the Match block: its folder and port, a user of the group and one beside it."""

    folder: Path
    port: int
    user: str
    outsider: str

    def options(self, identity: Path, user: str) -> list[str]:
        """Give the options of a stock ssh that logs in with the key and the certificate of a folder."""
        settings = {
            "IdentityFile": identity / "ssh-key",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": self.folder / "known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "BatchMode": "yes",
            "ExitOnForwardFailure": "yes",
            "User": user,
            "Port": self.port,
        }
        if (identity / "ssh-key-cert.pub").exists():
            settings["CertificateFile"] = identity / "ssh-key-cert.pub"
        return ["-F", "none", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]

    def log(self) -> str:
        return (self.folder / "sshd.log").read_text()


@dataclass
class Behind:
    """A site behind a stock sshd, and folders with keys and certificates that log in there."""

    site: Site
    door: Door
    keys: dict[str, Path]


LIBERAL = ("permit-port-forwarding", "permit-pty", "permit-agent-forwarding", "permit-X11-forwarding", "permit-user-rc")


@pytest.fixture
async def behind(site_pki: Pki, tmp_path: Path) -> AsyncIterator[Behind]:
    with open_folder() as folder, linux_group() as group, linux_user(group) as user, linux_user() as outsider:
        async with running_site(site_pki, tmp_path, user=user) as site:
            keys = {
                "ours": site_pki.client("operator"),
                "liberal": Ssh(extensions=LIBERAL).identity(site_pki, tmp_path / "odd"),
            }
            lines = []
            for name, options in (("restricted", "restrict,port-forwarding "), ("unrestricted", "")):
                keys[name] = tmp_path / name
                keys[name].mkdir()
                lines.append(options + keygen(keys[name] / "ssh-key"))
            for name in (user, outsider):
                (folder / f"{name}.keys").write_text("".join(lines))
            (folder / "principals").mkdir()
            (folder / "principals" / user).write_text("operator\n")
            (folder / "principals" / outsider).write_text("operator\n")
            (folder / "user-ca.pub").write_bytes((site_pki.server / "ssh-user-ca.pub").read_bytes())
            assert (await run("ssh-keygen", "-k", "-f", str(folder / "revoked.krl"))).code == 0
            text = printed("--server", "--port", str(site.app.ports["modbus"]), "--group", group)
            with sshd(
                folder,
                "AllowTcpForwarding no\nX11Forwarding yes\nPermitTunnel yes\n" + text.replace(FOLDER, str(folder)),
            ) as port:
                known = (folder / "host-key.pub").read_text()
                (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {known}")
                yield Behind(site, Door(folder, port, user, outsider), keys)


@only_root
@one_loop
async def test_sshd_accepts_the_match_block_and_applies_it_to_the_group_alone(behind: Behind) -> None:
    door = behind.door
    file = str(door.folder / "sshd_config")
    assert await run("sshd", "-t", "-f", file) == (0, "", "")
    port = behind.site.app.ports["modbus"]
    wanted = {
        "allowtcpforwarding local",
        f"permitopen 127.0.0.1:{port} localhost:{port} [::1]:{port}",
        "permitlisten none",
        "allowstreamlocalforwarding no",
        "allowagentforwarding no",
        "x11forwarding no",
        "permittunnel no",
        "permittty no",
        "maxsessions 0",
        f"trustedusercakeys {door.folder}/user-ca.pub",
        f"revokedkeys {door.folder}/revoked.krl",
    }
    for user, applies in ((door.user, True), (door.outsider, False)):
        about = await run("sshd", "-T", "-f", file, "-C", f"user={user},host=localhost,addr=127.0.0.1")
        assert (set(about.out.splitlines()) >= wanted) is applies
        assert bool(set(about.out.splitlines()) & wanted) is applies


@only_root
@one_loop
@pytest.mark.parametrize("key", ["ours", "liberal", "restricted", "unrestricted"])
async def test_who_is_in_the_group_reaches_the_modbus_port_and_runs_nothing(behind: Behind, key: str) -> None:
    door, site = behind.door, behind.site
    options = door.options(behind.keys[key], door.user)
    port = site.app.ports["modbus"]
    for target in ("127.0.0.1", "localhost"):
        async with running("ssh", *options, "-W", f"{target}:{port}", "127.0.0.1") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(READ if target == "localhost" else WRITE)
            wanted = WRITE if target == "127.0.0.1" else READ_REPLY.replace(b"\x00\x11", b"\x01\x00")
            assert await process.stdout.readexactly(len(wanted)) == wanted
    await line_with(
        site, "event=write", "outcome=done", f"identity=unix:{door.user} ", "role=operator", "door=loopback"
    )
    ran = door.folder / f"ran-{key}"
    door.folder.chmod(0o777)
    ended = await run("ssh", *options, "127.0.0.1", f"touch {ran}")
    assert ended.code == 255
    assert "open failed" in ended.err
    assert not ran.exists()


@only_root
@one_loop
async def test_who_is_not_in_the_group_has_what_he_had(behind: Behind) -> None:
    """The CA is nobody's but the group's; and the exec that is refused there, does run where no block forbids it."""
    door = behind.door
    ended = await run("ssh", *door.options(behind.keys["unrestricted"], door.outsider), "127.0.0.1", "echo ran")
    assert (ended.code, ended.out) == (0, "ran\n")
    for key in ("ours", "liberal"):
        ended = await run("ssh", *door.options(behind.keys[key], door.outsider), "127.0.0.1", "echo ran")
        assert (ended.code, ended.out) == (255, "")
        assert "Permission denied" in ended.err


OPEN, LISTEN = "open failed", "remote port forwarding failed"
FORBIDDEN = {
    "shell": ([], [], OPEN),
    "exec": ([], ["true"], OPEN),
    "exec with an environment": (["-o", "SetEnv=LC_X=1", "-o", "SendEnv=*"], ["env"], OPEN),
    "subsystem": (["-s"], ["sftp"], OPEN),
    "pty": (["-tt"], [], OPEN),
    "agent forwarding": (["-A"], ["true"], OPEN),
    "X11": (["-X"], ["true"], OPEN),
    "remote forward": (["-N", "-R", "0:localhost:1"], [], LISTEN),
    "remote forward to all": (["-N", "-R", "*:4321:localhost:1"], [], LISTEN),
    "remote SOCKS": (["-N", "-R", "4321"], [], LISTEN),
    "remote Unix socket": (["-N", "-R", "/tmp/x.sock:localhost:1"], [], LISTEN),
    "-W to another port": (["-W", "localhost:{sshd}"], [], OPEN),
    "-W to another host": (["-W", "192.0.2.1:{modbus}"], [], OPEN),
    "-W to another loopback address": (["-W", "127.0.0.2:{modbus}"], [], OPEN),
}


@only_root
@one_loop
async def test_every_other_feature_is_refused_by_a_stock_sshd(behind: Behind) -> None:
    """To a certificate that permits all there is, and in part to a key without any option."""
    door, site = behind.door, behind.site
    ports = {"sshd": str(door.port), "modbus": str(site.app.ports["modbus"])}
    for what, (options, words, said) in FORBIDDEN.items():
        filled = [word.format(**ports) for word in options]
        for key in ("liberal", "unrestricted") if what in {"pty", "remote forward"} else ("liberal",):
            command = [*door.options(behind.keys[key], door.user), *filled, "127.0.0.1", *words]
            ended = await run("ssh", *command, DISPLAY="127.0.0.1:7")
            assert (what, ended.code, ended.out) == (what, 255, "")
            assert said in ended.err, (what, ended)
    assert (await run("sftp", *door.options(behind.keys["liberal"], door.user), "127.0.0.1")).code != 0
    await check_serves(site)


@only_root
@one_loop
async def test_unix_sockets_and_devices_are_refused_by_a_stock_sshd(behind: Behind, tmp_path: Path) -> None:
    door, site = behind.door, behind.site
    port = site.app.ports["modbus"]
    key = behind.keys["unrestricted"]
    address = str(door.folder / "service")
    service = await asyncio.start_unix_server(lambda _reader, _writer: pytest.fail("reached"), address)
    (door.folder / "service").chmod(0o777)
    connection = await asyncssh.connect(
        "127.0.0.1",
        door.port,
        username=door.user,
        client_keys=[str(key / "ssh-key")],
        known_hosts=str(door.folder / "known_hosts"),
        agent_path=None,
        config=None,
    )
    async with service, connection:
        forbidden: list[Awaitable[object]] = [
            connection.open_unix_connection(address),
            connection.create_tun(asyncssh.SSHTunTapSession, 0),
            connection.create_tap(asyncssh.SSHTunTapSession, 0),
            connection.open_connection("localhost", door.port),
            connection.create_process("true"),
            connection.forward_remote_port("", 0, "localhost", 1),
            connection.forward_remote_path("/tmp/x.sock", "/tmp/y.sock"),
        ]
        for attempt in forbidden:
            with pytest.raises((asyncssh.ChannelOpenError, asyncssh.ChannelListenError)):
                await attempt
        await ask(await connection.open_connection("localhost", port), READ, READ_REPLY)
    socks = free_port()
    async with running(
        "ssh", "-v", *door.options(key, door.user), "-N", "-D", f"127.0.0.1:{socks}", "127.0.0.1"
    ) as process:
        assert process.stderr is not None
        while b"Entering interactive session" not in (line := await process.stderr.readline()):
            assert line
        for target, good in ((port, True), (door.port, False)):
            reader, writer = await asyncio.open_connection("127.0.0.1", socks)
            # SOCKS 5: no authentication; connect to an IPv4 address (RFC 1928, 3 and 4)
            writer.write(bytes.fromhex("050100 05010001 7f000001") + target.to_bytes(2, "big"))
            assert await reader.readexactly(2) == bytes.fromhex("0500")
            assert bool(await reader.read(10)) is good
            writer.close()
            await writer.wait_closed()


@only_root
@one_loop
async def test_who_is_in_the_krl_does_not_get_in(behind: Behind) -> None:
    door = behind.door
    options = door.options(behind.keys["ours"], door.user)
    target = ["-W", f"localhost:{behind.site.app.ports['modbus']}", "127.0.0.1"]
    assert (await run("ssh", *options, *target)).code == 0
    krl, certificate = str(door.folder / "revoked.krl"), str(behind.keys["ours"] / "ssh-key-cert.pub")
    assert (await run("ssh-keygen", "-k", "-u", "-f", krl, certificate)).code == 0
    ended = await run("ssh", *options, *target)
    assert ended.code == 255
    assert "Permission denied" in ended.err
    assert "revoked" in door.log()
    assert (await run("ssh", *door.options(behind.keys["liberal"], door.user), *target)).code == 0
