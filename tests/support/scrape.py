"""Reading the metrics as Prometheus does: one scrape over HTTP, through its own parser."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from fieldgate_tunnel.limits import Limits
from support.site import TABLES_OF_THE_VECTORS, Pki, Site, running_site

DAEMON = 1
"""The uid of the user `daemon`, who is on every Linux."""
GET = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]
"""Values by the name of the sample and its labels, sorted."""


async def talk(port: int, sent: bytes, *, end: bool = False) -> bytes:
    """Send bytes to the metrics' port, and give all that it answers until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        writer.write(sent)
        if end:
            writer.write_eof()
        await writer.drain()
    said = bytearray()
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            said += data
    writer.close()
    return bytes(said)


async def get_as(uid: int, port: int) -> bytes:
    """Scrape as another user."""
    script = (
        "import os, socket, sys\n"
        f"os.setgroups([]); os.setgid({uid}); os.setuid({uid})\n"
        f"client = socket.socket()\nclient.connect(('127.0.0.1', {port}))\n"
        f"client.sendall({GET!r})\n"
        "while data := client.recv(65536): sys.stdout.buffer.write(data)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", script, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    return said


async def scrape(site: Site) -> Samples:
    """Scrape, and parse."""
    head, _, body = (await talk(site.app.ports["metrics"], GET)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
    return parsed(body.decode())


def parsed(text: str) -> Samples:
    """Parse the text of a scrape; no series stands in it twice."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series = found.setdefault(sample.name, {})
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in series, f"{sample.name}{labels} stands there twice"
            series[labels] = sample.value
    return found


def value(samples: Samples, name: str, /, **labels: str) -> float:
    """Give one value."""
    return samples[name][tuple(sorted(labels.items()))]


async def scrape_until(site: Site, wanted: Callable[[Samples], bool]) -> Samples:
    """Scrape until it is as wanted: a session's end is seen a moment later. Raises TimeoutError."""
    async with asyncio.timeout(20):
        while not wanted(found := await scrape(site)):
            await asyncio.sleep(0.05)
        return found


@contextlib.asynccontextmanager
async def metered_site(
    pki: Pki, folder: Path, *, metrics: str = "", extra: str = "", user: str = "root", limits: Limits | None = None
) -> AsyncIterator[Site]:
    """Run a site that serves metrics on a free port; `metrics` are more lines of its section, `extra` of the file."""
    units = f"[metrics]\nport = 0\n{metrics}\n{TABLES_OF_THE_VECTORS}"
    async with running_site(pki, folder, user=user, units=units, extra=extra, limits=limits) as site:
        yield site
