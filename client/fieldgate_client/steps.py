"""A demonstration's steps on paper: one line each, what it did in plain words, its milliseconds, ok or FAILED."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fieldgate_core.errors import FieldgateError

WIDTH = 80
_INDENT = 19


class WrongError(Exception):
    """A step did not come out as told; its text says what was expected and what came."""


def stdout(text: str) -> None:
    """Print a text at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


class Step:
    """A step under way; `result` is told behind its words."""

    def __init__(self, words: str) -> None:
        self.words = words
        self.result = ""


class Steps:
    """Prints steps as they end, and counts those that failed."""

    def __init__(self, write: Callable[[str], None] = stdout) -> None:
        self.failed = 0
        self._write = write

    def say(self, text: str = "") -> None:
        """Print a line between steps, at once."""
        self._write(f"{text}\n")

    @contextmanager
    def step(self, words: str) -> Iterator[Step]:
        """Time a step and print its line. A WrongError ends here, with the step; every other error goes on."""
        step = Step(words)
        start = time.monotonic()
        try:
            yield step
        except WrongError as error:
            self._failed(step, start, str(error))
        except FieldgateError as error:
            self._failed(step, start, str(error))
            raise
        except BaseException:
            self._failed(step, start, "")
            raise
        else:
            self._line("ok", step, start)

    def _failed(self, step: Step, start: float, why: str) -> None:
        self.failed += 1
        self._line("FAILED", step, start)
        for line in why.splitlines():
            self.say(wrapped(line, _INDENT))

    def _line(self, outcome: str, step: Step, start: float) -> None:
        words = f"{step.words}: {step.result}" if step.result else step.words
        head = f"  {outcome:<6} {round((time.monotonic() - start) * 1000):>5} ms  "
        self.say(textwrap.fill(words, WIDTH, initial_indent=head, subsequent_indent=" " * _INDENT))


def wrapped(text: str, indent: int) -> str:
    """Wrap a text to the page's width, indented, and its further lines a little more."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2),
        break_on_hyphens=False,
    )
