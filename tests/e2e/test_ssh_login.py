"""Who gets in at the SSH door, and as whom: each refusal beside the same login that passes, with its line."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest
from cryptography.hazmat.primitives.serialization import SSHCertificateType

from fieldgate_client.connection import connect
from fieldgate_core.errors import NotTrustedError, UnreachableError
from support.asking import DENIED, NOT_VALID, READ, READ_REPLY, ask, check_serves, line_with, read_by_ssh
from support.impostor import Login, certificate_of, impostor, string
from support.mint import HOUR, Ssh, plain_key
from support.site import Pki, Site, running_site
from support.tools import run

TOOLS = ("ssh", "ssh-keygen")
"""Stock tools that these tests need (conftest.py)."""

one_loop = pytest.mark.asyncio(loop_factories=["uvloop"])

EXTENSIONS = (
    "permit-port-forwarding",
    "permit-pty",
    "permit-agent-forwarding",
    "permit-X11-forwarding",
    "permit-user-rc",
    "no-touch-required",
)
LOGINS: dict[str, tuple[Ssh, str]] = {
    "an operator's": (Ssh(), ""),
    "one with two roles": (Ssh(principals=("viewer", "operator")), ""),
    "one for this address": (Ssh(critical={"source-address": b"192.0.2.1,127.0.0.0/8"}), ""),
    "one with a forced command": (Ssh(critical={"force-command": b"/usr/sbin/nologin"}), ""),
    "of another CA": (Ssh(ca="host-ca"), "the policy does not know certificate 'odd' serial 17 of CA"),
    "expired": (Ssh(starts=-2 * HOUR, ends=-HOUR), "the certificate has expired"),
    "not valid yet": (Ssh(starts=HOUR, ends=2 * HOUR), NOT_VALID),
    "without principals": (Ssh(principals=()), "a certificate without principals is refused"),
    "with a wrong principal": (Ssh(principals=("viewer",)), "is not a principal of the certificate (viewer)"),
    "with an unknown critical option": (Ssh(critical={"verify-required": b""}), "critical options that are not known"),
    "with all extensions of OpenSSH": (Ssh(extensions=EXTENSIONS), ""),
    "with an unknown extension": (
        Ssh(extensions=("permit-port-forwarding", "permit-all@example.com")),
        "extensions that",
    ),
    "for another address": (Ssh(critical={"source-address": b"192.0.2.0/24,::1"}), NOT_VALID),
    "for what is no address": (Ssh(critical={"source-address": b"localhost"}), NOT_VALID),
}


@one_loop
@pytest.mark.parametrize("what", LOGINS)
async def test_a_certificate_at_login(site: Site, tmp_path: Path, what: str) -> None:
    certificate, reason = LOGINS[what]
    identity = certificate.identity(site.pki, tmp_path / "odd")
    ended = await run("ssh", *read_by_ssh(site, identity))
    if not reason:
        assert ended.code == 0, ended
        assert "/17/odd " in await line_with(site, "event=session", "role=operator")
        return
    assert ended.code == 255
    assert DENIED in ended.err
    await line_with(site, "event=refused", "door=ssh", "not authenticated: login 'operator'", reason)
    assert "event=session" not in "".join(site.trail())
    await check_serves(site)


async def test_a_certificate_whose_signature_is_forged_is_refused(site: Site, tmp_path: Path) -> None:
    identity = Ssh().identity(site.pki, tmp_path / "odd")
    certificate = certificate_of(identity)
    # the signature stands at the end: one bit of it
    forged = certificate[:-1] + bytes([certificate[-1] ^ 1])
    login = Login("operator", certificate=certificate, signer=identity)
    async with await impostor(site, login) as connection:
        await ask(await connection.open_connection("localhost", 502), READ, READ_REPLY)
    login = Login("operator", certificate=forged, signer=identity)
    with pytest.raises(asyncssh.PermissionDenied):
        await impostor(site, login)
    await line_with(site, "event=refused", NOT_VALID)
    await check_serves(site)


@pytest.mark.parametrize("kind", SSHCertificateType)
async def test_a_hosts_certificate_is_no_users(site: Site, tmp_path: Path, kind: SSHCertificateType) -> None:
    """A stock ssh would not even offer it."""
    identity = Ssh(kind=kind).identity(site.pki, tmp_path / "odd")
    login = Login("operator", certificate=certificate_of(identity), signer=identity)
    if kind is SSHCertificateType.USER:
        async with await impostor(site, login) as connection:
            await ask(await connection.open_connection("localhost", 502), READ, READ_REPLY)
        return
    with pytest.raises(asyncssh.PermissionDenied):
        await impostor(site, login)
    await line_with(site, "event=refused", "a host certificate is no user certificate")
    await check_serves(site)


async def test_a_certificate_for_no_address_is_not_for_every_address(site: Site, tmp_path: Path) -> None:
    identity = Ssh(critical={"source-address": b"?"}, extensions=()).identity(site.pki, tmp_path / "odd")
    whole = certificate_of(identity)
    # what the CA signs ends with its own key; no builder writes an empty list, so it is cut and signed again
    signed = whole[: whole.rindex(string(b"ssh-ed25519")) - 4]
    one, none = (string(string(b"source-address") + string(string(value))) for value in (b"?", b""))
    assert signed.count(one) == 1
    signed = signed.replace(one, none)
    ca = asyncssh.read_private_key(site.pki.folder / "ssh/user-ca")
    certificate = signed + string(ca.sign(signed, b"ssh-ed25519"))
    with pytest.raises(asyncssh.PermissionDenied):
        await impostor(site, Login("operator", certificate=certificate, signer=identity))
    await line_with(site, "event=refused", "source-address names no address")
    await check_serves(site)


@one_loop
@pytest.mark.parametrize("way", ["without a key", "with a password", "with a key that nobody knows"])
async def test_no_other_way_in(site: Site, tmp_path: Path, way: str) -> None:
    identity = plain_key(site.pki, tmp_path / "odd")
    reason = "the policy does not know key SHA256:"
    options = []
    if way != "with a key that nobody knows":
        (identity / "ssh-key").unlink()
        (identity / "ssh-key.pub").unlink()
        reason = "Connection lost"
    if way == "with a password":
        options = ["-o", "BatchMode=no", "-o", "PreferredAuthentications=password,keyboard-interactive"]
        options += ["-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1"]
    # the first value of an option counts
    ended = await run("ssh", *options, *read_by_ssh(site, identity))
    assert ended.code == 255
    # nothing but keys was offered, so no password was asked for
    assert DENIED in ended.err
    await line_with(site, "event=refused", "door=ssh", "not authenticated", reason)
    await check_serves(site)


@one_loop
async def test_a_plain_key_has_the_role_that_the_policy_maps_it_to(site_pki: Pki, tmp_path: Path) -> None:
    known, unknown = (plain_key(site_pki, tmp_path / name) for name in ("known", "unknown"))
    fingerprint = (await run("ssh-keygen", "-l", "-f", str(known / "ssh-key.pub"))).out.split()[1]
    # TOML lets a table below [identity] stand before it
    mapped = f'[]\n[identity."key:{fingerprint}"]\nname = "hist-1"\nrole = "viewer"'
    async with running_site(site_pki, tmp_path, grants={"nobody": mapped}) as site:
        assert (await run("ssh", *read_by_ssh(site, known, "viewer"))).code == 0
        assert f"identity=key:{fingerprint} " in await line_with(site, "event=session", "role=viewer")
        assert DENIED in (await run("ssh", *read_by_ssh(site, unknown, "viewer"))).err
        await line_with(site, "event=refused", "the policy does not know key SHA256:")
        assert DENIED in (await run("ssh", *read_by_ssh(site, known, "operator"))).err
        await line_with(site, "event=refused", f"login 'operator': the policy does not know key {fingerprint}")
        await check_serves(site)


HOSTS: dict[str, tuple[Ssh, bool]] = {
    "in order": (Ssh("host-ca", SSHCertificateType.HOST, ("localhost", "127.0.0.1")), True),
    "of the user CA": (Ssh("user-ca", SSHCertificateType.HOST, ("localhost", "127.0.0.1")), False),
    "expired": (Ssh("host-ca", SSHCertificateType.HOST, ("localhost", "127.0.0.1"), ends=-60), False),
    "for another host": (Ssh("host-ca", SSHCertificateType.HOST, ("elsewhere.example.com",)), False),
    "a user's": (Ssh("host-ca", SSHCertificateType.USER, ("localhost", "127.0.0.1")), False),
}


@one_loop
@pytest.mark.parametrize("what", HOSTS)
async def test_a_host_certificate_is_verified(site_pki: Pki, tmp_path: Path, what: str) -> None:
    """A host that shows this certificate, and would let anybody in, is not even logged in to."""
    certificate, good = HOSTS[what]
    host = certificate.identity(site_pki, tmp_path / "host")
    began: list[str] = []

    class Host(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            began.append(username)
            return False

    keys = [(str(host / "ssh-key"), str(host / "ssh-key-cert.pub"))]
    identity = site_pki.client("operator")
    async with await asyncssh.listen("127.0.0.1", 0, server_factory=Host, server_host_keys=keys) as listener:
        port = listener.get_port()
        # of both clients, the one that trusts goes on, and finds nothing behind it
        wanted = UnreachableError if good else NotTrustedError
        with pytest.raises(wanted):
            async with connect(f"modbus+ssh://operator@127.0.0.1:{port}", identity=identity):
                pass
        options = [f"UserKnownHostsFile={identity / 'known_hosts'}", "GlobalKnownHostsFile=/dev/null", "BatchMode=yes"]
        words = [word for option in options for word in ("-o", option)]
        arguments = ["-F", "none", *words, "-p", str(port), "-l", "operator", "-W", "localhost:502", "127.0.0.1"]
        ended = await run("ssh", *arguments)
        assert ended.code == 255
        assert ("open failed" in ended.err) is good
        assert ("Host key verification failed" in ended.err) is not good
    assert began == ["operator"] * 2 * good


@one_loop
async def test_a_site_of_another_ca_is_not_trusted(site: Site, other_pki: Pki) -> None:
    port = site.app.ports["ssh"]
    theirs = other_pki.client("operator")
    with pytest.raises(NotTrustedError, match="host key is not accepted"):
        async with connect(f"modbus+ssh://operator@127.0.0.1:{port}", identity=theirs):
            pass
    await line_with(site, "event=refused", "door=ssh", "not authenticated")
    ended = await run("ssh", *read_by_ssh(site, theirs))
    assert ended.code == 255
    assert "Host key verification failed" in ended.err
    async with connect(f"modbus+ssh://operator@127.0.0.1:{port}", identity=site.pki.client("operator")) as client:
        assert await client.read_holding(0) == [17]
    await check_serves(site)
