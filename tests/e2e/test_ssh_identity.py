"""Nobody gets in at the SSH door as somebody else; and asyncssh is still as our one hook in it expects."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest

from fieldgate_tunnel.ssh_door import Door
from support.asking import (
    DENIED,
    NOT_VALID,
    READ,
    READ_REPLY,
    WRITE,
    WRITE_REFUSED,
    ask,
    check_serves,
    line_with,
    read_by_ssh,
    ssh_connection,
)
from support.impostor import Login, certificate_of, impostor, string
from support.site import Site
from support.tools import run

TOOLS = ("ssh",)
"""Stock tools that these tests need (conftest.py)."""

one_loop = pytest.mark.asyncio(loop_factories=["uvloop"])


async def check_is_viewer(site: Site, connection: asyncssh.SSHClientConnection) -> None:
    """Check that the one at the other end of this connection is the viewer, in deed and in the trail."""
    stream = await connection.open_connection("localhost", 502)
    await ask(stream, READ, READ_REPLY)
    await ask(stream, WRITE, WRITE_REFUSED)
    for line in site.trail():
        if "door=ssh" in line and "identity=" in line:
            assert "/viewer " in line
            assert "role=viewer" in line


async def test_who_asks_about_anothers_certificate_stays_who_he_is(site: Site) -> None:
    operator, viewer = site.pki.client("operator"), site.pki.client("viewer")
    probe = Login("operator", certificate=certificate_of(operator))
    own = Login("viewer", certificate=certificate_of(viewer), signer=viewer)
    async with await impostor(site, probe, own) as connection:
        # the server did say that the operator's certificate would do
        assert probe.signed
        await check_is_viewer(site, connection)
    await check_serves(site)


async def test_who_asks_after_his_login_stays_who_he_is(site: Site) -> None:
    operator, viewer = site.pki.client("operator"), site.pki.client("viewer")
    own = Login("viewer", certificate=certificate_of(viewer), signer=viewer)
    async with await impostor(site, own) as connection:
        connection.send_packet(50, request("operator", certificate_of(operator)))
        await check_is_viewer(site, connection)


async def test_only_a_signed_request_proves_who_it_is(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever asyncssh lets through when: the hook itself never takes a question for a proof."""
    operator = site.pki.client("operator")
    seen: list[asyncssh.SSHServerConnection] = []
    made = Door.connection_made

    def remember(self: Door, conn: asyncssh.SSHServerConnection) -> None:
        made(self, conn)
        seen.append(conn)

    monkeypatch.setattr(Door, "connection_made", remember)
    async with ssh_connection(site, site.pki.client("viewer"), "viewer") as connection:
        certificate = certificate_of(operator)
        assert await seen[0].validate_public_key("operator", certificate, b"", b"")
        await check_is_viewer(site, connection)
        assert not await seen[0].validate_public_key("operator", certificate, b"message", b"no signature")
        await check_is_viewer(site, connection)


def renamed(login: bytes) -> Callable[[bytes], bytes]:
    """Sign the request as if its login name were another."""

    def alter(data: bytes) -> bytes:
        session = data[: 4 + int.from_bytes(data[:4], "big")]
        rest = data[len(session) + 1 :]
        return session + data[len(session) : len(session) + 1] + string(login) + rest[4 + int.from_bytes(rest[:4]) :]

    return alter


def replayed(data: bytes) -> bytes:
    """Sign the request as if it were in another session."""
    return string(bytes(32)) + data[4 + int.from_bytes(data[:4], "big") :]


TRICKS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "signed with another's key": ("viewer", lambda data: data),
    "signed for another login": ("operator", renamed(b"viewer")),
    "signed in another session": ("operator", replayed),
    "signed for nothing": ("operator", lambda _data: b""),
}


@pytest.mark.parametrize("trick", TRICKS)
async def test_a_signature_that_does_not_fit_is_refused(site: Site, trick: str) -> None:
    role, alter = TRICKS[trick]
    operator, viewer = site.pki.client("operator"), site.pki.client("viewer")
    false = Login("operator", certificate=certificate_of(operator), signer=site.pki.client(role), alter=alter)
    with pytest.raises(asyncssh.PermissionDenied):
        await impostor(site, false)
    assert false.signed
    await line_with(site, "event=refused", "login 'operator'", NOT_VALID)
    # and who tries it before an honest login is who he is
    own = Login("viewer", certificate=certificate_of(viewer), signer=viewer)
    async with await impostor(site, false, own) as connection:
        await check_is_viewer(site, connection)
    honest = Login("operator", certificate=certificate_of(operator), signer=operator)
    async with await impostor(site, honest) as connection:
        await line_with(site, "server")
    await check_serves(site)


def request(login: str, certificate: bytes) -> bytes:
    """Give an unsigned request (RFC 4252, 7), without its message number."""
    kind = certificate[4 : 4 + int.from_bytes(certificate[:4], "big")]
    words = string(login.encode()) + string(b"ssh-connection") + string(b"publickey")
    return words + b"\0" + string(kind) + string(certificate)


# the one place where asyncssh's inside is touched


def test_the_hooked_method_has_the_parameters_that_the_hook_passes_on() -> None:
    method = asyncssh.SSHServerConnection.validate_public_key
    assert list(inspect.signature(method).parameters) == ["self", "username", "key_data", "msg", "signature"]
    assert inspect.iscoroutinefunction(method)


@one_loop
@pytest.mark.parametrize("client", ["asyncssh", "stock ssh"])
async def test_the_hooked_method_is_awaited_for_every_request(site: Site, tmp_path: Path, client: str) -> None:
    """First unsigned with an empty message, then signed; and its no is a no, though the original says yes."""
    identity = site.pki.client("viewer")
    certificate = certificate_of(identity)
    certified: list[tuple[bool, bool, bool]] = []
    refusing = False

    class Server(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            original = conn.validate_public_key

            async def hook(username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
                answer = await original(username, key_data, msg, signature)
                assert username == "viewer"
                if key_data == certificate:
                    # a stock ssh offers the key without its certificate, too
                    certified.append((bool(msg), bool(signature), answer))
                return answer and not refusing

            conn.validate_public_key = hook  # type: ignore[method-assign]

        def public_key_auth_supported(self) -> bool:
            return True

        def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> bool:
            return True

        def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
            return False

    keys = [(str(site.pki.server / "ssh-host-key"), str(site.pki.server / "ssh-host-key-cert.pub"))]
    async with await asyncssh.listen("127.0.0.1", 0, server_factory=Server, server_host_keys=keys) as listener:
        there = Site(site.app, site.pki, tmp_path)
        there.app.ports["ssh"] = listener.get_port()
        log_in = by_asyncssh if client == "asyncssh" else by_stock_ssh
        assert await log_in(there)
        assert certified == [(False, False, True), (True, True, True)]
        refusing = True
        assert not await log_in(there)
        assert certified[2:] == [(False, False, True)]


async def by_asyncssh(site: Site) -> bool:
    try:
        async with ssh_connection(site, site.pki.client("viewer"), "viewer"):
            return True
    except asyncssh.PermissionDenied:
        return False


async def by_stock_ssh(site: Site) -> bool:
    ended = await run("ssh", *read_by_ssh(site, site.pki.client("viewer"), "viewer"))
    return DENIED not in ended.err
