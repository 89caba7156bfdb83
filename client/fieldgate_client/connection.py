"""`async with connect(url)`: opens the tunnel to a site, and gives the site at its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fieldgate_client import points_file
from fieldgate_client.cells import DEFAULT_UNIT
from fieldgate_client.client import SiteClient
from fieldgate_client.line import Line
from fieldgate_client.site import named
from fieldgate_core.sites import ListedSite
from fieldgate_core.trace import Tracer
from fieldgate_core.url import SiteUrl
from fieldgate_tunnel.dialers import open_tunnel

OPEN_DEADLINE = 15.0
"""Seconds for name, route, handshake and login together."""
REPLY_DEADLINE = 3.0
"""Seconds for one reply."""
IN_FLIGHT = 16
"""Requests on the way at the same time."""


@asynccontextmanager
async def connect(  # noqa: PLR0913
    url: str | SiteUrl,
    *,
    identity: Path | None = None,
    open_deadline: float = OPEN_DEADLINE,
    reply_deadline: float = REPLY_DEADLINE,
    in_flight: int = IN_FLIGHT,
    trace: Callable[[str], None] | None = None,
) -> AsyncIterator[SiteClient]:
    """Open the tunnel to a site, by its URL or its name in the user's site list; deadlines in seconds.

    `identity` is a folder as `fieldgate certs issue client` makes it; `in_flight` is how many requests are on the way
    at the same time, 1 for a device that takes one after the other; `trace` is called with the text of each frame, a
    request's just before it is sent, and must not raise. Raises ConfigError, UnreachableError, NotTrustedError,
    RejectedError or DeadlineError; with TLS 1.3 the server's no to our certificate comes with the first reply.
    """
    if in_flight < 1:
        raise ValueError(f"at least 1 request is in flight, not {in_flight}")
    listed = named(url) if isinstance(url, str) else ListedSite(str(url))
    points = points_file.load(listed.points) if listed.points else ()
    site = url if isinstance(url, SiteUrl) else listed.address
    line = Line(site, in_flight=in_flight, tracer=Tracer(trace) if trace else None)
    tunnel = await open_tunnel(site, line, identity=identity or listed.identity, deadline=open_deadline)
    try:
        yield SiteClient(line, reply_deadline, unit=DEFAULT_UNIT if listed.unit is None else listed.unit, points=points)
    finally:
        line.end(None)
        await tunnel.close()
