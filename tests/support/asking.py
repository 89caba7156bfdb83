"""Requests as bytes with the replies they get, the ways to a site's doors, and waiting for a line of its trail."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh

from support.site import Site

READ = bytes.fromhex("000100000006010300000001")
"""Read holding register 0 of unit 1; the site's tables hold 17 everywhere."""
READ_REPLY = bytes.fromhex("0001000000050103020011")
READ_REFUSED = bytes.fromhex("000100000003018301")
WRITE = bytes.fromhex("000200000006010600000100")
"""Write 256 to holding register 0 of unit 1; the reply is the request."""
WRITE_REFUSED = bytes.fromhex("000200000003018601")

DENIED = "Permission denied (publickey)"
"""What a stock ssh says that has no way in; it names the ways that the server offers."""
NOT_VALID = "not valid: the signature, or the certificate's signature, dates or addresses"

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter] | tuple[asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]]


async def ask(stream: Stream, request: bytes, reply: bytes) -> None:
    """Send a request, and check that this is the reply."""
    reader, writer = stream
    writer.write(request)
    assert await reader.readexactly(len(reply)) == reply


async def check_serves(site: Site) -> None:
    """Check that an honest viewer is served through both doors."""
    for door in ("tls", "ssh"):
        async with site.stream(door, "viewer") as stream:
            await ask(stream, READ, READ_REPLY)


async def line_with(site: Site, *parts: str) -> str:
    """Wait for the line of the trail that holds all these parts, and give it. Raises TimeoutError if none comes."""
    async with asyncio.timeout(10):
        while True:
            for line in site.trail():
                if all(part in line for part in parts):
                    return line
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def tls_stream(
    site: Site, identity: Path, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, source: str = "127.0.0.1"
) -> AsyncIterator[Stream]:
    """Open the TLS door with the certificate of an identity folder, from an address of this machine."""
    context = ssl.create_default_context(cafile=str(identity / "tls-server-ca.pem"))
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(identity / "tls-chain.pem", identity / "tls-key.pem")
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", site.app.ports["tls"], ssl=context, local_addr=(source, 0)
    )
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def ssh_connection(
    site: Site, identity: Path, login: str = "operator", *, source: str = "127.0.0.1"
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Open the SSH door with the certificate of an identity folder, from an address of this machine."""
    async with asyncssh.connect(
        "127.0.0.1",
        site.app.ports["ssh"],
        username=login,
        client_keys=[(str(identity / "ssh-key"), str(identity / "ssh-key-cert.pub"))],
        known_hosts=str(identity / "known_hosts"),
        agent_path=None,
        config=None,
        local_addr=(source, 0),
    ) as connection:
        yield connection


def stock_options(identity: Path) -> list[str]:
    """Give the options of ssh and sftp that name an identity folder and keep everything else out."""
    settings = {
        "IdentityFile": identity / "ssh-key",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": identity / "known_hosts",
        "GlobalKnownHostsFile": "/dev/null",
        "BatchMode": "yes",
        "ExitOnForwardFailure": "yes",
    }
    return ["-F", "none", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]


def stock_ssh(site: Site, identity: Path, login: str, *arguments: str) -> list[str]:
    """Give the arguments of a stock ssh that knows this identity folder and nothing else."""
    return [*stock_options(identity), "-p", str(site.app.ports["ssh"]), "-l", login, *arguments]


def read_by_ssh(site: Site, identity: Path, login: str = "operator") -> list[str]:
    """Give the arguments of a stock ssh that opens a channel to the Modbus port and ends with its input."""
    return stock_ssh(site, identity, login, "-W", "localhost:502", "127.0.0.1")
