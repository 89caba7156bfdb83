"""A whole server inside the test's own event loop, and raw byte streams to it through each door."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from fieldgate_core import settings
from fieldgate_server.app import App
from fieldgate_server.settings import Settings
from fieldgate_tunnel.limits import Limits

DOORS = ("modbus", "tls", "ssh")


@dataclass(frozen=True)
class Pki:
    """What `fieldgate certs` made: a server, and a client for each role."""

    folder: Path
    issuers: tuple[str, ...]

    @property
    def server(self) -> Path:
        return self.folder / "issued/server/box/current"

    def client(self, name: str) -> Path:
        return self.folder / f"issued/client/{name}/current"


@dataclass(frozen=True)
class Elsewhere(Pki):
    """A PKI whose server has its identity elsewhere."""

    at: Path = field(default=Path())

    @property
    def server(self) -> Path:
        return self.at


def make_pki(folder: Path, name: str = "test") -> Pki:
    """Make a PKI by the real commands' own functions."""
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    from fieldgate_certs.cli import main
    from fieldgate_tunnel.ssh_keys import fingerprint

    at = str(folder)
    assert main(["init", at, "--name", name]) == 0
    assert main(["issue", "server", "box", "--dns", "localhost", "--ip", "127.0.0.1", "--dir", at]) == 0
    for role in ("operator", "viewer", "stranger"):
        assert main(["issue", "client", role, "--role", role, "--dir", at]) == 0
    ca: Any = load_ssh_public_key((folder / "ssh/user-ca.pub").read_bytes())
    return Pki(folder, (f"x509:CN={name}-issuing-1", f"ssh-ca:{fingerprint(ca)}"))


ALL_RIGHTS = '[{ units = "all", read = "all", write = "all" }]'


def policy_text(pki: Pki, user: str, grants: dict[str, str] | None = None) -> str:
    """Write a policy: roles operator (all rights unless told otherwise) and viewer (reads unit 1)."""
    roles = {"operator": ALL_RIGHTS, "viewer": '[{ units = "1", read = "all" }]'} | (grants or {})
    issuers = ", ".join(f'"{issuer}"' for issuer in pki.issuers)
    text = "".join(f"[role.{role}]\nissuers = [{issuers}]\ngrants = {grant}\n" for role, grant in roles.items())
    return f'{text}[identity]\n"unix:{user}" = "operator"\n"unix:daemon" = "viewer"\n'


TABLES_OF_THE_VECTORS = """[[unit]]
id = 1
coils = { initial = 1 }
discrete = { initial = 1 }
holding = { initial = 17 }
input = { initial = 17 }
"""


@dataclass
class Site:
    """A running server: its ports by door, its policy file and its trail."""

    app: App
    pki: Pki
    folder: Path

    def trail(self) -> list[str]:
        """The trail's lines so far."""
        return (self.folder / "audit.log").read_text().splitlines()

    @contextlib.asynccontextmanager
    async def stream(self, door: str, role: str = "operator") -> AsyncIterator[tuple[Any, Any]]:
        """Give a raw byte stream (reader, writer) through a door, by a client that shares no code with ours."""
        identity = self.pki.client(role)
        if door == "ssh":
            async with asyncssh.connect(
                "127.0.0.1",
                self.app.ports["ssh"],
                username=role,
                client_keys=[(str(identity / "ssh-key"), str(identity / "ssh-key-cert.pub"))],
                known_hosts=str(identity / "known_hosts"),
                agent_path=None,
                config=None,
            ) as connection:
                reader, writer = await connection.open_connection("localhost", 502)
                yield reader, writer
                writer.close()
            return
        context = None
        if door == "tls":
            context = ssl.create_default_context(cafile=str(identity / "tls-server-ca.pem"))
            context.load_cert_chain(identity / "tls-chain.pem", identity / "tls-key.pem")
        streams = await asyncio.open_connection("127.0.0.1", self.app.ports[door], ssl=context)
        try:
            yield streams
        finally:
            streams[1].close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await streams[1].wait_closed()


def write_files(  # noqa: PLR0913
    pki: Pki, folder: Path, *, user: str, grants: dict[str, str] | None, units: str, extra: str
) -> Path:
    """Write policy and settings of a server with its three doors on free ports; gives the settings file."""
    (folder / "policy.toml").write_text(policy_text(pki, user, grants))
    file = folder / "server.toml"
    file.write_text(
        f'policy = "policy.toml"\naudit = "audit.log"\n{extra}\n[listen]\nport = 0\n'
        f'[tls]\nhost = "127.0.0.1"\nport = 0\nidentity = "{pki.server}"\n'
        f'[ssh]\nhost = "127.0.0.1"\nport = 0\nidentity = "{pki.server}"\n{units}'
    )
    return file


@contextlib.asynccontextmanager
async def running_site(  # noqa: PLR0913
    pki: Pki,
    folder: Path,
    *,
    user: str = "root",
    grants: dict[str, str] | None = None,
    units: str = TABLES_OF_THE_VECTORS,
    limits: Limits | None = None,
    extra: str = "",
) -> AsyncIterator[Site]:
    """Run a server with its three doors on free ports until the block ends."""
    file = write_files(pki, folder, user=user, grants=grants, units=units, extra=extra)
    app = App(settings.load(file, Settings), limits=limits)
    async with app.running():
        yield Site(app, pki, folder)
