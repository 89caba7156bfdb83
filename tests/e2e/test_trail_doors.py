"""The trail of a whole server: a hung or full disk refuses writes and serves reads; a power cut loses no outcome."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fieldgate_core import settings
from fieldgate_server.app import App
from fieldgate_server.settings import Settings
from fieldgate_server.trail_settings import AuditSettings
from support.asking import READ, READ_REFUSED, READ_REPLY, WRITE, ask
from support.hung import hung
from support.site import TABLES_OF_THE_VECTORS, Pki, Site, write_files

DEADLINE = 0.5
READ_AFTER_WRITE = bytes.fromhex("0001000000050103020100")
NOT_WRITTEN = bytes.fromhex("000200000003018604")


@contextlib.asynccontextmanager
async def site_with(pki: Pki, folder: Path, trail: AuditSettings) -> AsyncIterator[Site]:
    """Run a server with these settings of the trail."""
    file = write_files(pki, folder, user="root", grants=None, units=TABLES_OF_THE_VECTORS, extra="")
    app = App(dataclasses.replace(settings.load(file, Settings), audit=trail))
    async with app.running():
        yield Site(app, pki, folder)


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """Mount a file system of 32 kB."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "none", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


async def test_a_hung_disk_refuses_writes_and_serves_reads(site_pki: Pki, tmp_path: Path) -> None:
    trail = tmp_path / "audit.log"
    with hung(trail) as pipe:
        async with (
            site_with(site_pki, tmp_path, AuditSettings(trail, deadline=DEADLINE)) as site,
            site.stream("tls") as writing,
            site.stream("tls") as reading,
        ):
            await ask(reading, READ, READ_REPLY)
            pipe.fill()
            writing[1].write(WRITE + READ)
            for _ in range(20):
                await ask(reading, READ, READ_REPLY)
            # the write is refused when its deadline has passed, and what was asked behind it comes behind it
            assert await writing[0].readexactly(len(NOT_WRITTEN)) == NOT_WRITTEN
            assert await writing[0].readexactly(len(READ_REPLY)) == READ_REPLY
            await ask(writing, WRITE, NOT_WRITTEN)
            async with site.stream("tls", "viewer") as late:
                await ask(late, READ, READ_REPLY)
            taken = await pipe.read_until("state=recovered")
            assert taken.count("outcome=intent") == 1, "the second was refused at once"
            await ask(writing, WRITE, WRITE)
            await ask(reading, READ, READ_AFTER_WRITE)
            draining = asyncio.create_task(pipe.read_until("state=stopping"))
            await asyncio.sleep(0)
        await draining


async def test_a_hung_disk_lets_writes_go_on_where_that_is_asked(site_pki: Pki, tmp_path: Path) -> None:
    trail = tmp_path / "audit.log"
    policy = AuditSettings(trail, deadline=DEADLINE, on_failure="go-on")
    with hung(trail) as pipe:
        async with site_with(site_pki, tmp_path, policy) as site, site.stream("tls") as stream:
            pipe.fill()
            await ask(stream, WRITE, WRITE)
            await ask(stream, READ, READ_AFTER_WRITE)
            await pipe.read_until("state=recovered")
            draining = asyncio.create_task(pipe.read_until("state=stopping"))
            await asyncio.sleep(0)
        await draining


@pytest.mark.parametrize(("on_failure", "reply"), [("refuse-writes", NOT_WRITTEN), ("go-on", WRITE)])
async def test_a_full_disk_under_both_policies(site_pki: Pki, tmp_path: Path, on_failure: str, reply: bytes) -> None:
    trail = AuditSettings(Path("/dev/full"), on_failure=on_failure)
    async with site_with(site_pki, tmp_path, trail) as site, site.stream("tls") as stream:
        await ask(stream, WRITE, reply)
        await ask(stream, READ, READ_REPLY if reply == NOT_WRITTEN else READ_AFTER_WRITE)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
