"""Logging, set up once; text that a peer chose is escaped before it reaches a line."""

from __future__ import annotations

import codecs
import logging
import sys

# a codec is loaded with its first use, and that may be when no file can be opened any more
codecs.lookup("unicode_escape")


def printable(text: str, limit: int = 200) -> str:
    """Escape what could forge or break a log line: quotes, backslashes and all but printable ASCII; and cut it."""
    cut = text if len(text) <= limit else text[:limit] + "..."
    return cut.encode("unicode_escape").decode().replace('"', '\\"')


def set_up() -> None:
    """Send log lines of fieldgate to stderr, one a line, with wall time; of libraries only warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("fieldgate").setLevel(logging.INFO)
