"""A word that stops the server when it is the first thing that a loopback connection says; pure."""

from __future__ import annotations

from collections.abc import Callable

LEAST = 4
"""Bytes of a quit word: the third and fourth of a Modbus frame are 0, so no frame begins with four that are text."""


class QuitWord:
    """Looks for the word at the start of one connection."""

    __slots__ = ("_first", "_word", "heard", "stop")

    def __init__(self, word: bytes, stop: Callable[[], None]) -> None:
        """`stop` stops the server; whoever hears the word calls it, if the peer may."""
        self._word = word
        self.stop = stop
        self._first = b""
        self.heard: bool | None = None
        """Whether the connection began with the word; None while too little has come to know."""

    def feed(self, data: bytes) -> bytes:
        """Take received bytes, and give those that are not the word: none before it is known."""
        self._first += data
        if self._first.startswith(self._word):
            self.heard = True
        elif not self._word.startswith(self._first):
            self.heard = False
            return self._first
        return b""


def quit_word(text: str) -> bytes:
    """Check a quit word. Raises ValueError for one that a Modbus frame could begin with."""
    if len(text) < LEAST or not (text.isascii() and text.isprintable()):
        raise ValueError(f"a quit word has at least {LEAST} printable ASCII characters")
    return text.encode()
