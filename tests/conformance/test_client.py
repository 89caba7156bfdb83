"""Our client's half: the ClientHello that it sends, and what it shows to `openssl s_server`."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from tlslite.constants import CipherSuite, ECPointFormat, ExtensionType, GroupName
from tlslite.messages import ClientHello

from fieldgate_client.connection import connect
from fieldgate_core.credentials import ROLE_OID
from fieldgate_core.errors import FieldgateError
from support.asking import READ, READ_REPLY
from support.hello import ECDSA, RENEGOTIATION_INFO, RSA, first_record, heard
from support.openssl import certificates, piped
from support.site import Pki

TOOLS = ("openssl",)
AEAD = re.compile("TLS_(ECDHE_(ECDSA|RSA)_WITH_)?(AES_(128|256)_GCM|CHACHA20_POLY1305)_SHA(256|384)")
LISTENING = Path("/proc/net/tcp")
requirement = pytest.mark.requirement
one_loop = pytest.mark.asyncio(loop_factories=["uvloop"])


async def opening(url: str, identity: Path) -> None:
    with contextlib.suppress(FieldgateError):
        async with connect(url, identity=identity, open_deadline=10):
            pass


async def its_hello(identity: Path, host: str = "localhost") -> ClientHello:
    """Take our client's first record, and hang up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take() -> bytes:
            connection, _ = listener.accept()
            with connection:
                return first_record(connection)

        record, _ = await asyncio.gather(
            asyncio.to_thread(take), opening(f"modbus+tls://{host}:{listener.getsockname()[1]}", identity)
        )
        return heard(record)


@one_loop
@requirement("R-01", "R-12", "R-13", "R-14", "R-36", "R-37", "R-39", "R-40", "R-50", "R-51", "R-53", "R-62", "R-66")
async def test_the_client_offers_what_is_mandatory_and_nothing_without_encryption(site_pki: Pki) -> None:
    hello = await its_hello(site_pki.client("viewer"))
    offered = [suite for suite in hello.cipher_suites if suite != RENEGOTIATION_INFO]
    assert {ECDSA, RSA} <= set(offered)
    names = [CipherSuite.ietfNames[suite] for suite in offered]
    old = [name for name in names if not AEAD.fullmatch(name)]
    assert old == []


@one_loop
@requirement("R-61", "R-63", "R-64")
async def test_the_client_names_its_curves_and_point_formats(site_pki: Pki) -> None:
    hello = await its_hello(site_pki.client("viewer"))
    groups = hello.getExtension(ExtensionType.supported_groups)
    formats = hello.getExtension(ExtensionType.ec_point_formats)
    assert groups is not None
    assert formats is not None
    assert GroupName.secp256r1 in groups.groups
    assert ECPointFormat.uncompressed in formats.formats


@one_loop
@requirement("R-59", "R-60")
async def test_the_client_offers_no_compression_and_indicates_renegotiation(site_pki: Pki) -> None:
    hello = await its_hello(site_pki.client("viewer"))
    assert bytes(hello.compression_methods) == b"\0"
    indicated = RENEGOTIATION_INFO in hello.cipher_suites
    assert indicated or hello.getExtension(ExtensionType.renegotiation_info) is not None


@one_loop
@requirement("R-34", "R-35")
async def test_the_client_takes_nothing_older_than_tls_12(site_pki: Pki) -> None:
    versions = (await its_hello(site_pki.client("viewer"))).getExtension(ExtensionType.supported_versions)
    assert versions is not None
    assert sorted(versions.versions) == [(3, 3), (3, 4)]


# before stock servers


@contextlib.contextmanager
def s_server(pki: Pki, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run `openssl s_server` as a box that asks for a certificate."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    chain = str(pki.server / "tls-chain.pem")
    arguments = ["s_server", "-accept", f"127.0.0.1:{port}", "-cert", chain, "-cert_chain", chain, "-naccept", "1"]
    arguments += ["-key", str(pki.server / "tls-key.pem"), "-Verify", "3", "-verify_return_error"]
    arguments += ["-CAfile", str(pki.client("viewer") / "tls-server-ca.pem")]
    with piped("openssl", *arguments, *options) as process:
        yield process, port


async def listens(port: int) -> None:
    """Wait until something listens; to try by connecting would use up the one connection that it takes."""
    async with asyncio.timeout(10):
        while f"0100007F:{port:04X} 00000000:0000 0A" not in await asyncio.to_thread(LISTENING.read_text):
            await asyncio.sleep(0.01)


@one_loop
@requirement("R-02", "R-06", "R-08", "R-19", "R-20", "R-21", "R-22", "R-46", "TCP-28")
@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_the_client_shows_its_chain_up_to_the_root(site_pki: Pki, rsa_pki: Pki, kind: str, version: str) -> None:
    pki = rsa_pki if kind == "rsa" else site_pki
    with s_server(pki, version) as (process, port):
        await listens(port)
        await opening(f"modbus+tls://localhost:{port}", pki.client("viewer"))
        out, err = await asyncio.to_thread(process.communicate, timeout=20)
    text = (out + err).decode()
    # it prints the leaf, and each certificate of the chain as it verifies it
    for depth, name in ((0, "viewer"), (1, "issuing-1"), (2, "root-1")):
        assert re.search(f"depth={depth} CN = [a-z-]*{name}", text), text
    leaf = certificates(text)[0]
    [role] = [extension for extension in leaf.extensions if extension.oid.dotted_string == ROLE_OID]
    assert isinstance(role.value, x509.UnrecognizedExtension)
    assert role.value.value == b"\x0c\x06viewer"


@one_loop
@requirement("R-05", "R-33")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_the_client_speaks_mbap_inside_tls_to_a_stock_server(site_pki: Pki, version: str) -> None:
    with s_server(site_pki, version, "-quiet") as (process, port):
        await listens(port)
        assert process.stdin is not None
        assert process.stdout is not None
        async with connect(f"modbus+tls://localhost:{port}", identity=site_pki.client("viewer")) as client:
            asked = asyncio.ensure_future(client.read_holding(0))
            request = await asyncio.to_thread(process.stdout.read, len(READ))
            assert request[2:] == READ[2:]
            process.stdin.write(request[:2] + READ_REPLY[2:])
            process.stdin.flush()
            assert await asked == [17]
