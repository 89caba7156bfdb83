"""The trail: one plain line for every session, refusal and write, flushed before the reply leaves."""

from __future__ import annotations

import itertools
import logging
import os
import time
from datetime import UTC, datetime
from pathlib import Path

from fieldgate_core.errors import ConfigError
from fieldgate_core.logs import printable

log = logging.getLogger("fieldgate.audit")


class AuditError(Exception):
    """The trail cannot be written; the cause is in the log."""


class Audit:
    """Writes the trail to `file` (created 0640, appended to), or to the log where there is none."""

    def __init__(self, file: Path | None) -> None:
        """Open the trail. Raises ConfigError if the file cannot be opened."""
        self._sequence = itertools.count(1)
        self._file = file
        self._descriptor: int | None = None
        if file is None:
            return
        try:
            self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise ConfigError(f"audit {file}", f"cannot be opened for writing: {error.strerror}") from None

    def line(self, event: str, **facts: object) -> None:
        """Write one line. Raises AuditError when it cannot be written whole."""
        fields = " ".join(f"{name}={_shown(value)}" for name, value in facts.items() if value is not None)
        text = f"seq={next(self._sequence)} event={event} {fields}"
        if self._descriptor is None:
            log.info("%s", text)
            return
        now = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
        data = f"{now} {text}\n".encode()
        try:
            written = os.write(self._descriptor, data)
        except OSError as error:
            log.error("the trail %s cannot be written: %s", self._file, error.strerror)  # noqa: TRY400
            raise AuditError from error
        if written != len(data):
            log.error("the trail %s took only %d of %d bytes", self._file, written, len(data))
            raise AuditError

    def close(self) -> None:
        """Close the file; nothing may be written after."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _shown(value: object) -> str:
    text = printable(str(value))
    return text if text and not set(text) & {" ", "=", '"'} else f'"{text}"'
