"""The SSH door and stock OpenSSH: a forward to the Modbus port works, and everything else is refused with its line."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from fieldgate_server.trail_collapse import KINDS
from support.asking import (
    READ,
    READ_REPLY,
    WRITE,
    WRITE_REFUSED,
    ask,
    check_serves,
    line_with,
    ssh_connection,
    stock_options,
    stock_ssh,
)
from support.mint import Ssh
from support.site import Pki, Site
from support.tools import run, running

TOOLS = ("ssh", "sftp", "mbpoll")
"""Stock tools that these tests need (conftest.py)."""

one_loop = pytest.mark.asyncio(loop_factories=["uvloop"])
"""Stock tools neither know nor care on which event loop the server runs, and they are slow."""


def free_port() -> int:
    """Give a port that was free a moment ago: a stock ssh can't be told to choose one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def said(process: Process, text: str) -> None:
    """Wait until a tool has written a line with this text to its standard error."""
    assert process.stderr is not None
    seen = []
    async for line in process.stderr:
        seen.append(line.decode())
        if text in seen[-1]:
            return
    pytest.fail(f"no {text!r} in:\n{''.join(seen)}")


@contextlib.asynccontextmanager
async def forwarding(site: Site, role: str, *arguments: str) -> AsyncIterator[Process]:
    """Run `ssh -N` with these forwards, as a role; the block begins when they are listened on."""
    command = stock_ssh(site, site.pki.client(role), role, "-v", "-N", *arguments, "127.0.0.1")
    async with running("ssh", *command) as process:
        await said(process, "Entering interactive session")
        yield process


