"""What the shell says: answers on stdout, messages on stderr, both in the transcript, and nothing moves a cursor."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from fieldgate_client.terminal import say
from fieldgate_core.errors import ConfigError, FieldgateError, OutcomeUnknownError

_AT, _ANSWER, _MESSAGE = "#@ ", "#| ", "#! "


class Transcript:
    """A file that the shell can read again: commands as they were given, all else as comments.

    `#@` is followed by a time, `#|` by a line of an answer, `#!` by a message.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def begin(self, site: str, unit: int) -> None:
        """Write the heading, with the command that brings back the unit."""
        self._time()
        self._write(f"#! the shell of {printed(site)}\nunit {unit}\n")

    def asked(self, line: str) -> None:
        """Write a command, and when it was given; what the shell would not take stays a comment.

        What another transcript says was answered then is no command, and not written.
        """
        if line.startswith((_AT, _ANSWER, _MESSAGE)):
            return
        self._time()
        shown = printed(line)
        self._write(f"{shown}\n" if shown == line else f"{_MESSAGE}not taken: {shown}\n")

    def answer(self, text: str) -> None:
        """Write an answer."""
        self._comment(_ANSWER, text)

    def message(self, text: str) -> None:
        """Write a message."""
        self._comment(_MESSAGE, text)

    def close(self) -> None:
        """End the file."""
        self._file.close()

    def _time(self) -> None:
        self._comment(_AT, datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"))

    def _comment(self, mark: str, text: str) -> None:
        self._write("".join(f"{mark}{line}\n" for line in text.splitlines()))

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()


def transcript(path: Path) -> Transcript:
    """Open a transcript; a file that is there is continued, a new one is for us alone. Raises ConfigError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be written: {error.strerror}") from None
    return Transcript(os.fdopen(descriptor, "w", encoding="utf-8"))


class Voice:
    """Says things. `around` is called with what prints, so that a prompt that stands can make room."""

    def __init__(self, kept: Transcript | None) -> None:
        self._kept = kept
        self.around: Callable[[Callable[[], None]], None] = lambda prints: prints()

    def asked(self, line: str) -> None:
        """Take note of a command."""
        self._keep(lambda kept: kept.asked(line))

    def answer(self, text: str) -> None:
        """Print a text that ends with a line's end."""
        shown = printed(text)
        sys.stdout.write(shown)
        sys.stdout.flush()
        self.note(shown)

    def note(self, text: str) -> None:
        """Keep an answer that was drawn, and is not to be printed."""
        self._keep(lambda kept: kept.answer(printed(text)))

    def tell(self, line: str) -> None:
        """Say a line to the person."""
        shown = printed(line)
        self.around(lambda: say(f"fieldgate: {shown}\n"))
        self._keep(lambda kept: kept.message(shown))

    def failed(self, error: FieldgateError) -> None:
        """Say what went wrong, and what to do; that nobody knows what a write did is said loudly."""
        loud = "OUTCOME UNKNOWN: " if isinstance(error, OutcomeUnknownError) else ""
        self.tell(f"error: {loud}{error}")
        if error.hint:
            self.tell(f"hint: {error.hint}")

    def _keep(self, write: Callable[[Transcript], None]) -> None:
        if self._kept is None:
            return
        try:
            write(self._kept)
        except OSError as error:
            # a full disk must not come between a person and a device
            self._kept = None
            self.tell(f"warning: the transcript ends here: {error.strerror}")


def printed(text: str) -> str:
    """Escape what moves the cursor or forges a line; tabs and ends of lines stay."""
    return "".join(c if c.isprintable() or c in "\t\n" else c.encode("unicode_escape").decode() for c in text)
