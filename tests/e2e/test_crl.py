"""CRLs: who is on one is closed and kept out, an expired one does what its rule says, a broken one changes nothing."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from fieldgate_client import connect
from fieldgate_core.errors import ConfigError, NotTrustedError
from fieldgate_server import app as app_module
from support.asking import READ, READ_REPLY, WRITE, ask, line_with, tls_stream
from support.mint import HOUR, Tls, crl, issuing_ca, root_ca, serial_of
from support.operating import change, command, load_crl, operated
from support.scrape import metered_site, scrape, value
from support.site import Pki, Site

WRITTEN = READ_REPLY.replace(b"\x00\x11", b"\x01\x00")


def use_crl(folder: Path, pki: Pki, *serials: int, ends: float = 9 * HOUR, rule: str = "deny") -> str:
    """Write a CRL, and give the line of the settings that names it."""
    (folder / "list.crl").write_bytes(crl(issuing_ca(pki), *serials, ends=ends))
    return f'crl = "{folder / "list.crl"}"\ncrl_expired = "{rule}"\n'


def name_crl(site: Site, line: str) -> None:
    change(site.folder / "server.toml", "[tls]\n", f"[tls]\n{line}")


async def refused(site: Site, identity: Path) -> None:
    """Come in by TLS, and be sent away."""
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        async with tls_stream(site, identity) as stream:
            await ask(stream, READ, READ_REPLY)


async def test_who_is_on_a_new_crl_is_closed_and_kept_out_and_nobody_else(site_pki: Pki, tmp_path: Path) -> None:
    operator, viewer = site_pki.client("operator"), site_pki.client("viewer")
    async with operated(site_pki, tmp_path) as site:
        name_crl(site, use_crl(tmp_path, site_pki))
        assert (await command(site, "reload"))["ok"]
        async with tls_stream(site, operator) as stream, tls_stream(site, viewer) as other:
            await ask(stream, WRITE, WRITE)
            use_crl(tmp_path, site_pki, serial_of(operator))
            await ask(stream, WRITE, WRITE)
            assert (await command(site, "reload"))["closed"] == 1
            assert await stream[0].read() == b""
            await line_with(site, "event=session", "state=ended", "cause=", "revoked by its CA on", "door=tls")
            await ask(other, READ, WRITTEN)
        await refused(site, operator)
        await line_with(site, "event=refused", "door=tls", "/operator is revoked by its CA on")
        async with tls_stream(site, viewer) as stream, site.stream("ssh") as by_ssh:
            await ask(stream, READ, WRITTEN)
            await ask(by_ssh, WRITE, WRITE)
        [listed] = (await command(site, "status"))["crls"]
        assert (listed["issuer"], listed["revoked"]) == ("CN=test-issuing-1", 1)
        # a serial that another CA has revoked is no concern of ours
        (tmp_path / "list.crl").write_bytes(crl(issuing_ca(site_pki)) + crl(root_ca(site_pki), serial_of(operator)))
        assert (await command(site, "reload"))["ok"]
        async with tls_stream(site, operator) as stream:
            await ask(stream, WRITE, WRITE)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Give what the log says of CRLs."""
    return [record.getMessage() for record in caplog.records if record.name == "fieldgate.crl"]


@pytest.mark.parametrize(
    ("rule", "ago", "serves"), [("deny", 60, False), ("grace:1", 60, True), ("grace:1", HOUR + 60, False)]
)
async def test_an_expired_crl_does_what_the_rule_says_and_is_told(  # noqa: PLR0913
    site_pki: Pki,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    rule: str,
    ago: float,
    serves: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app_module, "_LOOK", 0.02)
    viewer = site_pki.client("viewer")
    with caplog.at_level(logging.WARNING, "fieldgate.crl"):
        async with operated(site_pki, tmp_path) as site, tls_stream(site, viewer) as before:
            (tmp_path / "list.crl").write_bytes(
                crl(issuing_ca(site_pki), serial_of(site_pki.client("operator")), starts=-9 * HOUR, ends=-ago)
            )
            name_crl(site, f'crl = "list.crl"\ncrl_expired = "{rule}"\n')
            assert (await command(site, "reload"))["ok"]
            # whoever is there stays
            await ask(before, READ, READ_REPLY)
            if serves:
                async with tls_stream(site, viewer) as stream:
                    await ask(stream, READ, READ_REPLY)
                # who is on it stays out all the same
                await refused(site, site_pki.client("operator"))
                await line_with(site, "event=refused", "is revoked by its CA")
            else:
                await refused(site, viewer)
                await line_with(site, "event=refused", "door=tls", "the CRL of CN=test-issuing-1 expired on", rule)
                await refused(site, viewer)
            async with asyncio.timeout(10):
                while not said(caplog):
                    await asyncio.sleep(0.01)
            looked = site.app.accounts._looked
            while site.app.accounts._looked == looked:
                await asyncio.sleep(0.01)
            # a fresh one serves again, without a restart
            use_crl(tmp_path, site_pki)
            assert (await command(site, "reload"))["ok"]
            async with tls_stream(site, viewer) as stream:
                await ask(stream, READ, READ_REPLY)
    assert [line.partition(" on ")[0] for line in said(caplog)] == ["the CRL of CN=test-issuing-1 expired"], "once"