@contextlib.asynccontextmanager
async def closing(
    stream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Close a stream at the end of the block."""
    try:
        yield stream
    finally:
        stream[1].close()
        with contextlib.suppress(OSError):
            await stream[1].wait_closed()


async def holding(site: Site, count: int) -> list[int]:
    """Read holding registers of unit 1 through the TLS door."""
    async with site.stream("tls") as (reader, writer):
        writer.write(bytes.fromhex("0009000000060103000000") + bytes([count]))
        reply = await reader.readexactly(9 + 2 * count)
        return [int.from_bytes(reply[9 + 2 * i : 11 + 2 * i], "big") for i in range(count)]


@one_loop
async def test_mbpoll_reads_and_writes_through_stock_ssh(site: Site) -> None:
    port = str(free_port())
    async with forwarding(site, "operator", "-L", f"127.0.0.1:{port}:localhost:502"):
        assert await holding(site, 3) == [17, 17, 17]
        written = await run("mbpoll", "-m", "tcp", "-p", port, "-a", "1", "-r", "2", "127.0.0.1", "1234", "567")
        assert written.code == 0, written
        assert await holding(site, 4) == [17, 1234, 567, 17]
        read = await run("mbpoll", "-m", "tcp", "-p", port, "-a", "1", "-r", "1", "-c", "3", "-1", "127.0.0.1")
        assert read.code == 0, read
        assert read.out.split()[-6:] == ["[1]:", "17", "[2]:", "1234", "[3]:", "567"]
    assert "role=operator" in await line_with(site, "event=write", "outcome=done", "door=ssh")


@one_loop
async def test_mbpoll_sees_that_a_viewer_may_not_write(site: Site) -> None:
    port = str(free_port())
    async with forwarding(site, "viewer", "-L", f"127.0.0.1:{port}:localhost:502"):
        read = await run("mbpoll", "-m", "tcp", "-p", port, "-a", "1", "-r", "1", "-1", "127.0.0.1")
        assert read.out.split()[-2:] == ["[1]:", "17"]
        written = await run("mbpoll", "-m", "tcp", "-p", port, "-a", "1", "-r", "1", "127.0.0.1", "1234")
        assert written.code != 0
        assert "Illegal function" in written.out + written.err
    assert "exception=01" in await line_with(site, "event=refused", "role=viewer", "door=ssh")
    assert await holding(site, 1) == [17]


@one_loop
@pytest.mark.parametrize("target", ["localhost:502", "127.0.0.1:502", "[::1]:502"])
async def test_stock_ssh_reaches_the_modbus_port_by_each_name_of_localhost(site: Site, target: str) -> None:
    command = stock_ssh(site, site.pki.client("viewer"), "viewer", "-W", target, "127.0.0.1")
    async with running("ssh", *command) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(READ)
        assert await process.stdout.readexactly(len(READ_REPLY)) == READ_REPLY


SESSION = "a session (shell, exec, sftp)"
REFUSED = {
    "shell": ([], [], SESSION),
    "exec": ([], ["true"], SESSION),
    "environment": (["-o", "SetEnv=LC_X=1", "-o", "SendEnv=*"], ["env"], SESSION),
    "subsystem": (["-s"], ["sftp"], SESSION),
    "pty": (["-tt"], [], SESSION),
    "agent forwarding": (["-A"], ["true"], SESSION),
    "X11": (["-X"], ["true"], SESSION),
    "remote forward": (["-N", "-R", "0:localhost:1"], [], "a remote forward (-R) of localhost:0"),
    "remote forward to all": (["-N", "-R", "*:4321:localhost:1"], [], "a remote forward (-R) of :4321"),
    "remote SOCKS": (["-N", "-R", "4321"], [], "a remote forward (-R) of localhost:4321"),
    "remote Unix socket": (["-N", "-R", "/run/x.sock:localhost:1"], [], "of the Unix socket /run/x.sock"),
    "-W to another port": (["-W", "localhost:22"], [], "a forward to localhost:22"),
    "-W to another host": (["-W", "192.0.2.1:502"], [], "a forward to 192.0.2.1:502"),
    "-W to a name": (["-W", "localhost.example.com:502"], [], "a forward to localhost.example.com:502"),
    "-W to all addresses": (["-W", "0.0.0.0:502"], [], "a forward to 0.0.0.0:502"),
}


@one_loop
@pytest.mark.parametrize("what", REFUSED)
async def test_all_but_the_modbus_port_is_refused_to_stock_ssh(site: Site, what: str) -> None:
    options, words, reason = REFUSED[what]
    command = stock_ssh(site, site.pki.client("operator"), "operator", *options, "127.0.0.1", *words)
    ended = await run("ssh", *command, DISPLAY="127.0.0.1:7")
    assert ended.code == 255
    assert "open failed" in ended.err or "remote port forwarding failed" in ended.err
    line = await line_with(site, "event=refused", "door=ssh", reason)
    assert re.search(r" identity=ssh:\S+ role=operator door=ssh peer=127\.0\.0\.1:", line)
    await check_serves(site)


@one_loop
async def test_sftp_is_refused(site: Site) -> None:
    options = [*stock_options(site.pki.client("operator")), "-P", str(site.app.ports["ssh"])]
    ended = await run("sftp", *options, "operator@127.0.0.1")
    # not always 255: it may have died of a pipe whose ssh has gone
    assert ended.code != 0
    assert "Session refused" in ended.err
    await line_with(site, "event=refused", SESSION)
    await check_serves(site)


@one_loop
async def test_local_forwards_reach_nothing_but_the_modbus_port(site: Site, tmp_path: Path) -> None:
    """One ssh with four forwards: the one to the Modbus port works before and after the others are refused."""
    own_port = site.app.ports["tls"]
    targets = {
        "port": (f"localhost:{own_port}", f"a forward to localhost:{own_port}"),
        "host": ("192.0.2.1:502", "a forward to 192.0.2.1:502"),
        "loopback-but-none-of-ours": ("127.9.9.9:502", "a forward to 127.9.9.9:502"),
        "unix": (str(tmp_path / "service"), f"a forward to the Unix socket {tmp_path / 'service'}"),
    }
    arguments = ["-L", f"{tmp_path / 'ok'}:localhost:502"]
    for name, (target, _) in targets.items():
        arguments += ["-L", f"{tmp_path / name}:{target}"]
    service = await asyncio.start_unix_server(lambda _reader, _writer: pytest.fail("reached"), tmp_path / "service")
    async with forwarding(site, "viewer", *arguments), service:
        for name, (_, reason) in targets.items():
            async with closing(await asyncio.open_unix_connection(tmp_path / "ok")) as stream:
                await ask(stream, READ, READ_REPLY)
            async with closing(await asyncio.open_unix_connection(tmp_path / name)) as (reader, _):
                assert await reader.read() == b""
            await line_with(site, "event=refused", reason)
        await check_serves(site)


@one_loop
async def test_a_socks_forward_reaches_the_modbus_port_only(site: Site) -> None:
    port = free_port()
    async with forwarding(site, "viewer", "-D", f"127.0.0.1:{port}"):
        for target in (502, 22, 502):
            async with closing(await asyncio.open_connection("127.0.0.1", port)) as (reader, writer):
                # SOCKS 5: no authentication; connect to an IPv4 address (RFC 1928, 3 and 4)
                writer.write(bytes.fromhex("050100 05010001 7f000001") + target.to_bytes(2, "big"))
                assert await reader.readexactly(2) == bytes.fromhex("0500")
                if target == 502:
                    assert (await reader.readexactly(10))[:2] == bytes.fromhex("0500")
                    await ask((reader, writer), READ, READ_REPLY)
                else:
                    assert await reader.read() == b""
    await line_with(site, "event=refused", "a forward to 127.0.0.1:22")
    await check_serves(site)


@pytest.mark.parametrize("layer", ["tun", "tap"])
async def test_a_tunnel_device_is_refused(site: Site, layer: str) -> None:
    identity = site.pki.client("viewer")
    async with ssh_connection(site, identity, "viewer") as connection:
        create = connection.create_tun if layer == "tun" else connection.create_tap
        with pytest.raises(asyncssh.ChannelOpenError):
            await create(asyncssh.SSHTunTapSession, 0)
        await ask(await connection.open_connection("localhost", 502), READ, READ_REPLY)
    await line_with(site, "event=refused", f"a {layer} device")
    await check_serves(site)


async def refused_forwards(site: Site, role: str, ports: range) -> None:
    """Ask for forwards that are not served, as a role."""
    async with ssh_connection(site, site.pki.client(role), role) as connection:
        for port in ports:
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.open_connection("localhost", port)


async def test_who_hammers_at_closed_ports_uses_up_its_own_share_of_the_trail(site: Site) -> None:
    await refused_forwards(site, "viewer", range(2000, 2000 + KINDS + 5))
    await refused_forwards(site, "operator", range(3000, 3001))
    line = await line_with(site, "a forward to localhost:3000")
    assert " role=operator " in line
    assert sum("event=refused" in line and " role=viewer " in line for line in site.trail()) == KINDS


async def test_a_ninth_channel_is_refused_until_one_of_the_eight_closes(site: Site) -> None:
    async with ssh_connection(site, site.pki.client("viewer"), "viewer") as connection:
        streams = [await connection.open_connection("localhost", 502) for _ in range(8)]
        with pytest.raises(asyncssh.ChannelOpenError, match="at most 8 channels"):
            await connection.open_connection("localhost", 502)
        await line_with(site, "event=refused", "more than 8 channels")
        await check_serves(site)
        for stream in streams:
            await ask(stream, READ, READ_REPLY)
        writer = streams.pop()[1]
        writer.close()
        await writer.wait_closed()
        await ask(await connection.open_connection("localhost", 502), READ, READ_REPLY)
        with pytest.raises(asyncssh.ChannelOpenError, match="at most 8 channels"):
            await connection.open_connection("localhost", 502)


@one_loop
async def test_clients_that_come_and_go_through_stock_ssh_leave_no_channel_behind(site: Site, tmp_path: Path) -> None:
    async with forwarding(site, "viewer", "-L", f"{tmp_path / 'ok'}:localhost:502"):
        for _ in range(20):
            async with closing(await asyncio.open_unix_connection(tmp_path / "ok")) as stream:
                await ask(stream, READ, READ_REPLY)
                stream[1].write_eof()
                assert await stream[0].read() == b""


async def test_a_channel_closes_with_its_peers_end(site: Site) -> None:
    async with ssh_connection(site, site.pki.client("viewer"), "viewer") as connection:
        for _ in range(20):
            reader, writer = await connection.open_connection("localhost", 502)
            writer.write(READ)
            writer.write_eof()
            assert await reader.read() == READ_REPLY
            await writer.channel.wait_closed()
    await line_with(site, "event=session", "state=closed", "reads=1")


@pytest.mark.parametrize("permits", [["permit-port-forwarding"], [], ["permit-agent-forwarding", "permit-pty"]])
async def test_a_certificate_must_permit_port_forwarding(
    site: Site, site_pki: Pki, tmp_path: Path, permits: list[str]
) -> None:
    identity = Ssh(extensions=permits).identity(site_pki, tmp_path / "odd")
    async with ssh_connection(site, identity) as connection:
        if "permit-port-forwarding" in permits:
            await ask(await connection.open_connection("localhost", 502), READ, READ_REPLY)
            assert "port forwarding" not in "".join(site.trail())
            return
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("localhost", 502)
        await line_with(site, "event=refused", "the certificate does not permit port forwarding")
    assert "event=session" not in "".join(site.trail())
    await check_serves(site)


async def test_a_session_ends_with_its_certificate(site: Site, site_pki: Pki, tmp_path: Path) -> None:
    identity = Ssh(ends=3, name="short").identity(site_pki, tmp_path / "odd")
    async with ssh_connection(site, identity) as connection:
        stream = await connection.open_connection("localhost", 502)
        await ask(stream, READ, READ_REPLY)
        assert await stream[0].read() == b""
        assert "/17/short " in await line_with(site, "event=session", "state=expired", "door=ssh")
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("localhost", 502)
        await line_with(site, "event=refused", "a channel after the certificate has expired")
        # nor does the connection outlive its certificate for long
        await connection.wait_closed()
    with pytest.raises(asyncssh.PermissionDenied):
        async with ssh_connection(site, identity):
            pass
    await line_with(site, "event=refused", "the certificate has expired")
    await check_serves(site)


async def test_a_viewer_is_a_viewer_through_a_channel(site: Site) -> None:
    async with ssh_connection(site, site.pki.client("viewer"), "viewer") as connection:
        stream = await connection.open_connection("localhost", 502)
        await ask(stream, READ, READ_REPLY)
        await ask(stream, WRITE, WRITE_REFUSED)
