"""Asks a running site through a door with our own client, and says in one word what came of it."""

from __future__ import annotations

from pathlib import Path

from fieldgate_client import connect
from fieldgate_core.errors import ExceptionReplyError, FieldgateError
from support.site import Site

SERVED = "served"


async def outcome(site: Site, door: str, identity: Path) -> str:
    """Read one register as an identity: SERVED, "refused" by the guard, or the name of the error and its text."""
    try:
        async with connect(f"modbus+{door}://localhost:{site.app.ports[door]}", identity=identity) as client:
            await client.read_holding(0)
            return SERVED
    except ExceptionReplyError:
        return "refused"
    except FieldgateError as error:
        return f"{type(error).__name__}: {error}"


async def outcomes(site: Site, identity: Path) -> set[str]:
    """Ask through both doors; of errors only their names."""
    return {(await outcome(site, door, identity)).split(":")[0] for door in ("tls", "ssh")}
