"""Silence, garbage and a flood of handshakes, from many addresses at once: an honest client is served throughout."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import wait_until
from support.asking import READ, READ_REPLY
from support.box import Box
from support.counts import rounds

FLOOD = Path(__file__).parents[2] / "bench/peers/flood.py"


@contextlib.contextmanager
def flooded(port: int) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, FLOOD, str(port), "--handshakes-per-second", "400"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            process.kill()


def honest_reply(port: int, context: ssl.SSLContext) -> bytes:
    """Connect as an honest client, ask once, and give the reply."""
    with (
        socket.create_connection(("127.0.0.1", port), 10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as stream,
    ):
        stream.sendall(READ)
        return stream.recv(300)


@pytest.mark.long
def test_an_honest_client_is_served_throughout(box: Box) -> None:
    identity = box.identity("viewer")
    context = ssl.create_default_context(cafile=str(identity / "tls-server-ca.pem"))
    context.load_cert_chain(identity / "tls-chain.pem", identity / "tls-key.pem")
    port = box.ports["tls"]
    with flooded(port):
        # the door is full
        wait_until(lambda: "too many handshakes under way" in "".join(box.audit_lines()))
        for _ in range(rounds(60, 1000)):
            assert honest_reply(port, context) == READ_REPLY
    refused = [line for line in box.audit_lines() if "event=refused" in line]
    assert any("too many handshakes under way" in line for line in refused)
    assert not [line for line in refused if re.search(r"peer=127\.0\.0\.1:", line)]
    assert honest_reply(port, context) == READ_REPLY
    assert box.stop() == 0
