"""The TLS door: stock openssl is served byte for byte, and every certificate that is not in order is refused."""

from __future__ import annotations

import asyncio
import re
import shutil
import ssl
import struct
from asyncio.subprocess import Process
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from fieldgate_client.connection import connect
from fieldgate_core import settings
from fieldgate_core.credentials import encode_role
from fieldgate_core.errors import ConfigError, NotTrustedError, RejectedError
from fieldgate_server.app import App
from fieldgate_server.settings import Settings
from fieldgate_tunnel import tls
from support.asking import (
    READ,
    READ_REFUSED,
    READ_REPLY,
    WRITE,
    WRITE_REFUSED,
    ask,
    check_serves,
    line_with,
    tls_stream,
)
from support.mint import HOUR, Tls, issuing_ca, root_ca
from support.site import TABLES_OF_THE_VECTORS, Pki, Site, running_site, write_files
from support.tools import Finished, run, running

TOOLS = ("openssl",)
"""Stock tools that these tests need (conftest.py)."""

one_loop = pytest.mark.asyncio(loop_factories=["uvloop"])
VERSIONS = ("-tls1_2", "-tls1_3")


def s_client(site: Site, identity: Path, *options: str, certificate: bool = True) -> list[str]:
    """Give the arguments of `openssl s_client` to the TLS door, with or without the certificate of a folder."""
    arguments = ["s_client", "-connect", f"127.0.0.1:{site.app.ports['tls']}", "-verify_return_error"]
    arguments += ["-CAfile", str(identity / "tls-server-ca.pem"), "-verify_ip", "127.0.0.1"]
    if certificate:
        arguments += ["-cert", str(identity / "tls-chain.pem"), "-cert_chain", str(identity / "tls-chain.pem")]
        arguments += ["-key", str(identity / "tls-key.pem")]
    return [*arguments, *options]


async def reply_to(process: Process, request: bytes, count: int) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(request)
    return await process.stdout.readexactly(count)


async def check_refused(site: Site, identity: Path, *options: str, certificate: bool = True) -> Finished:
    """Check that openssl is shown an alert and no byte of a reply."""
    # it stays until the server ends, so that it sees the alert that TLS 1.3 sends after the client's handshake
    ended = await run("openssl", *s_client(site, identity, "-ign_eof", *options, certificate=certificate))
    assert ended.code == 1, ended
    assert "alert number" in ended.err, ended
    assert "event=session" not in "".join(site.trail())
    return ended


@pytest.mark.requirement("R-04", "R-16", "R-17", "R-18", "R-26", "R-30", "R-31")
@one_loop
@pytest.mark.parametrize("version", VERSIONS)
async def test_openssl_gets_the_right_bytes(site: Site, version: str) -> None:
    asked = READ + WRITE + READ
    answered = READ_REPLY + WRITE + bytes.fromhex("0001000000050103020100")
    async with running("openssl", *s_client(site, site.pki.client("operator"), version, "-quiet")) as process:
        assert await reply_to(process, asked, len(answered)) == answered
    assert "door=tls" in await line_with(site, "event=write", "outcome=done", "role=operator")
    async with running("openssl", *s_client(site, site.pki.client("viewer"), version, "-quiet")) as process:
        assert await reply_to(process, WRITE, len(WRITE_REFUSED)) == WRITE_REFUSED


@one_loop
@pytest.mark.parametrize(("version", "alert"), [("-tls1_2", 40), ("-tls1_3", 116)])
async def test_openssl_without_a_certificate_is_refused(site: Site, version: str, alert: int) -> None:
    ended = await check_refused(site, site.pki.client("operator"), version, certificate=False)
    assert f"alert number {alert}" in ended.err.replace("SSL ", "")
    await line_with(site, "event=refused", "door=tls", "PEER_DID_NOT_RETURN_A_CERTIFICATE")
    await check_serves(site)


@one_loop
async def test_old_tls_is_refused(site: Site) -> None:
    options = ("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")
    ended = await check_refused(site, site.pki.client("operator"), *options)
    assert "alert number 70" in ended.err.replace("SSL ", "")
    await line_with(site, "event=refused", "door=tls", "UNSUPPORTED_PROTOCOL")
    await check_serves(site)


