"""Refused peers that hammer: few lines, every refusal counted, and an honest operator's writes one by one."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from bisect import bisect_left
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path

import asyncssh
import pytest

from fieldgate_core.cli import main
from support.asking import Stream
from support.box import Box, running_box
from support.counts import rounds
from support.site import Pki

REQUESTS = rounds(5_000, 200_000)
"""Refused requests, in all sessions."""
VISITS = rounds(200, 2_000)
"""Sessions of a refused peer, at each door."""
NOISE = rounds(400, 5_000)
"""Connections at each door that speak another protocol."""
STRANGERS = rounds(6, 60)
"""Addresses that fail to authenticate at each door until they are locked out."""
FAILURES = 9
"""After 8 failed authentications the next locks an address out."""

MINUTE = timedelta(seconds=60)
FEW_HUNDRED = 300
FUNCTIONS = (1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 15, 16, 17, 20, 21, 22, 23, 24, 43, 65, 100, 127)
WRITES = (5, 6, 15, 16)
REFUSED = re.compile(r"event=refused (.*?)(?: repeated=(\d+))?(?: mac=\w+)?$")
SOURCE = re.compile(r'event=\w+ (?:identity=(?:"[^"]*"|\S+) role=(\w+) )?door=(\w+)')
SESSION = re.compile(r"event=session .*? state=(\w+)")


def request(number: int, unit: int, function: int, address: int, value: int) -> bytes:
    """Give a request that is well formed, whatever its function."""
    cells = address.to_bytes(2, "big")
    if function in {1, 2, 3, 4}:
        body = cells + (value % 9 + 1).to_bytes(2, "big")
    elif function == 5:
        body = cells + (b"\xff\0" if value % 2 else b"\0\0")
    elif function == 15:
        body = cells + b"\0\x08\1" + (value & 0xFF).to_bytes(1, "big")
    elif function == 16:
        body = cells + b"\0\1\2" + value.to_bytes(2, "big")
    else:
        body = cells + value.to_bytes(2, "big")
    pdu = bytes([function]) + body
    return (number & 0xFFFF).to_bytes(2, "big") + b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes([unit]) + pdu


def client_context(trusted: Pki, own: Pki, role: str) -> ssl.SSLContext:
    """Give a context that trusts one PKI's server and shows another's certificate."""
    context = ssl.create_default_context(cafile=str(trusted.client(role) / "tls-server-ca.pem"))
    context.load_cert_chain(own.client(role) / "tls-chain.pem", own.client(role) / "tls-key.pem")
    return context


def ssh_connection(
    box: Box, own: Pki, source: str = "127.0.0.1"
) -> contextlib.AbstractAsyncContextManager[asyncssh.SSHClientConnection]:
    """Log in at the SSH door as a viewer, with this PKI's certificate."""
    identity = own.client("viewer")
    return asyncssh.connect(
        "127.0.0.1",
        box.ports["ssh"],
        username="viewer",
        client_keys=[(str(identity / "ssh-key"), str(identity / "ssh-key-cert.pub"))],
        known_hosts=str(box.identity("viewer") / "known_hosts"),
        agent_path=None,
        config=None,
        local_addr=(source, 0),
    )


async def be_refused(stream: Stream, visit: int, functions: tuple[int, ...]) -> int:
    """Send one visit's requests, no two of which are alike, and check that each is refused; gives their count."""
    reader, writer = stream
    numbers = range(visit, REQUESTS, VISITS)
    writer.write(
        b"".join(
            request(n, n % 247 + 1, functions[n % len(functions)], n * 7919 % 0x10000, n * 31 % 0x10000)
            for n in numbers
        )
    )
    for n in numbers:
        reply = await reader.readexactly(9)
        assert reply[7:] == bytes([functions[n % len(functions)] | 0x80, 1]), reply.hex(" ")
    return len(numbers)


async def hammer_tls(box: Box) -> int:
    """A certificate without a role that the policy knows: everything is refused."""
    context = client_context(box.pki, box.pki, "stranger")
    refused = 0
    for visit in range(VISITS):
        stream = await asyncio.open_connection("127.0.0.1", box.ports["tls"], ssl=context)
        refused += await be_refused(stream, visit, FUNCTIONS)
        await left(stream[1])
    return refused


async def hammer_ssh(box: Box) -> int:
    """A viewer that writes, through one channel after another."""
    refused = 0
    async with ssh_connection(box, box.pki) as connection:
        for visit in range(VISITS):
            reader, writer = await connection.open_connection("localhost", 502)
            refused += await be_refused((reader, writer), visit, WRITES)
            writer.close()
            await writer.channel.wait_closed()
    return refused


async def left(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()


async def make_noise(box: Box, door: str) -> int:
    """Speak another protocol, a different one each time, from many addresses."""
    for n in range(NOISE):
        source = f"127.1.{n % 250}.{n // 250 + 1}"
        reader, writer = await asyncio.open_connection("127.0.0.1", box.ports[door], local_addr=(source, 0))
        writer.write(bytes([n & 0xFF]) + b"GET / HTTP/1.1\r\n\r\n" if n % 3 else b"GET /%d\r\n\r\n" % n)
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            while await reader.read(4096):
                pass
        await left(writer)
    return NOISE


async def fail_tls(box: Box, foreign: Pki) -> int:
    """Show another PKI's certificate until each address is locked out."""
    context = client_context(box.pki, foreign, "viewer")
    for n in range(STRANGERS):
        for _ in range(FAILURES):
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", box.ports["tls"], ssl=context, local_addr=(f"127.2.0.{n + 1}", 0)
                )
                try:
                    assert await reader.read() == b""
                finally:
                    await left(writer)
    # each failure, and each lock-out
    return STRANGERS * (FAILURES + 1)


