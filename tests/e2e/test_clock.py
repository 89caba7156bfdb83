"""A clock that is wrong is said to be, by server and client; the doors wait for it, and open without a restart."""

from __future__ import annotations

import getpass
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from support.api import wait_until
from support.asking import READ, READ_REPLY, ask
from support.box import Box, fieldgate, running_box, running_file
from support.faked_time import FakedTime
from support.mint import Ssh, Tls, issuing_ca
from support.operating import OPERATOR, command, extra_settings, operated, prepare
from support.site import Pki, write_files

TOOLS = ("faketime",)
DAY = 86400
BEFORE = {"1970": "@1970-01-01 00:10:00", "two days back": "-2d"}
WRONG = "the clock looks wrong: it says "


def wait_log(box: Box, *parts: str) -> str:
    found: list[str] = []

    def there() -> bool:
        found[:] = [line for line in box.log().splitlines() if all(part in line for part in parts)]
        return bool(found)

    wait_until(there)
    return found[0]


def read_by(box: Box, door: str) -> subprocess.CompletedProcess[str]:
    """Read by our client, whose own clock is right."""
    return fieldgate("client", "read", *box.where(door))


def status(box: Box) -> dict[str, dict[str, object]]:
    done = fieldgate("server", "status", "--control", str(box.folder / "control"), "--json")
    found: dict[str, dict[str, object]] = json.loads(done.stdout)
    return found


def wait_line(box: Box, *parts: str) -> None:
    """Wait for a line of the trail."""
    wait_until(lambda: any(all(part in line for part in parts) for line in box.audit_lines()))


@pytest.mark.parametrize("when", BEFORE)
def test_a_server_waits_for_a_clock_that_is_behind_and_says_so(site_pki: Pki, tmp_path: Path, when: str) -> None:
    prepare(tmp_path)
    clock = FakedTime(tmp_path, BEFORE[when])
    with running_box(
        site_pki, tmp_path, grants={"operator": OPERATOR}, extra=extra_settings(), **clock.environment
    ) as box:
        said = wait_log(box, WRONG, "must be after", "let nobody in until it is set")
        assert ("1970-01-01" in said) is (when == "1970")
        for door in ("tls", "ssh"):
            assert read_by(box, door).returncode == 3
            wait_line(box, "event=refused", f"door={door}", WRONG)
        assert "expired" not in box.log()
        assert "expired" not in "".join(box.audit_lines())
        assert str(status(box)["clock"]["wrong"]).startswith(WRONG)
        text = fieldgate("server", "status", "--control", str(box.folder / "control")).stdout
        assert WRONG in text
        # loopback shows no certificate
        assert read_by(box, "modbus").returncode == 0
        clock.set("+0d")
        wait_log(box, "the clock is plausible again")
        for door in ("tls", "ssh"):
            assert read_by(box, door).returncode == 0, box.log()
        assert status(box)["clock"]["wrong"] is None
        assert len([line for line in box.log().splitlines() if WRONG in line]) == 1


def test_a_server_whose_clock_runs_ahead_says_what_it_says_and_recovers(site_pki: Pki, tmp_path: Path) -> None:
    prepare(tmp_path)
    clock = FakedTime(tmp_path, "+400d")
    file = write_files(
        site_pki, tmp_path, user=getpass.getuser(), grants={"operator": OPERATOR}, units="", extra=extra_settings()
    )
    done = fieldgate("server", "run", "--config", str(file), **clock.environment)
    year = time.gmtime(time.time() + 400 * DAY).tm_year
    assert done.returncode == 2
    assert "tls-chain.pem: the certificate expired on" in done.stderr
    assert f"and the clock says {year}-" in done.stderr
    assert "is that right?" in done.stderr
    clock.set("+0d")
    with running_file(site_pki, tmp_path, file, **clock.environment) as box:
        assert read_by(box, "tls").returncode == 0
        clock.set("+400d")
        assert read_by(box, "tls").returncode == 3
        wait_line(box, "certificate has expired", f"the clock says {year}-")
        assert read_by(box, "ssh").returncode == 3
        wait_line(box, "door=ssh", "has expired", f"the clock says {year}-")
        clock.set("+0d")
        # nothing that it has seen meanwhile keeps it from opening again, now or at its next start
        assert read_by(box, "tls").returncode == 0
        assert box.stop() == 0
    with running_file(site_pki, tmp_path, file, **clock.environment) as box:
        assert read_by(box, "tls").returncode == 0
        assert read_by(box, "ssh").returncode == 0
        assert WRONG not in box.log()


