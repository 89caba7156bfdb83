"""The trail's chain: every line ends in an HMAC over it and the line before, under a key that moves forward.

The MAC of line n is HMAC-SHA256(K(n), MAC(n-1) + text), and K(n+1) = SHA-256(label + K(n)). Who learns K(n) can
compute no earlier key, so no earlier line can be forged; the MAC of a line also stands for all lines before it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import NamedTuple

BEGINNING = bytes(32)
"""What stands in the place of a MAC before the chain's first line."""
_NEXT_KEY = b"fieldgate trail: the key of the next line\0"
_LINE = re.compile(rb"[0-9T:.+-]+ (?:clock=[a-z]+ )?seq=([1-9][0-9]{0,17}) (event=.*)", re.DOTALL)
_MAC = re.compile(rb" mac=([0-9a-f]{64})\Z")
_MAC_SIZE = len(b" mac=") + 64
_PAIR = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})")
_OPENING = re.compile(
    rb"event=trail state=(continued|new-file) previous=([0-9a-f]{64})"
    rb"(?: torn=((?:,?[0-9]{1,18}:[0-9a-f]{64})+))?(?: |\Z)"
)


class Link(NamedTuple):
    """Where the chain stands: sequence and key of the next line, and the MAC of the line before it."""

    sequence: int
    key: bytes
    previous: bytes


class Line(NamedTuple):
    """A line of the trail taken apart; `mac` is None where it is not chained. `text` is what the MAC is over."""

    sequence: int
    text: bytes
    event: bytes
    mac: bytes | None


class Pair(NamedTuple):
    """A sequence with 32 bytes: the first key, as `audit init` prints it, or a head."""

    sequence: int
    value: bytes

    def __str__(self) -> str:
        return f"{self.sequence}:{self.value.hex()}"


class Opening(NamedTuple):
    """What a line says that goes on after a break: the MAC before it, and the torn lines that it closes off.

    Only a file's first line says `new_file`: files before it may have been rotated away.
    """

    new_file: bool
    previous: bytes
    torn: tuple[bytes, ...]


def pair(text: str) -> Pair:
    """Read SEQUENCE:HEX, 64 hexadecimal digits. Raises ValueError."""
    found = _PAIR.fullmatch(text.strip())
    if found is None:
        raise ValueError("must be SEQUENCE:DIGITS with 64 hexadecimal digits")
    return Pair(int(found[1]), bytes.fromhex(found[2]))


def onward(key: bytes, steps: int = 1) -> bytes:
    """Give the key that many lines further on; there is no way back."""
    for _ in range(steps):
        key = hashlib.sha256(_NEXT_KEY + key).digest()
    return key


def mac_of(key: bytes, previous: bytes, text: bytes) -> bytes:
    """Compute a line's MAC."""
    return hmac.digest(key, previous + text, "sha256")


def seal(link: Link, text: bytes) -> tuple[bytes, Link]:
    """Chain a line's text: the whole line, and where the chain stands after it."""
    mac = mac_of(link.key, link.previous, text)
    return text + b" mac=" + mac.hex().encode(), Link(link.sequence + 1, onward(link.key), mac)


def follow(link: Link, line: Line | None) -> Link | None:
    """Give where the chain stands after a line that was read, or None if it is not the chain's next."""
    if line is None or line.mac is None or line.sequence != link.sequence:
        return None
    if not hmac.compare_digest(line.mac, mac_of(link.key, link.previous, line.text)):
        return None
    return Link(link.sequence + 1, onward(link.key), line.mac)


def parse(data: bytes) -> Line | None:
    """Take a line apart, its newline gone; None if it is none of the trail's."""
    found = _LINE.fullmatch(data)
    if found is None:
        return None
    mac = _MAC.search(data, max(0, len(data) - _MAC_SIZE))
    if mac is None:
        return Line(int(found[1]), data, found[2], None)
    return Line(int(found[1]), data[:-_MAC_SIZE], found[2][:-_MAC_SIZE], bytes.fromhex(mac[1].decode()))


def opening(line: Line) -> Opening | None:
    """Read a line that says how the trail goes on after a break; None if it is another line."""
    found = _OPENING.match(line.event)
    if found is None:
        return None
    torn = tuple(found[3].split(b",")) if found[3] else ()
    return Opening(found[1] == b"new-file", bytes.fromhex(found[2].decode()), torn)


def torn_mark(fragment: bytes) -> bytes:
    """Describe a line that was torn off, as the line that closes it off does: its length and digest."""
    return f"{len(fragment)}:{hashlib.sha256(fragment).hexdigest()}".encode()
