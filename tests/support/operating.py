"""A server that an operator can reach: its control socket, its lock's folder, and its files to be changed."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

from fieldgate_core import settings
from fieldgate_server.app import App
from fieldgate_server.settings import Settings
from support.site import ALL_RIGHTS, TABLES_OF_THE_VECTORS, Pki, Site, policy_text, write_files

MANAGE = '{ manage = ["status", "reload", "lock", "kick", "stop"] }'
OPERATOR = f"{ALL_RIGHTS[:-1]}, {MANAGE}]"
"""The grants of who may do everything, with the server itself too."""
READER = f'[{{ units = "all", read = "all" }}, {MANAGE}]'


def extra_settings(control: str = "control") -> str:
    """Give the settings that an operator needs."""
    return f'control = "{control}"\nstate = "state"\nrevoked = "revoked"\n'


def prepare(folder: Path) -> None:
    """Make what these settings name."""
    (folder / "state").mkdir(mode=0o700, exist_ok=True)
    (folder / "revoked").touch()


@contextlib.asynccontextmanager
async def operated(
    pki: Pki, folder: Path, *, operator: str = OPERATOR, extra: str = "", control: str = "control"
) -> AsyncIterator[Site]:
    """Run a site with a control socket, where the tests' user has role operator with these grants."""
    prepare(folder)
    user = getpass.getuser()
    extra = extra_settings(control) + extra
    units = TABLES_OF_THE_VECTORS
    file = write_files(pki, folder, user=user, grants={"operator": operator}, units=units, extra=extra)
    load = partial(settings.load, file, Settings)
    async with App(load(), load=load).running() as app:
        yield Site(app, pki, folder)


def rewrite_policy(site: Site, *, more: str = "", **grants: str) -> None:
    """Write the policy anew, with these grants by role."""
    text = policy_text(site.pki, getpass.getuser(), {"operator": OPERATOR} | grants)
    (site.folder / "policy.toml").write_text(text + more)


async def load_crl(site: Site, lists: bytes) -> None:
    """Have a running site's TLS door go by these CRLs (PEM)."""
    (site.folder / "list.crl").write_bytes(lists)
    file = site.folder / "server.toml"
    change(file, "[tls]\n", '[tls]\ncrl = "list.crl"\n')
    site.app._load = partial(settings.load, file, Settings)
    await site.app.reload()


def change(file: Path, old: str, new: str) -> None:
    """Change a text file in one place."""
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


async def command(site: Site, word: str, **more: str) -> dict[str, Any]:
    """Give a command as the tests' user, and its answer."""
    reader, writer = await asyncio.open_unix_connection(site.folder / "control", limit=1 << 24)
    writer.write(json.dumps({"command": word, **more}).encode() + b"\n")
    answer = json.loads(await reader.readline())
    writer.close()
    await writer.wait_closed()
    assert isinstance(answer, dict)
    return answer


_AS_ANOTHER = """
import os, socket, sys
uid, gid, path, line = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
os.setgroups([]); os.setgid(gid); os.setuid(uid)
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(path)
    connection.sendall(line.encode() + b"\\n")
    sys.stdout.write(connection.makefile().readline())
"""


async def command_as(uid: int, gid: int, path: Path, word: str) -> dict[str, Any]:
    """Give a command as another local user, which only root can. Raises PermissionError if that may not connect."""
    line = json.dumps({"command": word})
    done = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _AS_ANOTHER, str(uid), str(gid), str(path), line),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await done.communicate()
    if b"PermissionError" in err:
        raise PermissionError(str(path))
    answer = json.loads(out)
    assert isinstance(answer, dict)
    return answer


def trail_of(site: Site, *parts: str) -> list[str]:
    """Give the lines of the trail that hold all these parts."""
    return [line for line in site.trail() if all(part in line for part in parts)]
