"""Get a passphrase from a file or the terminal, never from the command line or the environment."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from fieldgate_certs import disk
from fieldgate_core.errors import PkiError

LEAST = 12
"""Characters of a new passphrase: it is what stands between a stolen stick and the key on it."""

_MOST = 1023
"""OpenSSL takes no more."""


def from_file(path: Path) -> bytes:
    """Read the first line of a file that only we can read. Raises PkiError."""
    found = disk.read(path, private=True).splitlines()
    if not found or not found[0]:
        raise PkiError(str(path), "holds no passphrase in its first line")
    return found[0]


def ask(what: str) -> bytes:
    """Ask once on the terminal. Raises PkiError if there is none."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        hint = "give it in a file that only you can read (mode 0600), or run this at a terminal"
        raise PkiError(what, "its passphrase is needed, and there is no terminal to ask at", hint=hint) from None
    os.close(terminal)
    sys.stdout.flush()
    return getpass.getpass(f"passphrase of {what}: ").encode()


def choose(what: str, file: Path | None) -> bytes:
    """Get a new passphrase: from a file, or asked twice. Raises PkiError if it is short, or the two differ."""
    if file is not None:
        chosen = from_file(file)
    else:
        chosen = ask(what)
        if ask(f"{what}, again") != chosen:
            raise PkiError(what, "the two passphrases differ", hint="nothing was made; try again")
    if len(chosen) < LEAST:
        hint = "a few words that nobody else puts together"
        raise PkiError(what, f"a passphrase has at least {LEAST} characters", hint=hint)
    if len(chosen) > _MOST:
        raise PkiError(what, f"a passphrase has at most {_MOST} bytes", hint="is this the right file?")
    return chosen
