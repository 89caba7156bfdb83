"""The trail: one plain line for every session, refusal and write, flushed before the reply leaves."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from fieldgate_core.errors import ConfigError
from fieldgate_core.logs import printable

log = logging.getLogger("fieldgate.audit")


LONGEST = 2000
"""Characters of one fact: enough for any name that was authenticated, too few to be a flood."""


class AuditError(Exception):
    """The trail cannot be written; the cause is in the log."""


class Audit:
    """Writes the trail to `file` (created 0640, appended to), or to the log where there is none."""

    def __init__(self, file: Path | None) -> None:
        """Open the trail. Raises ConfigError if the file cannot be opened."""
        self._sequence = itertools.count(1)
        self._file = file
        self._descriptor: int | None = None
        self._torn = b""
        self._closed = False
        if file is None:
            return
        try:
            self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise ConfigError(f"audit {file}", f"cannot be opened for writing: {error.strerror}") from None

    def line(self, event: str, who: str = "", /, **facts: object) -> None:
        """Write one line: the event, who asked (as `facts_text` writes it), and the facts that are not None.

        Raises AuditError when it cannot be written whole.
        """
        if self._closed:
            raise AuditError
        text = f"seq={next(self._sequence)} event={event} {who}{facts_text(facts)}"
        if self._descriptor is None:
            log.info("%s", text)
            return
        now = time.time()
        # a line that was cut short must not swallow the next one
        data = self._torn + f"{_wall_second(int(now))}.{int(now * 1000) % 1000:03d}+00:00 {text}\n".encode()
        try:
            written = os.write(self._descriptor, data)
        except OSError as error:
            log.error("the trail %s cannot be written: %s", self._file, error.strerror)
            raise AuditError from error
        self._torn = b"" if written == len(data) else b"\n"
        if self._torn:
            log.error("the trail %s took only %d of %d bytes", self._file, written, len(data))
            raise AuditError

    def close(self) -> None:
        """Close the file; to write after that is an AuditError."""
        self._closed = True
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def facts_text(facts: Mapping[str, object]) -> str:
    """Write facts as name=value with spaces between, those that are None left out."""
    return " ".join([f"{name}={_shown(value)}" for name, value in facts.items() if value is not None])


def _shown(value: object) -> str:
    if type(value) is int:
        return str(value)
    text = str(value)
    if text.isascii() and text.isalnum():
        return text
    text = printable(text, LONGEST)
    return text if text and not set(text) & {" ", "=", '"'} else f'"{text}"'


@functools.lru_cache(maxsize=2)
def _wall_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