BROKEN: dict[str, tuple[Callable[[Pki, Pki], bytes], str]] = {
    "cut off": (lambda pki, _: crl(issuing_ca(pki))[:-40], "holds something else than whole CRLs"),
    "damaged": (lambda pki, _: crl(issuing_ca(pki)).replace(b"-\nM", b"-\nA"), "damaged"),
    "empty": (lambda _, __: b"", "holds no CRL"),
    "of another CA": (lambda pki, _: crl(root_ca(pki)), "holds no CRL of CN=test-issuing-1"),
    "signed by another": (
        lambda pki, other: crl(issuing_ca(pki), signer=issuing_ca(other)),
        "is not signed by that CA",
    ),
    "partial": (lambda pki, _: crl(issuing_ca(pki), delta=True), "is partial"),
    "with a certificate": (
        lambda pki, _: crl(issuing_ca(pki)) + (pki.server / "tls-client-ca.pem").read_bytes(),
        "something else than whole CRLs",
    ),
}


@pytest.mark.parametrize("how", [*BROKEN, "for others to write", "missing"])
async def test_a_broken_new_crl_keeps_the_old_and_says_why(
    site_pki: Pki, other_pki: Pki, tmp_path: Path, how: str
) -> None:
    operator, viewer = site_pki.client("operator"), site_pki.client("viewer")
    async with operated(site_pki, tmp_path) as site:
        name_crl(site, use_crl(tmp_path, site_pki, serial_of(operator)))
        assert (await command(site, "reload"))["ok"]
        file = tmp_path / "list.crl"
        if how == "missing":
            told = "cannot be read"
            file.unlink()
        elif how == "for others to write":
            told = "others can write"
            file.chmod(0o666)
        else:
            make, told = BROKEN[how]
            file.write_bytes(make(site_pki, other_pki))
        answer = await command(site, "reload")
        assert (answer["ok"], answer["code"]) == (False, 2)
        assert "list.crl" in answer["error"]
        assert told in answer["error"]
        await line_with(site, "manage=reload", "outcome=failed", told.split()[-1])
        await refused(site, operator)
        async with tls_stream(site, viewer) as stream:
            await ask(stream, READ, READ_REPLY)


async def test_age_and_next_update_are_metrics(site_pki: Pki, tmp_path: Path) -> None:
    async with metered_site(site_pki, tmp_path) as site:
        samples = await scrape(site)
        assert "fieldgate_crl_age_seconds" not in samples
        assert value(samples, "fieldgate_clock_plausible") == 1
        await load_crl(site, crl(issuing_ca(site_pki), ends=7 * HOUR))
        async with asyncio.timeout(10):
            while "fieldgate_crl_age_seconds" not in samples:
                samples = await scrape(site)
                await asyncio.sleep(0.1)
    now = time.time()
    assert (
        abs(value(samples, "fieldgate_crl_next_update_timestamp_seconds", issuer="CN=test-issuing-1") - now - 7 * HOUR)
        < 60
    )
    assert abs(value(samples, "fieldgate_crl_age_seconds", issuer="CN=test-issuing-1") - HOUR) < 60


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ('crl = "none.crl"\n', "none.crl: cannot be read"),
        ('crl = "none.crl"\ncrl_expired = "allow"\n', "crl_expired is"),
        ('crl_expired = "grace:24"\n', "write crl = FILE"),
    ],
)
async def test_settings_that_say_nothing_are_refused(site_pki: Pki, tmp_path: Path, lines: str, told: str) -> None:
    async with operated(site_pki, tmp_path) as site:
        name_crl(site, lines)
        answer = await command(site, "reload")
        assert answer["ok"] is False
        assert told in answer["error"]


# the client's own CRL

SERVERS: dict[str, tuple[Callable[[Pki, int], bytes], str]] = {
    "not on it": (lambda pki, _: crl(issuing_ca(pki), 17), ""),
    "revoked": (lambda pki, serial: crl(issuing_ca(pki), serial), "says that it is revoked"),
    "expired": (lambda pki, _: crl(issuing_ca(pki), starts=-2 * HOUR, ends=-HOUR), "has expired.*the clock says"),
    "of another CA": (lambda pki, _: crl(root_ca(pki)), "holds no CRL of its CA"),
}


@pytest.mark.parametrize("how", SERVERS)
async def test_a_client_goes_by_the_crl_in_its_folder(site: Site, tmp_path: Path, how: str) -> None:
    identity = Tls(issuing_ca(site.pki)).identity(site.pki, tmp_path / "mine")
    make, told = SERVERS[how]
    (identity / "tls-crl.pem").write_bytes(make(site.pki, serial_of(site.pki.server)))
    url = f"modbus+tls://localhost:{site.app.ports['tls']}"
    if not told:
        async with connect(url, identity=identity) as client:
            assert await client.read_holding(0) == [17]
        return
    with pytest.raises(NotTrustedError, match=told):
        async with connect(url, identity=identity):
            pass


async def test_what_is_no_crl_in_a_clients_folder_is_trusted_for_nothing(
    site: Site, other_pki: Pki, tmp_path: Path
) -> None:
    """OpenSSL would take a certificate in that file for a CA."""
    minted = Tls(issuing_ca(other_pki), (), purpose=ExtendedKeyUsageOID.SERVER_AUTH, hosts=("localhost",))
    identity = minted.identity(site.pki, tmp_path / "mine")
    root = (other_pki.client("operator") / "tls-server-ca.pem").read_bytes()
    (identity / "tls-crl.pem").write_bytes(crl(issuing_ca(site.pki)) + root)
    with pytest.raises(ConfigError, match="something else than whole CRLs"):
        async with connect(f"modbus+tls://localhost:{site.app.ports['tls']}", identity=identity):
            pass
