"""The trail: one line for every session, refusal and write, on its way to the disk before the reply leaves."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from asyncio import Future
from pathlib import Path

from fieldgate_server import expiry
from fieldgate_server.expiry import Expiry
from fieldgate_server.trail_collapse import Collapse
from fieldgate_server.trail_export import Journald, Sink, Syslog
from fieldgate_server.trail_file import TrailFile
from fieldgate_server.trail_settings import AuditSettings
from fieldgate_server.trail_text import facts_text
from fieldgate_server.trail_writer import AuditError, Writer
from fieldgate_tunnel import tls

__all__ = ["Audit", "AuditError", "facts_text"]

log = logging.getLogger("fieldgate.audit")


class Audit:
    """Writes the trail to a file, or to the log where there is none. Refusals that repeat are counted."""

    def __init__(self, settings: AuditSettings | Path | None) -> None:
        """Open the trail; a path stands for settings with nothing else. Raises ConfigError."""
        self._collapse = Collapse()
        self._mutex = threading.Lock()
        self._closed = False
        self._sequence = 0
        self._trail: TrailFile | None = None
        self._writer: Writer | None = None
        self._sinks: list[Sink] = []
        self.expiries: tuple[Expiry, ...] = ()
        """When the certificates end that speak to a remote syslog; they are loaded once."""
        if settings is None:
            return
        if isinstance(settings, Path):
            settings = AuditSettings(settings)
        context = None
        if settings.syslog is not None:
            context = tls.verifying_context(settings.syslog.ca, settings.syslog.identity)
            self.expiries = expiry.of_client(settings.syslog.ca, settings.syslog.identity)
        self._trail = TrailFile(settings)
        collapse, mutex, sinks = self._collapse, self._mutex, self._sinks

        def due(everything: bool) -> list[str]:
            with mutex:
                return collapse.due(time.monotonic(), everything=everything)

        def written(lines: list[bytes]) -> None:
            for sink in sinks:
                sink.offer(lines)

        self._writer = Writer(self._trail, settings, due, written)
        weakref.finalize(self, self._writer.stop).atexit = False
        if settings.journald is not None:
            sinks.append(Journald(settings.journald, self._writer.note))
        if settings.syslog is not None and context is not None:
            sinks.append(Syslog(settings.syslog, context, self._writer.note, self._trail.head_text))

    @property
    def chained(self) -> bool:
        """Tell whether the lines are chained."""
        return self._trail is not None and self._trail.chained

    @property
    def head(self) -> tuple[int, str | None]:
        """The last line's sequence, 0 for none, and its digest in hexadecimal where the trail is chained."""
        return self._trail.head if self._trail is not None else (self._sequence, None)

    @property
    def latest(self) -> float:
        """The latest time that the trail knew when it was opened, in seconds since 1970; 0: none."""
        return self._trail.latest if self._trail is not None else 0.0

    @property
    def lag(self) -> float:
        """Seconds for which the oldest line has waited for the disk."""
        return self._writer.lag if self._writer is not None else 0.0

    def line(self, event: str, who: str = "", /, **facts: object) -> Future[None] | None:
        """Write one line: the event, who asked (as `facts_text` writes it), and the facts that are not None.

        None: it is as durable as the settings ask. Otherwise a future of that, which fails with AuditError when the
        deadline passes; it may be left alone by who does not need to know. Raises AuditError at once when the line
        will not be written. With on_failure "go-on" it does neither.
        """
        if self._closed:
            raise AuditError
        with self._mutex:
            if not self._collapse.admit(event, who, facts, time.monotonic()):
                return None
        text = f"event={event} {who}{facts_text(facts)}".rstrip(" ")
        if self._writer is not None:
            return self._writer.submit(text)
        for counted in self._collapse.due(time.monotonic()):
            self._log(counted)
        self._log(text)
        return None

    def _log(self, text: str) -> None:
        self._sequence += 1
        log.info("seq=%d %s", self._sequence, text)

    def reopen(self) -> None:
        """Go on in a new file at once, if the open one was renamed; it is seen by itself within a second."""
        if self._writer is not None:
            self._writer.reopen()

    def close(self) -> None:
        """Write the counts that are left, and close; to write after that is an AuditError."""
        if self._closed:
            return
        self._closed = True
        if self._writer is not None:
            self._writer.close()
        else:
            for text in self._collapse.due(time.monotonic(), everything=True):
                self._log(text)
        for sink in self._sinks:
            sink.close()
