"""A throw-away site in one folder: PKI, settings, policy and a running server, all by the real commands."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from fieldgate_client.steps import WrongError

FIELDGATE = (sys.executable, "-m", "fieldgate_core.cli")
COMMAND_DEADLINE = 30.0
"""Seconds for one command, on a machine that is busy with other things."""
STOP_DEADLINE = 10.0
"""Seconds that the server has to stop by itself."""
INPUTS = (230, 231, 50)
"""Values of the first input registers."""
SERVER = "pki/issued/server/box/current"
OPERATOR = "pki/issued/client/ana/current"
VIEWER = "pki/issued/client/vic/current"
STRANGER = "stranger"
MISLED = "misled"
AUDIT = "audit.log"
LOG = "server.log"

_SETTINGS = f"""\
policy = "policy.toml"
audit = "{AUDIT}"
[listen]
port = 0
[tls]
host = "127.0.0.1"
port = 0
identity = "{SERVER}"
[ssh]
host = "127.0.0.1"
port = 0
identity = "{SERVER}"
[[unit]]
id = 1
input = {{ initial = {list(INPUTS)} }}
"""


class Ran(NamedTuple):
    """A command that ended: what was asked, its exit code and what it wrote."""

    args: tuple[str, ...]
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        wrote = "".join(f"\n{line}" for line in (self.out + self.err).splitlines())
        return f"$ fieldgate {' '.join(self.args)}{wrote}\nexit code {self.code}"


class Server(NamedTuple):
    """A running server: its process, and its port by door (modbus, tls, ssh)."""

    process: asyncio.subprocess.Process
    ports: dict[str, int]


async def fieldgate(folder: Path, *args: str) -> Ran:
    """Run a fieldgate command in a folder, as a process of its own. Raises WrongError if it does not end."""
    process = await asyncio.create_subprocess_exec(
        *FIELDGATE,
        *args,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the demo alone, which ends its commands itself
    )
    try:
        async with asyncio.timeout(COMMAND_DEADLINE):
            out, err = await process.communicate()
    except TimeoutError:
        raise WrongError(f"$ fieldgate {' '.join(args)}\ndid not end within {COMMAND_DEADLINE:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ran(args, process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))


async def done(folder: Path, *args: str) -> str:
    """Run a command that must end with 0, and give its stdout. Raises WrongError."""
    ran = await fieldgate(folder, *args)
    if ran.code != 0:
        raise WrongError(str(ran))
    return ran.out


def issuers(certs_init_output: str) -> list[str]:
    """Take the issuers that a policy names from what `fieldgate certs init` printed. Raises WrongError."""
    _, found, rest = certs_init_output.partition("issuers = [")
    try:
        return [str(issuer) for issuer in tomllib.loads(found + rest.partition("]")[0] + "]")["issuers"]]
    except (tomllib.TOMLDecodeError, KeyError):
        raise WrongError("`fieldgate certs init` printed no issuers") from None


def lasting_user() -> str | None:
    """Give the name by which a policy can know the current user; None if there is none."""
    uid = os.geteuid()
    # systemd's dynamic users and nobody: their numbers stand for several
    if uid in range(61184, 65535):
        return None
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def write_settings(folder: Path, issuers: list[str], user: str | None) -> None:
    """Write settings and policy: an operator who may do everything, a viewer who may read."""
    local = f'[identity]\n{json.dumps(f"unix:{user}")} = "operator"\n' if user else ""
    policy = f"""\
[role.operator]
issuers = {json.dumps(issuers)}
grants = [{{ units = "1", read = "all", write = "all" }}]
[role.viewer]
issuers = {json.dumps(issuers)}
grants = [{{ units = "1", read = "all" }}]
{local}"""
    (folder / "server.toml").write_text(_SETTINGS, encoding="utf-8")
    (folder / "policy.toml").write_text(policy, encoding="utf-8")


def mix_identities(folder: Path, other: str) -> None:
    """Make two wrong clients: a stranger who trusts our server, and one of ours who trusts the stranger's CA.

    `other` is the identity folder of a client of another PKI.
    """
    trust = ("known_hosts", "tls-server-ca.pem")
    for made, who, trusts in ((STRANGER, other, OPERATOR), (MISLED, OPERATOR, other)):
        shutil.copytree(folder / who, folder / made)
        for name in trust:
            shutil.copy(folder / trusts / name, folder / made / name)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Server]:
    """Run the server of a folder until the block ends. Raises WrongError if it does not start."""
    with (folder / LOG).open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *FIELDGATE,
            *("server", "run", "--config", "server.toml"),
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield Server(process, await _ports(process))
    finally:
        await _stop(process)


async def _ports(process: asyncio.subprocess.Process) -> dict[str, int]:
    ports: dict[str, int] = {}
    if process.stdout is None:
        raise RuntimeError("the server's stdout is a pipe")
    try:
        async with asyncio.timeout(COMMAND_DEADLINE):
            while line := (await process.stdout.readline()).decode().strip():
                if line == "ready":
                    return ports
                if line.startswith("listening: "):
                    _, door, address = line.split()
                    ports[door] = int(address.rpartition(":")[2])
    except TimeoutError:
        raise WrongError(f"the server was not ready within {COMMAND_DEADLINE:g} s") from None
    raise WrongError("the server ended before it was ready")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_DEADLINE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