@one_loop
@pytest.mark.parametrize("version", VERSIONS)
async def test_the_server_sends_its_chain_with_the_root(site: Site, version: str) -> None:
    """R-46."""
    ended = await run("openssl", *s_client(site, site.pki.client("operator"), version, "-showcerts"))
    assert ended.code == 0, ended
    chain = re.findall("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", ended.out, re.DOTALL)
    # the first is printed once more as the server's own
    chain = [x509.load_pem_x509_certificate(pem.encode()) for pem in dict.fromkeys(chain)]
    assert len(chain) == 3
    leaf, issuing, root = chain
    leaf.verify_directly_issued_by(issuing)
    issuing.verify_directly_issued_by(root)
    assert root == x509.load_pem_x509_certificate((site.pki.folder / "x509/root/cert.pem").read_bytes())


CLIENTS = {
    "of another CA": ("alert number 48", "unable to get"),
    "of a sibling CA": ("alert number 48", "self-signed certificate in certificate chain"),
    "of the root": ("alert number 48", "self-signed certificate in certificate chain"),
    "self-signed": ("alert number 48", "self-signed certificate"),
    "expired": ("alert number 45", "certificate has expired"),
    "not valid yet": ("alert number 42", "certificate is not yet valid"),
    "a server's": ("alert number 43", "unsuitable certificate purpose"),
}


def odd_client(what: str, pki: Pki, other: Pki) -> Tls:
    ours = issuing_ca(pki)
    return {
        "in order": Tls(ours),
        "of another CA": Tls(issuing_ca(other)),
        "of a sibling CA": Tls(ours.sibling(pki)),
        "of the root": Tls(root_ca(pki)),
        "self-signed": Tls(None),
        "expired": Tls(ours, starts=-2 * HOUR, ends=-HOUR),
        "not valid yet": Tls(ours, starts=HOUR, ends=2 * HOUR),
        "a server's": Tls(ours, purpose=ExtendedKeyUsageOID.SERVER_AUTH),
    }[what]


@one_loop
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_certificate_in_order_is_served(site: Site, other_pki: Pki, tmp_path: Path, version: str) -> None:
    identity = odd_client("in order", site.pki, other_pki).identity(site.pki, tmp_path / "odd")
    async with running("openssl", *s_client(site, identity, version, "-quiet")) as process:
        assert await reply_to(process, READ, len(READ_REPLY)) == READ_REPLY
    assert "/odd" in await line_with(site, "event=session", "role=operator", "door=tls")


@pytest.mark.requirement("R-02", "R-06", "R-41")
@one_loop
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("what", CLIENTS)
async def test_a_client_certificate_that_is_not_in_order_is_refused(
    site: Site, other_pki: Pki, tmp_path: Path, what: str, version: str
) -> None:
    alert, reason = CLIENTS[what]
    identity = odd_client(what, site.pki, other_pki).identity(site.pki, tmp_path / "odd")
    ended = await check_refused(site, identity, version)
    assert alert in ended.err.replace("SSL ", "")
    await line_with(site, "event=refused", "door=tls", "the client's certificate is not accepted", reason)
    assert sum("event=refused" in line for line in site.trail()) == 1
    await check_serves(site)


@pytest.mark.parametrize(("ends", "vouches"), [(HOUR, True), (-60, False)])
def test_an_issuing_ca_that_has_expired_vouches_for_nobody(
    site_pki: Pki, tmp_path: Path, ends: float, vouches: bool
) -> None:
    """Of a session that is resumed OpenSSL asks no date."""
    ca = issuing_ca(site_pki).sibling(site_pki, ends=ends)
    pem = (Tls(ca).identity(site_pki, tmp_path / "odd") / "tls-chain.pem").read_bytes()
    leaf = x509.load_pem_x509_certificates(pem)[0].public_bytes(Encoding.DER)
    assert tls.issued_by(leaf, (ca.certificate,)) is vouches


@one_loop
@pytest.mark.requirement("TCP-2")
@pytest.mark.parametrize(("address", "served"), [("192.0.2.7", True), ("198.51.100.7", False)])
async def test_of_a_dozen_issuing_cas_each_names_only_what_it_may(
    site_pki: Pki, tmp_path: Path, address: str, served: bool
) -> None:
    ours = issuing_ca(site_pki)
    cas = [ours.sibling(site_pki, network="192.0.2.0/24", number=number) for number in range(2, 14)]
    server = Path(shutil.copytree(site_pki.server, tmp_path / "server"))
    pem = b"".join(ca.certificate.public_bytes(Encoding.PEM) for ca in cas)
    (server / "tls-client-ca.pem").write_bytes(pem)
    file = write_files(site_pki, tmp_path, user="root", grants=None, units=TABLES_OF_THE_VECTORS, extra="")
    file.write_text(file.read_text().replace(str(site_pki.server), str(server), 1))
    policy = tmp_path / "policy.toml"
    policy.write_text(policy.read_text().replace("CN=test-issuing-1", "CN=test-issuing-13"))
    identity = Tls(cas[-1], addresses=(address,)).identity(site_pki, tmp_path / "odd")
    async with App(settings.load(file, Settings)).running() as app:
        site = Site(app, site_pki, tmp_path)
        if served:
            async with running("openssl", *s_client(site, identity, "-quiet")) as process:
                assert await reply_to(process, READ, len(READ_REPLY)) == READ_REPLY
            return
        await check_refused(site, identity)
        await line_with(site, "event=refused", "door=tls", "permitted subtree violation")
        assert sum("event=refused" in line for line in site.trail()) == 1


