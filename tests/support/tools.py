"""Stock tools as peers: run them as subprocesses; a tool that is missing skips a test, and fails it under CI."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

DEADLINE = 30.0
"""Seconds after which a tool hangs; no test waits for it otherwise."""
_PACKAGES = {
    "ssh": "openssh-client",
    "sftp": "openssh-client",
    "ssh-keygen": "openssh-client",
    "ssh-agent": "openssh-client",
    "ssh-add": "openssh-client",
    "sshd": "openssh-server",
    "prlimit": "util-linux",
    "ip": "iproute2",
    "ss": "iproute2",
    "nft": "nftables",
    "node": "nodejs",
    "useradd": "passwd",
    "userdel": "passwd",
    "groupadd": "passwd",
    "groupdel": "passwd",
    "gnutls-cli": "gnutls-bin",
}
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C"}


class Finished(NamedTuple):
    """What a tool ended with."""

    code: int
    out: str
    err: str


def tool(name: str) -> str:
    """Give the path of a tool."""
    path = shutil.which(name)
    if path is None:
        reason = f"{name} is not installed (Debian package {_PACKAGES.get(name, name)})"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


async def run(name: str, *arguments: str, **environment: str) -> Finished:
    """Run a tool to its end, with nothing to read."""
    process = await asyncio.create_subprocess_exec(
        tool(name), *arguments, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=ENVIRONMENT | environment
    )
    try:
        async with asyncio.timeout(DEADLINE):
            out, err = await process.communicate()
    except BaseException:
        await _end(process)
        raise
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


@contextlib.asynccontextmanager
async def running(name: str, *arguments: str) -> AsyncIterator[Process]:
    """Run a tool with pipes at all three ends, and end it with the block."""
    process = await asyncio.create_subprocess_exec(
        tool(name), *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=ENVIRONMENT
    )
    try:
        async with asyncio.timeout(DEADLINE):
            yield process
    finally:
        await _end(process)


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    # reads both pipes to their end, so that none is left open
    await process.communicate()
