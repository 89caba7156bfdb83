"""What the SSH door offers to whoever connects, byte for byte, and that it keeps to strict key exchange (Terrapin)."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.asking import check_serves, line_with
from support.counts import LONG
from support.impostor import string
from support.site import Site

KEXINIT, IGNORE, DISCONNECT = 20, 2, 1
STRICT_CLIENT, STRICT_SERVER = b"kex-strict-c-v00@openssh.com", b"kex-strict-s-v00@openssh.com"
KEX = (b"curve25519-sha256", b"curve25519-sha256@libssh.org")
CIPHERS = (b"aes128-gcm@openssh.com", b"aes256-gcm@openssh.com")
MACS = (b"hmac-sha2-256-etm@openssh.com", b"hmac-sha2-512-etm@openssh.com")


def packet(payload: bytes) -> bytes:
    """Frame a packet before keys are agreed (RFC 4253, 6)."""
    padding = 8 - (5 + len(payload)) % 8
    padding += 8 if padding < 4 else 0
    return (1 + len(payload) + padding).to_bytes(4, "big") + bytes([padding]) + payload + bytes(padding)


async def read_packet(reader: asyncio.StreamReader) -> bytes:
    size = int.from_bytes(await reader.readexactly(4), "big")
    body = await reader.readexactly(size)
    return body[1 : size - body[0]]


def name_lists(kexinit: bytes) -> list[tuple[bytes, ...]]:
    """Read the ten lists of a KEXINIT (RFC 4253, 7.1)."""
    assert kexinit[0] == KEXINIT
    lists, at = [], 17
    for _ in range(10):
        size = int.from_bytes(kexinit[at : at + 4], "big")
        lists.append(tuple(kexinit[at + 4 : at + 4 + size].split(b",")) if size else ())
        at += 4 + size
    return lists


def kexinit(*extra: bytes) -> bytes:
    lists = [
        b",".join((*KEX, *extra)),
        b"ssh-ed25519",
        *[b",".join((*CIPHERS, b"chacha20-poly1305@openssh.com"))] * 2,
        *[MACS[0]] * 2,
        b"none",
        b"none",
    ]
    return bytes([KEXINIT]) + bytes(16) + b"".join(map(string, (*lists, b"", b""))) + bytes(5)


async def greet(site: Site) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, list[tuple[bytes, ...]]]:
    """Say hello as a peer that knows nothing of strict key exchange; gives what the door offers to it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.app.ports["ssh"])
    writer.write(b"SSH-2.0-old\r\n")
    assert (await reader.readline()).startswith(b"SSH-2.0-")
    return reader, writer, name_lists(await read_packet(reader))


async def test_the_door_offers_what_is_pinned_and_nothing_else(site: Site) -> None:
    _, writer, lists = await greet(site)
    writer.close()
    await writer.wait_closed()
    kex, keys, *rest = lists
    # the post-quantum one is missing where the machine's cryptography has none
    assert [name for name in kex if name != b"mlkem768x25519-sha256"] == [*KEX, b"ext-info-s", STRICT_SERVER]
    assert keys == (b"ssh-ed25519-cert-v01@openssh.com", b"ssh-ed25519")
    # no chacha20; and as every cipher is an AEAD, no MAC is ever in use, whose -etm Terrapin needs with CBC
    assert rest == [CIPHERS, CIPHERS, MACS, MACS, (b"none",), (b"none",), (), ()]


@pytest.mark.parametrize("strict", [False, True])
async def test_a_peer_that_says_strict_may_slip_nothing_in_before_its_keys(site: Site, strict: bool) -> None:
    """Terrapin needs a packet that is not of the key exchange; who has not said strict may send one."""
    reader, writer, _ = await greet(site)
    writer.write(packet(bytes([IGNORE]) + string(b"")) + packet(kexinit(*([STRICT_CLIENT] if strict else []))))
    try:
        if strict:
            answer = await read_packet(reader)
            assert answer[0] == DISCONNECT
            assert b"KEXINIT was not the first packet" in answer
            assert await reader.read() == b""
        else:
            # it waits for the peer's half of the key
            writer.write(packet(bytes([30]) + string(bytes([9]) + bytes(31))))
            assert (await read_packet(reader))[0] == 31
    finally:
        writer.close()
        await writer.wait_closed()
    await line_with(site, "event=refused", "door=ssh", "not authenticated")
    await check_serves(site)


@pytest.mark.long
@pytest.mark.skipif(not LONG, reason="installs ssh-audit from PyPI: make test-long")
@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_ssh_audit_has_nothing_against_the_door(site: Site, tmp_path: Path) -> None:
    """In an environment of its own: none of its code is ours to run otherwise."""
    python = tmp_path / "audit/bin/python"
    port = str(site.app.ports["ssh"])
    make = [sys.executable, "-m", "venv", str(tmp_path / "audit")]
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "ssh-audit>=3.9"]
    # its rate test is for what the door's limits are tested for elsewhere, and locks this address out
    audit = [str(python.with_name("ssh-audit")), "--json", "--skip-rate-test", "--port", port, "127.0.0.1"]
    for command in (make, pip):
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        if done.returncode and not os.environ.get("CI"):
            pytest.skip(f"{command[2]} failed: {done.stderr[-200:]}")
        assert done.returncode == 0, done.stderr
    done = await asyncio.to_thread(subprocess.run, audit, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert found["cves"] == []
    notes = [(one["algorithm"], one["notes"]) for kind in ("kex", "key", "enc", "mac") for one in found[kind]]
    assert len(notes) >= 8
    assert [(name, note["fail"]) for name, note in notes if "fail" in note] == []