@pytest.mark.parametrize("what", ["of another CA", "of a sibling CA", "self-signed", "a server's"])
async def test_our_client_learns_of_the_refusal_with_its_first_request(
    site: Site, other_pki: Pki, tmp_path: Path, what: str
) -> None:
    """TLS 1.3 lets a client think that it is connected before the server has looked at its certificate."""
    url = f"modbus+tls://localhost:{site.app.ports['tls']}"
    identity = odd_client(what, site.pki, other_pki).identity(site.pki, tmp_path / "odd")
    with pytest.raises(RejectedError, match="does not accept our certificate"):
        async with connect(url, identity=identity) as client:
            await client.read_holding(0)
    async with connect(url, identity=site.pki.client("viewer")) as client:
        assert await client.read_holding(0) == [17]


# the server's own certificate

SERVERS = {
    "in order": "",
    "of another CA": "unable to get",
    "self-signed": "self-signed certificate",
    "for another name": "Hostname mismatch",
    "of a CA that may not name the address": "permitted subtree violation",
    "expired": "certificate has expired",
    "not valid yet": "not yet valid",
    "a client's": "unsuitable certificate purpose",
}


@pytest.mark.requirement("R-02", "R-06", "R-41")
@pytest.mark.parametrize("what", SERVERS)
async def test_our_client_verifies_the_server(site_pki: Pki, other_pki: Pki, tmp_path: Path, what: str) -> None:
    ours, purpose, here = issuing_ca(site_pki), ExtendedKeyUsageOID.SERVER_AUTH, ("localhost",)
    odd = {
        "in order": Tls(ours, (), purpose=purpose, hosts=here),
        "of another CA": Tls(issuing_ca(other_pki), (), purpose=purpose, hosts=here),
        "self-signed": Tls(None, (), purpose=purpose, hosts=here),
        "for another name": Tls(ours, (), purpose=purpose, hosts=("elsewhere.example.com",)),
        "of a CA that may not name the address": Tls(
            ours.sibling(site_pki, network="192.0.2.0/24"), (), purpose=purpose, hosts=here, addresses=("127.0.0.1",)
        ),
        "expired": Tls(ours, (), purpose=purpose, hosts=here, ends=-60),
        "not valid yet": Tls(ours, (), purpose=purpose, hosts=here, starts=60),
        "a client's": Tls(ours, (), hosts=here),
    }[what]
    identity = odd.identity(site_pki, tmp_path / "odd")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity / "tls-chain.pem", identity / "tls-key.pem")
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.readexactly(len(READ)))
        writer.write(got[-1][:4] + READ_REPLY[4:])
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        url = f"modbus+tls://localhost:{server.sockets[0].getsockname()[1]}"
        viewer = site_pki.client("viewer")
        if what == "in order":
            async with connect(url, identity=viewer) as client:
                assert await client.read_holding(0) == [17]
            return
        with pytest.raises(NotTrustedError, match=SERVERS[what]) as refused:
            async with connect(url, identity=viewer):
                pass
        assert "\n" not in str(refused.value)
    assert got == []


async def test_our_client_tells_the_site_that_it_is_not_trusted(site: Site, other_pki: Pki) -> None:
    with pytest.raises(NotTrustedError):
        async with connect(f"modbus+tls://localhost:{site.app.ports['tls']}", identity=other_pki.client("operator")):
            pass
    await line_with(site, "event=refused", "door=tls", "ALERT_UNKNOWN_CA")
    await check_serves(site)


@pytest.mark.parametrize(("ends", "fault"), [(HOUR, ""), (-60, "the certificate expired on")])
def test_a_server_does_not_start_with_an_expired_certificate(
    site_pki: Pki, tmp_path: Path, ends: float, fault: str
) -> None:
    odd = Tls(issuing_ca(site_pki), (), purpose=ExtendedKeyUsageOID.SERVER_AUTH, hosts=("localhost",), ends=ends)
    identity = odd.identity(site_pki, tmp_path / "odd")
    (identity / "tls-client-ca.pem").write_bytes((site_pki.server / "tls-client-ca.pem").read_bytes())
    if not fault:
        tls.server_context(identity)
        return
    with pytest.raises(ConfigError, match=fault):
        tls.server_context(identity)


