"""Sessions that are resumed: both sides can, the role stays, all is judged again, nothing outlives its end."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509

from fieldgate_client.connection import connect
from fieldgate_core.errors import FieldgateError
from fieldgate_tunnel import listeners, resumption
from fieldgate_tunnel.resumption import sessions_of
from support.api import wait_until
from support.asking import READ, READ_REPLY, WRITE, WRITE_REFUSED, line_with
from support.box import Box, fieldgate, running_box
from support.openssl import exchange, piped, run, s_client
from support.site import Pki, Site
from support.tap import tapped

TOOLS = ("openssl", "gnutls-cli")
requirement = pytest.mark.requirement
one_loop = pytest.mark.asyncio(loop_factories=["uvloop"])
both_versions = pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
RESUMED = b"Reused, "


def first(port: int, identity: Path, session: Path, version: str) -> None:
    """Be served once, and keep the session in a file."""
    arguments = s_client(port, identity, version, "-quiet", "-sess_out", session)
    assert exchange(arguments, READ, len(READ_REPLY)) == READ_REPLY
    assert "BEGIN SSL SESSION" in session.read_text()


def again(port: int, identity: Path, session: Path, version: str, request: bytes, reply: bytes) -> bool:
    """Come back with the session, be answered so, and tell whether it was resumed."""
    arguments = s_client(port, identity, version, "-ign_eof", "-sess_in", session)
    with piped("openssl", *arguments) as process:
        assert process.stdin is not None
        assert isinstance(process.stdout, io.BufferedReader)
        process.stdin.write(request)
        process.stdin.flush()
        seen = b""
        while not seen.endswith(reply) or b"---\n" not in seen:
            more = process.stdout.read1()
            assert more, seen
            seen += more
        return RESUMED in seen


@requirement("R-42", "R-43", "R-30")
@both_versions
def test_openssl_resumes_and_keeps_its_role(either_box: Box, tmp_path: Path, version: str) -> None:
    """The server of TLS 1.3 has no session ID: what it calls a ticket names a session that it keeps itself."""
    viewer, session, port = either_box.identity("viewer"), tmp_path / "session", either_box.ports["tls"]
    first(port, viewer, session, version)
    assert again(port, viewer, session, version, READ, READ_REPLY)
    assert again(port, viewer, session, version, WRITE, WRITE_REFUSED)


@requirement("R-42")
def test_gnutls_resumes(either_box: Box) -> None:
    identity = either_box.identity("viewer")
    done = run(
        "gnutls-cli", "--port", str(either_box.ports["tls"]), "--x509cafile", identity / "tls-server-ca.pem",
        "--x509certfile", identity / "tls-chain.pem", "--x509keyfile", identity / "tls-key.pem",
        "--resume", "--priority", "NORMAL:-VERS-TLS1.3", "127.0.0.1",
    )  # fmt: skip
    assert "*** This is a resumed session" in done.out, done


@requirement("R-11")
@both_versions
def test_a_session_is_not_resumed_after_a_fatal_alert(either_box: Box, tmp_path: Path, version: str) -> None:
    viewer, session, port = either_box.identity("viewer"), tmp_path / "session", either_box.ports["tls"]
    with tapped(port) as tap:
        arguments = s_client(tap.port, viewer, version, "-quiet", "-sess_out", session)
        with piped("openssl", *arguments) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(READ)
            process.stdin.flush()
            assert process.stdout.read(len(READ_REPLY)) == READ_REPLY
            # a record that nobody has sealed: the server answers with the fatal alert bad_record_mac
            tap.put(b"\x17\x03\x03\x00\x20" + bytes(32))
            process.wait()
            assert process.stderr is not None
            assert b"bad record mac" in process.stderr.read()
    assert not again(port, viewer, session, version, READ, READ_REPLY)


@requirement("R-11")
def test_tls_13_gives_one_session_so_that_no_other_outlives_an_alert(either_box: Box) -> None:
    arguments = s_client(either_box.ports["tls"], either_box.identity("viewer"), "-tls1_3")
    with piped("openssl", *arguments) as process:
        assert process.stdin is not None
        assert isinstance(process.stdout, io.BufferedReader)
        process.stdin.write(READ)
        process.stdin.flush()
        seen = b""
        while not seen.endswith(READ_REPLY):
            more = process.stdout.read1()
            assert more, seen
            seen += more
        # its own text waits in a buffer until it ends
        seen += process.communicate(timeout=20)[0]
    assert seen.count(b"New Session Ticket arrived") == 1


@requirement("R-30", "R-42")
@both_versions
def test_no_session_outlives_a_reload_and_nobody_revoked_resumes(site_pki: Pki, tmp_path: Path, version: str) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "revoked").write_text("")
    extra = 'control = "control"\nstate = "state"\nrevoked = "revoked"'
    grants = {"operator": '[{ manage = ["reload"] }]'}
    with running_box(site_pki, tmp_path, extra=extra, grants=grants) as box:
        viewer, session, port = box.identity("viewer"), tmp_path / "session", box.ports["tls"]
        first(port, viewer, session, version)
        assert again(port, viewer, session, version, READ, READ_REPLY)
        reload(box)
        assert not again(port, viewer, session, version, READ, READ_REPLY)
        first(port, viewer, session, version)
        [name] = set(re.findall('identity="(tls:[^"]*)"', "".join(box.audit_lines())))
        (tmp_path / "revoked").write_text(f"{name}\n")
        reload(box)
        assert exchange(s_client(port, viewer, version, "-quiet", "-sess_in", str(session)), READ, 1) == b""
        wait_until(lambda: any(f"{name} is revoked" in line for line in box.audit_lines()))


def reload(box: Box) -> None:
    done = fieldgate("server", "reload", "--config", str(box.folder / "server.toml"))
    assert done.returncode == 0, done


# our client


def copied(pki: Pki, folder: Path) -> Path:
    """Give a folder of its own to a test, so that no session of another is there."""
    return Path(shutil.copytree(pki.client("viewer"), folder / "viewer"))


@requirement("R-42")
@pytest.mark.parametrize("url", ["localhost", "127.0.0.1"])
async def test_our_client_resumes_when_it_comes_back(site: Site, tmp_path: Path, url: str) -> None:
    viewer = copied(site.pki, tmp_path)
    sizes = []
    with tapped(site.app.ports["tls"]) as tap:
        for _ in range(3):
            async with connect(f"modbus+tls://{url}:{tap.port}", identity=viewer) as client:
                assert await client.read_holding(0) == [17]
            sizes.append(len(tap.answered))
        # the server has shown its chain the first time only
        assert sizes[0] > 1200
        assert max(sizes[1:]) < 1000
        # another name was never verified, so it is offered nothing
        other = {"localhost": "127.0.0.1", "127.0.0.1": "localhost"}[url]
        async with connect(f"modbus+tls://{other}:{tap.port}", identity=viewer) as client:
            assert await client.read_holding(0) == [17]
        assert len(tap.answered) > 1200
        # nor is anybody, once a file of the identity is another
        (viewer / "tls-server-ca.pem").write_bytes((viewer / "tls-server-ca.pem").read_bytes() + b"\n")
        async with connect(f"modbus+tls://{url}:{tap.port}", identity=viewer) as client:
            assert await client.read_holding(0) == [17]
        assert len(tap.answered) > 1200


@requirement("R-11")
async def test_our_client_forgets_the_session_of_a_connection_that_failed(site: Site, tmp_path: Path) -> None:
    viewer = copied(site.pki, tmp_path)
    with tapped(site.app.ports["tls"]) as tap:
        url = f"modbus+tls://localhost:{tap.port}"
        async with connect(url, identity=viewer) as client:
            assert await client.read_holding(0) == [17]
            tap.put(b"\x17\x03\x03\x00\x20" + bytes(32))
            await line_with(site, "state=closed", "door=tls")
            with pytest.raises(FieldgateError):
                await client.read_holding(0)
    assert sessions_of(viewer).take("localhost", tap.port) is None


@one_loop
async def test_a_session_is_offered_no_longer_than_the_servers_certificate_holds(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, port = copied(site.pki, tmp_path), site.app.ports["tls"]
    certificate = x509.load_pem_x509_certificates((site.pki.server / "tls-chain.pem").read_bytes())[0]
    ends = certificate.not_valid_after_utc.timestamp()
    for now, offered in ((ends - 1, True), (ends, False)):
        async with connect(f"modbus+tls://localhost:{port}", identity=viewer) as client:
            assert await client.read_holding(0) == [17]
        with monkeypatch.context() as patch:
            patch.setattr(resumption, "time", SimpleNamespace(time=lambda now=now: now))
            assert (sessions_of(viewer).take("localhost", port) is not None) is offered


@one_loop
async def test_the_door_forgets_its_sessions_before_they_are_too_many(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(listeners, "MOST_SESSIONS", 3)
    door = site.app._tls
    assert door is not None
    before = door._identity.context
    for turn in range(8):
        viewer = copied(site.pki, tmp_path / str(turn))
        async with connect(f"modbus+tls://localhost:{site.app.ports['tls']}", identity=viewer) as client:
            assert await client.read_holding(0) == [17]
        assert door._identity.context.session_stats()["number"] <= 3
    assert door._identity.context is not before