async def test_a_disk_that_fills_up_acknowledges_no_write_without_its_outcome(site_pki: Pki, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        trail = disk / "audit.log"
        async with site_with(site_pki, tmp_path, AuditSettings(trail)) as site, site.stream("tls") as (reader, writer):
            done = 0
            while True:
                writer.write(WRITE)
                head = await reader.readexactly(9)
                if head[7] & 0x80:
                    break
                await reader.readexactly(3)
                done += 1
            await ask((reader, writer), READ, READ_AFTER_WRITE)
            assert done > 10
            whole = [line for line in trail.read_text().split("\n")[:-1] if line.endswith("new=0100")]
            # the last one may have run, and was not acknowledged
            assert sum("outcome=done" in line for line in whole) in {done, done + 1}
            assert sum("outcome=intent" in line for line in whole) >= done


async def test_power_durability_answers_in_order_with_both_lines_flushed(site_pki: Pki, tmp_path: Path) -> None:
    trail = AuditSettings(tmp_path / "audit.log", durability="power")
    async with site_with(site_pki, tmp_path, trail) as site, site.stream("tls") as (reader, writer):
        for number in range(20):
            request = bytes.fromhex(f"{number:04x}000000060106000000{number:02x}")
            writer.write(request + bytes.fromhex(f"{100 + number:04x}00000006010300000001"))
            assert await reader.readexactly(12) == request
            assert await reader.readexactly(11) == bytes.fromhex(f"{100 + number:04x}00000005010302{number:04x}")
            assert 'outcome=done unit=1 function=6 range="holding 0" grant=operator[0] old=' in site.trail()[-1]
        requests = [bytes.fromhex(f"{number:04x}000000060106000000{number:02x}") for number in range(100)]
        writer.write(b"".join(requests))
        assert await reader.readexactly(1200) == b"".join(requests)
        lines = [line for line in site.trail() if "event=write" in line]
        assert ["outcome=intent" in line for line in lines] == [True, False] * 120


async def test_a_refused_peer_that_hammers_adds_few_lines(site_pki: Pki, tmp_path: Path) -> None:
    """Whatever it varies: registers, functions, units, values, and its port by coming again."""
    async with site_with(site_pki, tmp_path, AuditSettings(tmp_path / "audit.log")) as site:
        for visit in range(20):
            async with site.stream("tls", "stranger") as (reader, writer):
                requests = [
                    bytes.fromhex(f"{n:04x}0000000601{(n + visit) % 120 + 1:02x}{n:04x}{visit:04x}") for n in range(200)
                ]
                writer.write(b"".join(requests))
                assert len(await reader.readexactly(9 * 200)) == 1800
        refusals = [line for line in site.trail() if "event=refused" in line]
        assert len(refusals) <= 30
        async with site.stream("modbus") as stream:
            await ask(stream, WRITE, WRITE)
        assert sum("event=write" in line for line in site.trail()) == 2, "what is granted is never counted away"
    lines = site.trail()
    counted = sum(int(line.rpartition("repeated=")[2]) for line in lines if "repeated=" in line)
    singly = sum("event=refused" in line and "repeated=" not in line for line in lines)
    assert counted + singly == 4000
    assert len(lines) < 200


async def test_peers_that_fail_to_authenticate_add_few_lines(site_pki: Pki, tmp_path: Path) -> None:
    async with site_with(site_pki, tmp_path, AuditSettings(tmp_path / "audit.log")) as site:
        for _ in range(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", site.app.ports["tls"])
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()
        async with site.stream("tls", "stranger") as stream:
            await ask(stream, READ, READ_REFUSED)
            assert "event=refused identity=" in site.trail()[-1], "others are still named at once"
    refusals = [line for line in site.trail() if "event=refused door=tls" in line]
    assert len(refusals) <= 12
    assert sum("repeated=" not in line for line in refusals) >= 1
    assert sum(int(line.rpartition("repeated=")[2]) if "repeated=" in line else 1 for line in refusals) == 60
