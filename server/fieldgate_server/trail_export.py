"""Send the trail's lines elsewhere too: journald's own socket, and a remote syslog over TLS (RFC 5424, RFC 5425).

Each sink has a thread and a bounded queue. One that is slow or dead loses its own copies, which are counted and said in
the trail when it takes lines again; it never holds up the trail.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import ssl
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from pathlib import Path

from fieldgate_server.trail_settings import SyslogSettings
from fieldgate_server.trail_text import wall_time

log = logging.getLogger("fieldgate.audit")

QUEUE = 10_000
"""Lines that a sink may be behind."""
HEAD_EVERY = 60.0
"""Seconds between two heads."""
_PATIENCE = 10.0
"""Seconds that a sink may take to connect, or to take a line."""
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_CLOSING = 2.0
"""Seconds that a sink has at the end for what is left."""
_EVENT = re.compile(rb" event=([a-z-]{1,32})")
_PRIORITY = 13 * 8 + 5
"""Facility "log audit", severity "notice" (RFC 5424, 6.2.1)."""


class Sink(ABC):
    """Where copies of lines go. `note` writes a line of the trail's own."""

    def __init__(self, name: str, note: Callable[[str], None]) -> None:
        self._name = name
        self._note = note
        self._lines: deque[bytes] = deque()
        self._dropped = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"fieldgate-{name}", daemon=True)
        self._thread.start()

    def offer(self, lines: list[bytes]) -> None:
        """Take lines (without newlines); never waits."""
        with self._changed:
            self._lines.extend(lines)
            while len(self._lines) > QUEUE:
                self._lines.popleft()
                self._dropped += 1
            self._changed.notify()

    def close(self) -> None:
        """Send what is left, for a moment, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(_CLOSING)

    @abstractmethod
    def _send(self, line: bytes) -> None:
        """Send one line, connecting first where needed. Raises OSError or ValueError."""

    @abstractmethod
    def _disconnect(self) -> None:
        """Close what is open."""

    def _extra(self) -> float | None:
        """Send what is due besides lines, and give the seconds until there is something again. Raises as `_send`."""
        return None

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        idle: float | None = 0.0
        failed = False
        while True:
            with self._changed:
                if not self._lines and not self._closing:
                    self._changed.wait(idle)
                line = self._lines[0] if self._lines else None
                if self._closing and (line is None or failed):
                    break
            try:
                idle = self._extra()
                if line is None:
                    continue
                self._send(line)
            except (OSError, ValueError) as error:
                # a ValueError is a name that cannot be looked up
                if not failed:
                    why = error.strerror if isinstance(error, OSError) else None
                    log.warning("the trail is not sent to %s: %s", self._name, why or error)
                failed = True
                self._disconnect()
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            self._sent(line, failed)
            pause, failed = _FIRST_PAUSE, False
        self._disconnect()

    def _sent(self, line: bytes, failed: bool) -> None:
        with self._changed:
            # it may have been dropped meanwhile
            if self._lines and self._lines[0] is line:
                self._lines.popleft()
            dropped, self._dropped = self._dropped, 0
        if dropped:
            self._note(f"event=trail state=not-sent to={self._name} dropped={dropped}")
        if failed:
            log.warning("the trail is sent to %s again", self._name)


class Journald(Sink):
    """journald's native protocol: one datagram a line, one field a row."""

    def __init__(self, path: Path, note: Callable[[str], None]) -> None:
        """`path` is the socket, /run/systemd/journal/socket on most systems."""
        self._path = path
        self._socket: socket.socket | None = None
        super().__init__("journald", note)

    def _send(self, line: bytes) -> None:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.settimeout(_PATIENCE)
            self._socket.connect(str(self._path))
        self._socket.send(
            b"PRIORITY=5\nSYSLOG_FACILITY=13\nSYSLOG_IDENTIFIER=fieldgate-audit\nFIELDGATE_EVENT=%s\nMESSAGE=%s\n"
            % (_event(line), line)
        )

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Syslog(Sink):
    """A remote syslog over TLS; it is told the trail's head each minute, so that a cut end shows there."""

    def __init__(
        self,
        settings: SyslogSettings,
        context: ssl.SSLContext,
        note: Callable[[str], None],
        head: Callable[[], str | None],
    ) -> None:
        """`context` verifies the server; `head` gives SEQUENCE:DIGEST, None while there is none."""
        self._settings = settings
        self._context = context
        self._head = head
        self._head_due = time.monotonic()
        self._socket: ssl.SSLSocket | None = None
        self._host = (socket.gethostname() or "-")[:255]
        super().__init__("syslog", note)

    def _extra(self) -> float | None:
        if time.monotonic() >= self._head_due:
            head = self._head()
            if head is not None:
                self._send(f"{wall_time(time.time())} event=head head={head}".encode())
            self._head_due = time.monotonic() + HEAD_EVERY
        return max(0.0, self._head_due - time.monotonic())

    def _send(self, line: bytes) -> None:
        connection = self._connected()
        when, _, _ = line.partition(b" ")
        told = b"<%d>1 %s %s fieldgate %d %s - %s" % (
            _PRIORITY,
            when,
            self._host.encode("ascii", "replace"),
            os.getpid(),
            _event(line),
            line,
        )
        # RFC 5425, 4.3: its length in front
        connection.sendall(b"%d %s" % (len(told), told))

    def _connected(self) -> ssl.SSLSocket:
        if self._socket is not None:
            self._check_there(self._socket)
            return self._socket
        at = self._settings
        plain = socket.create_connection((at.host, at.port), timeout=_PATIENCE)
        try:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_PATIENCE * 1000))
            self._socket = self._context.wrap_socket(plain, server_hostname=at.name or at.host)
        except BaseException:
            plain.close()
            raise
        return self._socket

    def _check_there(self, connection: ssl.SSLSocket) -> None:
        """See whether the server has closed: it never says anything else."""
        connection.settimeout(0)
        try:
            if not connection.recv(1024):
                raise ConnectionResetError("the server has closed the connection")
        except ssl.SSLWantReadError:
            pass
        finally:
            connection.settimeout(_PATIENCE)

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _event(line: bytes) -> bytes:
    found = _EVENT.search(line)
    return found[1] if found else b"-"