CLIENTS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "1970": ("@1970-01-01 00:10:00", lambda said: f"{WRONG}1970-01-01" in said and "expired" not in said),
    "two days back": ("-2d", lambda said: WRONG in said and "expired" not in said),
    "400 days ahead": ("+400d", lambda said: "expired on" in said and "and the clock says" in said),
}


@pytest.mark.parametrize("door", ["tls", "ssh"])
@pytest.mark.parametrize("when", CLIENTS)
def test_a_client_says_what_is_wrong_with_its_clock(box: Box, tmp_path: Path, door: str, when: str) -> None:
    says, right = CLIENTS[when]
    clock = FakedTime(tmp_path, says)
    done = fieldgate("client", "read", *box.where(door), **clock.environment)
    assert done.returncode == 2
    assert right(done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    clock.set("+0d")
    done = fieldgate("client", "read", *box.where(door), **clock.environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("door", "told"), [("tls", "certificate has expired"), ("ssh", "its host certificate has expired")]
)
def test_a_client_that_finds_the_servers_certificate_expired_says_what_its_clock_says(
    box: Box, tmp_path: Path, door: str, told: str
) -> None:
    minted = Tls(issuing_ca(box.pki), ends=800 * DAY) if door == "tls" else Ssh(ends=800 * DAY)
    mine = minted.identity(box.pki, tmp_path / "mine")
    clock = FakedTime(tmp_path, "+400d")
    done = fieldgate("client", "read", box.url(door), "--identity", str(mine), **clock.environment)
    assert done.returncode == 3
    year = time.gmtime(time.time() + 400 * DAY).tm_year
    assert told in done.stderr
    assert f"the clock says {year}-" in done.stderr


async def test_a_saved_time_keeps_the_doors_shut_that_a_certificate_would_open(site_pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state/clock").write_text(f"{time.time() + 30 * DAY:.0f}\n")
    async with operated(site_pki, tmp_path) as site:
        assert "time saved in" in str((await command(site, "status"))["clock"]["wrong"])
        async with site.stream("modbus") as stream:
            await ask(stream, READ, READ_REPLY)
        for door in ("tls", "ssh"):
            with pytest.raises((OSError, EOFError, asyncssh.Error)):
                async with site.stream(door) as stream:
                    await ask(stream, READ, READ_REPLY)
        assert len([line for line in site.trail() if WRONG in line]) >= 2


async def test_a_certificate_that_begins_later_is_refused_by_a_reload_whose_clock_is_right(
    site_pki: Pki, tmp_path: Path
) -> None:
    later = Tls(
        issuing_ca(site_pki),
        (),
        starts=DAY,
        ends=9 * DAY,
        purpose=ExtendedKeyUsageOID.SERVER_AUTH,
        hosts=("localhost",),
    ).identity(site_pki, tmp_path / "later")
    (later / "tls-client-ca.pem").write_bytes((site_pki.server / "tls-client-ca.pem").read_bytes())
    async with operated(site_pki, tmp_path) as site:
        file = tmp_path / "server.toml"
        head, tls, rest = file.read_text().partition("[tls]")
        file.write_text(head + tls + rest.replace(str(site_pki.server), str(later), 1))
        answer = await command(site, "reload")
        assert answer["ok"] is False
        assert "its certificate begins" in answer["error"]
        for door in ("tls", "ssh"):
            async with site.stream(door) as stream:
                await ask(stream, READ, READ_REPLY)