# roles

OPERATOR = encode_role("operator")
ROLES: dict[str, tuple[list[bytes], str]] = {
    "no role": ([], ""),
    "two roles": ([OPERATOR, encode_role("viewer")], "more than one role extension"),
    "the same role twice": ([OPERATOR, OPERATOR], "more than one role extension"),
    "a PrintableString": ([b"\x13\x08operator"], "the role is not a UTF8String"),
    "an empty role": ([b"\x0c\x00"], "the role has 0 bytes"),
    "nothing": ([b""], "the role is not a UTF8String"),
    "trailing bytes": ([OPERATOR + b"\0"], "bytes are missing or trail"),
    "bytes missing": ([OPERATOR[:-1]], "bytes are missing or trail"),
    "too long": ([b"\x0c\x81\x81" + b"o" * 129], "the role has 129 bytes"),
    "not UTF-8": ([b"\x0c\x02\xc3\x28"], "the role is not UTF-8"),
    "a role that the issuer may not give": ([encode_role("stranger")], "may not give role"),
    "a reserved word": ([b"\x0c\x04NULL"], "NULL is a reserved word"),
}


def _refused(unit: int) -> bytes:
    return READ_REFUSED[:6] + bytes((unit,)) + READ_REFUSED[7:]


@pytest.mark.requirement("R-22", "R-23", "R-31", "R-65", "TCP-32", "TCP-41")
@pytest.mark.parametrize("what", ROLES)
async def test_a_faulty_role_holds_the_handshake_and_gets_01(
    site: Site, tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "fieldgate.server")
    roles, fault = ROLES[what]
    identity = Tls(issuing_ca(site.pki), roles).identity(site.pki, tmp_path / "odd")
    async with tls_stream(site, identity) as stream:
        for _ in range(2):
            await ask(stream, READ, READ_REFUSED)
            await ask(stream, WRITE, WRITE_REFUSED)
        # nor does it learn which units and addresses there are
        for unit, address in ((9, 0), (1, 0xFFFF)):
            await ask(stream, READ[:6] + struct.pack(">BBHH", unit, 3, address, 1), _refused(unit))
    role = "INVALID" if fault else "NULL"
    await line_with(site, "event=session", "state=opened", f"role={role}", "/odd", fault)
    # and one line of the log, whatever it asks
    [said] = [line for record in caplog.records if (line := record.getMessage()).startswith("connected: tls:")]
    assert "/odd from 127.0.0.1:" in said
    assert f" as {role}" in said
    assert fault in said
    await line_with(site, "event=refused", "function=6", "exception=01", f"role={role}", fault)
    await check_serves(site)


@pytest.mark.requirement("R-23", "TCP-32")
async def test_who_has_no_role_may_do_what_null_may(site_pki: Pki, tmp_path: Path) -> None:
    reads = '[{ units = "1", read = "all" }]'
    grants = {"viewer": f"{reads}\n[role.NULL]\ngrants = {reads}"}
    without = Tls(issuing_ca(site_pki), []).identity(site_pki, tmp_path / "without")
    faulty = Tls(issuing_ca(site_pki), [b""]).identity(site_pki, tmp_path / "faulty")
    async with running_site(site_pki, tmp_path, grants=grants) as site:
        async with tls_stream(site, without) as stream:
            await ask(stream, READ, READ_REPLY)
            await ask(stream, WRITE, WRITE_REFUSED)
        async with tls_stream(site, faulty) as stream:
            await ask(stream, READ, READ_REFUSED)
        await check_serves(site)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_ends_with_its_certificate(site: Site, tmp_path: Path, version: ssl.TLSVersion) -> None:
    identity = Tls(issuing_ca(site.pki), ends=3, name="short").identity(site.pki, tmp_path / "odd")
    async with tls_stream(site, identity, version=version) as stream:
        await ask(stream, READ, READ_REPLY)
        assert await stream[0].read() == b""
    assert "/short" in await line_with(site, "event=session", "state=expired", "door=tls")
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        async with tls_stream(site, identity, version=version) as stream:
            await ask(stream, READ, READ_REPLY)
    await line_with(site, "event=refused", "door=tls", "certificate has expired")
    await check_serves(site)
