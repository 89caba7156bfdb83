"""The trail elsewhere too: journald's socket, and syslog over TLS to a verified server; dead ones lose nothing here."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldgate_core.cli import main
from fieldgate_server import trail_export
from fieldgate_server.audit import Audit
from fieldgate_server.trail_settings import AuditSettings, SyslogSettings
from fieldgate_tunnel import tls
from support.site import Pki


def test_journald_gets_each_line_with_its_event(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(path))
        journal.settimeout(30)
        audit = Audit(AuditSettings(tmp_path / "audit.log", journald=path))
        audit.line("write", "identity=tls:x ", outcome="intent")
        told = journal.recv(65536).decode()
        audit.close()
    [line] = (tmp_path / "audit.log").read_text().splitlines()
    fields = dict(row.split("=", 1) for row in told.splitlines())
    assert fields == {
        "PRIORITY": "5",
        "SYSLOG_FACILITY": "13",
        "SYSLOG_IDENTIFIER": "fieldgate-audit",
        "FIELDGATE_EVENT": "write",
        "MESSAGE": line,
    }


def test_lines_at_breaks_of_the_trail_are_sent_too(tmp_path: Path) -> None:
    path, file = tmp_path / "journal", tmp_path / "audit.log"
    assert main(["server", "audit", "init", str(file)]) == 0
    file.write_text("torn")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(path))
        journal.settimeout(30)
        audit = Audit(AuditSettings(file, journald=path, rotate_bytes=600, keep=1))
        for _ in range(8):
            audit.line("write")
        audit.close()
        head = audit.head[0]
        told = [journal.recv(65536).decode() for _ in range(head)]
    assert [int(found[1]) for one in told if (found := re.search(r" seq=(\d+) ", one))] == list(range(1, head + 1))
    for state in ("continued", "new-file", "deleted"):
        assert any(f"event=trail state={state} " in one for one in told), state


def test_a_journal_that_is_not_there_loses_nothing_here_and_is_told_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail_export, "QUEUE", 3)
    monkeypatch.setattr(trail_export, "_FIRST_PAUSE", 0.01)
    path, file = tmp_path / "journal", tmp_path / "audit.log"
    audit = Audit(AuditSettings(file, journald=path))
    for number in range(10):
        audit.line("write", number=number)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(path))
        journal.settimeout(30)
        told = [journal.recv(65536).decode() for _ in range(4)]
        audit.close()
    assert [re.findall(r"number=(\d+)", one) for one in told[:3]] == [["7"], ["8"], ["9"]]
    assert "event=trail state=not-sent to=journald dropped=7" in told[3]
    lines = file.read_text().splitlines()
    assert len(lines) == 11
    assert lines[10].endswith("event=trail state=not-sent to=journald dropped=7")


class SyslogServer:
    """A syslog server over TLS, by Python's own ssl; it asks for a client's certificate where it is told to."""

    def __init__(self, pki: Pki, *, mutual: bool) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pki.server / "tls-chain.pem", pki.server / "tls-key.pem")
        if mutual:
            self._context.verify_mode = ssl.CERT_REQUIRED
            self._context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            self._context.load_verify_locations(pki.server / "tls-client-ca.pem")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(30)
        self.port: int = self._listener.getsockname()[1]

    @contextlib.contextmanager
    def accept(self) -> Iterator[ssl.SSLSocket]:
        plain, _ = self._listener.accept()
        plain.settimeout(30)
        with self._context.wrap_socket(plain, server_side=True) as connection:
            yield connection

    def close(self) -> None:
        self._listener.close()


def messages(connection: ssl.SSLSocket, count: int) -> list[str]:
    """Read so many messages, framed as RFC 5425, 4.3 has it."""
    stream = connection.makefile("rb")
    taken = []
    for _ in range(count):
        size = b""
        while (byte := stream.read(1)) != b" ":
            assert byte.isdigit()
            size += byte
        taken.append(stream.read(int(size)).decode())
    return taken


@pytest.fixture
def server(site_pki: Pki) -> Iterator[SyslogServer]:
    made = SyslogServer(site_pki, mutual=False)
    yield made
    made.close()


def syslog(pki: Pki, port: int, **more: object) -> SyslogSettings:
    ca = pki.client("viewer") / "tls-server-ca.pem"
    return SyslogSettings(host="127.0.0.1", ca=ca, port=port, **more)  # type: ignore[arg-type]


RFC5424 = re.compile(r"<109>1 (\S+) \S+ fieldgate \d+ ([a-z]+) - (.*)")


def test_syslog_gets_each_line_in_rfc_5424(server: SyslogServer, site_pki: Pki, tmp_path: Path) -> None:
    audit = Audit(AuditSettings(tmp_path / "audit.log", syslog=syslog(site_pki, server.port)))
    audit.line("write", "identity=tls:x ", outcome="intent")
    audit.line("control")
    with server.accept() as connection:
        told = messages(connection, 2)
        audit.close()
    lines = (tmp_path / "audit.log").read_text().splitlines()
    for message, line, event in zip(told, lines, ("write", "control"), strict=True):
        found = RFC5424.fullmatch(message)
        assert found
        assert found.groups() == (line.split()[0], event, line)


def test_syslog_is_told_the_head_that_verify_asks_for(
    server: SyslogServer,
    site_pki: Pki,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from fieldgate_core.cli import main

    monkeypatch.setattr(trail_export, "HEAD_EVERY", 0.01)
    file, key = tmp_path / "audit.log", tmp_path / "key"
    assert main(["server", "audit", "init", str(file)]) == 0
    key.touch(0o600)
    key.write_text(capsys.readouterr().out)
    audit = Audit(AuditSettings(file, syslog=syslog(site_pki, server.port)))
    audit.line("write", number=1)
    audit.line("write", number=2)
    head = None
    with server.accept() as connection:
        stream = (message for _ in iter(int, 1) for message in messages(connection, 1))
        head = next(
            found[1] for message in stream if (found := re.search(r"event=head head=(2:[0-9a-f]{64})$", message))
        )
        audit.close()
    words = ["server", "audit", "verify", str(file), "--key", str(key), "--head", head]
    assert main(words) == 0
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:1]))
    assert main(words) == 1
    assert "cut off" in capsys.readouterr().out


def test_a_remote_that_breaks_off_is_connected_anew(
    server: SyslogServer, site_pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail_export, "_FIRST_PAUSE", 0.01)
    audit = Audit(AuditSettings(tmp_path / "audit.log", syslog=syslog(site_pki, server.port)))
    audit.line("write", number=1)
    with server.accept() as connection:
        assert messages(connection, 1)[0].endswith("number=1")
    audit.line("write", number=2)
    with server.accept() as connection:
        assert messages(connection, 1)[0].endswith("number=2")
        audit.close()


def test_a_dead_remote_does_not_hold_up_the_trail(site_pki: Pki, tmp_path: Path) -> None:
    # it accepts, and never says anything
    with socket.create_server(("127.0.0.1", 0)) as mute:
        audit = Audit(AuditSettings(tmp_path / "audit.log", syslog=syslog(site_pki, mute.getsockname()[1])))
        for number in range(100):
            assert audit.line("write", number=number) is None
        audit._writer.close()  # type: ignore[union-attr]
    assert len((tmp_path / "audit.log").read_text().splitlines()) == 100


@pytest.mark.parametrize("field", ["host", "name"])
@pytest.mark.parametrize("name", ["logs..example.com", ".example.com", "l" * 64, "logs example", "logs\0", ""])
def test_a_name_that_no_host_can_have_is_refused(tmp_path: Path, field: str, name: str) -> None:
    names = {"host": "logs.example.com", field: name}
    with pytest.raises(ValueError, match=f"^{field} "):
        SyslogSettings(ca=tmp_path, **names)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["logs", "logs.example.com.", "192.0.2.7", "2001:db8::1", "fe80::1%eth0", "b\u00fccher.de"]
)
def test_a_name_or_an_address_that_a_host_can_have_is_taken(tmp_path: Path, name: str) -> None:
    assert SyslogSettings(host=name, name=name, ca=tmp_path).host == name


class Picky(trail_export.Sink):
    """A sink whose first line meets a name that cannot be looked up."""

    def __init__(self) -> None:
        self.tried = 0
        self.taken = threading.Event()
        super().__init__("picky", lambda text: None)

    def _send(self, line: bytes) -> None:
        self.tried += 1
        if self.tried == 1:
            socket.getaddrinfo("logs..example.com", 1)
        self.taken.set()

    def _disconnect(self) -> None:
        pass


def test_a_name_that_cannot_be_looked_up_does_not_end_a_sink(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trail_export, "_FIRST_PAUSE", 0.01)
    sink = Picky()
    sink.offer([b"line"])
    assert sink.taken.wait(30)
    sink.close()
    assert "the trail is not sent to picky: " in caplog.text
    assert "the trail is sent to picky again" in caplog.text


@pytest.mark.parametrize("what", ["another CA", "another name"])
def test_a_server_that_is_not_the_one_is_sent_nothing(
    server: SyslogServer, site_pki: Pki, other_pki: Pki, tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    at = syslog(other_pki, server.port) if what == "another CA" else syslog(site_pki, server.port, name="elsewhere")
    refused = threading.Event()

    def serve() -> None:
        with contextlib.suppress(ssl.SSLError, ConnectionError), server.accept() as connection:
            if connection.recv(1) == b"":
                refused.set()
            return
        refused.set()

    thread = threading.Thread(target=serve)
    thread.start()
    audit = Audit(AuditSettings(tmp_path / "audit.log", syslog=at))
    audit.line("write")
    thread.join(30)
    assert refused.is_set()
    audit.close()
    assert "the trail is not sent to syslog" in caplog.text


def test_a_client_certificate_is_shown_where_one_is_set(site_pki: Pki, tmp_path: Path) -> None:
    server = SyslogServer(site_pki, mutual=True)
    at = syslog(site_pki, server.port, identity=site_pki.client("viewer"))
    audit = Audit(AuditSettings(tmp_path / "audit.log", syslog=at))
    audit.line("write", number=1)
    with server.accept() as connection:
        assert connection.getpeercert()
        assert messages(connection, 1)[0].endswith("number=1")
        audit.close()
    server.close()


def test_the_context_always_verifies(site_pki: Pki) -> None:
    context = tls.verifying_context(site_pki.client("viewer") / "tls-server-ca.pem")
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