async def fail_ssh(box: Box, foreign: Pki) -> int:
    for n in range(STRANGERS):
        for _ in range(FAILURES):
            with pytest.raises(asyncssh.PermissionDenied):
                async with ssh_connection(box, foreign, f"127.2.0.{n + 1}"):
                    pass
    return STRANGERS * (FAILURES + 1)


async def operate(box: Box, over: asyncio.Event) -> int:
    """Write a number that rises until the hammering is over, each write when the one before is acknowledged."""
    context = client_context(box.pki, box.pki, "operator")
    reader, writer = await asyncio.open_connection("127.0.0.1", box.ports["tls"], ssl=context)
    count = 0
    while not over.is_set():
        count += 1
        frame = request(count, 1, 6, 90, count & 0xFFFF)
        writer.write(frame)
        assert await reader.readexactly(12) == frame
        await asyncio.sleep(0.01)
    # an operator's own refusal has a line of its own, however many others have been refused
    writer.write(request(0, 1, 0x5A, 0, 0))
    assert (await reader.readexactly(9))[7:] == b"\xda\1"
    await left(writer)
    return count


class Trail:
    """The lines of one source: an identity at a door, or a door before anybody is authenticated."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    @property
    def refusals(self) -> int:
        """Refusals, those that are only counted included."""
        return sum(int(found[2] or 1) for line in self.lines if (found := REFUSED.search(line)))

    def sessions(self, state: str) -> int:
        """Sessions that were opened or closed, those that are only counted included."""
        singly = [found[1] for line in self.lines if (found := SESSION.search(line))]
        return singly.count(state) + self.total(state, "what=further")

    def total(self, name: str, *parts: str) -> int:
        """The sum of a count in the lines on sessions that hold these parts."""
        lines = [line for line in self.lines if "event=session" in line and all(part in line for part in parts)]
        return sum(int(count) for line in lines for count in re.findall(rf" {name}=(\d+)", line))

    @property
    def most_in_a_minute(self) -> int:
        """The most lines within 60 s."""
        times = [datetime.fromisoformat(line.partition(" ")[0]) for line in self.lines]
        return max(bisect_left(times, start + MINUTE) - at for at, start in enumerate(times))


def by_source(lines: list[str]) -> dict[tuple[str | None, str], Trail]:
    """Sort lines by who caused them: role and door, each role being one identity here; None before that is known."""
    found: dict[tuple[str | None, str], list[str]] = defaultdict(list)
    for line in lines:
        if source := SOURCE.search(line):
            found[source[1], source[2]].append(line)
    return {source: Trail(of) for source, of in found.items()}


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_refused_peers_that_hammer_add_few_lines_and_crowd_out_nobody(
    site_pki: Pki, other_pki: Pki, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, key = tmp_path / "audit.log", tmp_path / "kept.key"
    assert main(["server", "audit", "init", str(file)]) == 0
    key.touch(0o600)
    key.write_text(capsys.readouterr().out)
    viewer = '[{ units = "all", read = "all" }]'
    with running_box(site_pki, tmp_path, grants={"viewer": viewer}) as box:
        over = asyncio.Event()
        operating = asyncio.create_task(operate(box, over))
        attacks = [
            *(hammer_tls(box), hammer_ssh(box)),
            *(make_noise(box, "tls"), make_noise(box, "ssh")),
            *(fail_tls(box, other_pki), fail_ssh(box, other_pki)),
        ]
        try:
            by_tls, by_ssh, noise_tls, noise_ssh, failed_tls, failed_ssh = await asyncio.gather(*attacks)
        finally:
            over.set()
            written = await operating
        assert box.stop() == 0
    trails = by_source(box.audit_lines())
    hammering = {("INVALID", "tls"): by_tls, ("viewer", "ssh"): by_ssh}
    outside = {(None, "tls"): noise_tls + failed_tls, (None, "ssh"): noise_ssh + failed_ssh}
    assert trails.keys() == hammering.keys() | outside.keys() | {("operator", "tls")}
    for source, refused in (hammering | outside).items():
        assert trails[source].most_in_a_minute <= FEW_HUNDRED, source
        assert trails[source].refusals == refused, source
    for source, refused in hammering.items():
        assert refused == REQUESTS
        assert (trails[source].sessions("opened"), trails[source].sessions("closed")) == (VISITS, VISITS)
        assert trails[source].total("refusals") == refused

    operator = trails["operator", "tls"]
    for outcome in ("intent", "done"):
        values = [re.search(r" new=(\w{4})\b", line) for line in operator.lines if f"outcome={outcome} " in line]
        assert [int(value[1], 16) for value in values if value] == [n & 0xFFFF for n in range(1, written + 1)]
    [own] = [line for line in operator.lines if "event=refused" in line]
    assert "function=90 " in own
    assert (operator.sessions("opened"), operator.sessions("closed")) == (1, 1)
    assert len(operator.lines) == 2 * written + 3

    assert main(["server", "audit", "verify", str(file), "--key", str(key)]) == 0, capsys.readouterr().out
