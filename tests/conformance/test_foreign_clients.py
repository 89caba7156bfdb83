"""Foreign TLS clients with no setting made for us: stunnel and HAProxy before mbpoll, and pymodbus's own TLS client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymodbus.client import AsyncModbusTlsClient

from support.box import Box
from support.openssl import exchange, piped, run, s_client
from support.tap import records, tapped

TOOLS = ("stunnel4", "haproxy", "mbpoll", "openssl")
one_loop = pytest.mark.asyncio(loop_factories=["uvloop"])
requirement = pytest.mark.requirement
READ_125 = bytes.fromhex("00010000000601030000007d")
READ_125_REPLY = bytes.fromhex("0001000000fd0103fa") + b"\0\x11" * 125
SEALED_13 = 17
"""What TLS 1.3 adds to a record: the tag and the type (RFC 8446, 5.2)."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextlib.contextmanager
def stunnel(box: Box, folder: Path) -> Iterator[int]:
    """Run stunnel as the TLS client of plain masters, verifying the chain and the address."""
    port, identity = free_port(), box.identity("operator")
    file = folder / "stunnel.conf"
    file.write_text(
        f"foreground = yes\npid =\n[modbus]\nclient = yes\naccept = 127.0.0.1:{port}\n"
        f"connect = 127.0.0.1:{box.ports['tls']}\ncert = {identity}/tls-chain.pem\nkey = {identity}/tls-key.pem\n"
        f"CAfile = {identity}/tls-server-ca.pem\nverifyChain = yes\ncheckIP = 127.0.0.1\n"
    )
    with piped("stunnel4", str(file)):
        reachable(port)
        yield port


@contextlib.contextmanager
def haproxy(box: Box, folder: Path) -> Iterator[int]:
    """Run HAProxy as the TLS client of plain masters, verifying the chain and the name."""
    port, identity = free_port(), box.identity("operator")
    both = folder / "client.pem"
    both.write_bytes((identity / "tls-chain.pem").read_bytes() + (identity / "tls-key.pem").read_bytes())
    file = folder / "haproxy.cfg"
    file.write_text(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n"
        f"frontend plain\n  bind 127.0.0.1:{port}\n  default_backend door\n"
        f"backend door\n  server box 127.0.0.1:{box.ports['tls']} ssl crt {both} "
        f"ca-file {identity}/tls-server-ca.pem verify required verifyhost localhost\n"
    )
    with piped("haproxy", "-db", "-f", str(file)):
        reachable(port)
        yield port


def reachable(port: int) -> None:
    """Wait until something listens."""
    end = time.monotonic() + 10
    while True:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        assert time.monotonic() < end, "nothing listens"
        time.sleep(0.02)


@requirement("R-33")
@pytest.mark.parametrize("proxy", [stunnel, haproxy], ids=["stunnel", "haproxy"])
def test_mbpoll_works_behind_a_tls_proxy(either_box: Box, tmp_path: Path, proxy: type) -> None:
    with proxy(either_box, tmp_path) as port:
        where = ("-m", "tcp", "-p", str(port), "-a", "1", "-t", "4", "-r", "1")
        read = run("mbpoll", *where, "-c", "125", "-1", "127.0.0.1")
        assert read.code == 0, read
        assert read.out.count("\t17") == 125
        written = run("mbpoll", *where, "127.0.0.1", "--", "17")
        assert written.code == 0, written
        assert "Written 1 references" in written.out


@one_loop
@requirement("R-05")
async def test_a_stock_pymodbus_client_takes_one_record_for_one_frame(either_box: Box) -> None:
    identity = either_box.identity("operator")
    context = ssl.create_default_context(cafile=str(identity / "tls-server-ca.pem"))
    context.load_cert_chain(identity / "tls-chain.pem", identity / "tls-key.pem")
    with tapped(either_box.ports["tls"]) as tap:
        client = AsyncModbusTlsClient("127.0.0.1", port=tap.port, sslctx=context, retries=0, reconnect_delay=0)
        assert await client.connect()
        for _ in range(20):
            assert (await client.read_holding_registers(0, count=125, device_id=1)).registers == [17] * 125
        # all at once: its requests follow each other, and so do the replies
        many = await asyncio.gather(*(client.read_holding_registers(0, count=125, device_id=1) for _ in range(20)))
        assert [reply.registers for reply in many] == [[17] * 125] * 20
        client.close()
        replies = [one.size for one in records(tap.answered) if one.size == len(READ_125_REPLY) + SEALED_13]
    assert len(replies) == 40


@requirement("R-05")
@pytest.mark.parametrize("limit", [None, "512"], ids=["", "max_fragment_length 512"])
def test_pipelined_replies_share_records_whole(ecdsa_box: Box, limit: str | None) -> None:
    """Only whoever asks for 512 bytes and pipelines gets a reply in two records; one reply alone never is."""
    options = ("-tls1_3", "-quiet", *(("-maxfraglen", limit) if limit else ()))
    with tapped(ecdsa_box.ports["tls"]) as tap:
        arguments = s_client(tap.port, ecdsa_box.identity("operator"), *options)
        assert exchange(arguments, READ_125 * 8, 8 * len(READ_125_REPLY)) == READ_125_REPLY * 8
        sizes = [one.size - SEALED_13 for one in records(tap.answered) if one.kind == 23]
    whole = [size for size in sizes if size and size % len(READ_125_REPLY) == 0]
    if limit is None:
        assert sum(whole) == 8 * len(READ_125_REPLY)
    else:
        assert max(sizes) <= 512
