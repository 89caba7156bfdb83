"""The one list of revoked identities: typed names, one a line; parse and match; pure."""

from __future__ import annotations

import re

from fieldgate_core.errors import ConfigError
from fieldgate_core.logs import printable

LONGEST = 2000
"""Characters of a name as the trail and the status show it."""
_FINGERPRINT = "SHA256:[A-Za-z0-9+/]{43}"
_FORMS = re.compile(
    rf"tls:.+/[0-9A-Fa-f]+|tls:.+/[0-9A-Fa-f]+/.*|ssh:{_FINGERPRINT}/[0-9]+(?:/.*)?|key:{_FINGERPRINT}"
    r"|unix:[^\s#:/]+"
)
_HEX = re.compile("0*([0-9A-Fa-f]+)(?=/|$)")
_TLS_SERIAL = re.compile("/0*([0-9A-Fa-f]+)(?=/|$)")
_SSH_SERIAL = re.compile(f"(ssh:{_FINGERPRINT}/)0*([0-9]+)(/.*)?")
_COMMENT = re.compile(r"\s#")
_HINT = (
    "tls:ISSUER/SERIAL/NAME, tls:ISSUER/SERIAL, ssh:CA/SERIAL/KEYID, ssh:CA/SERIAL, key:SHA256:... or unix:USER, "
    "as `fieldgate server status` and the trail show them; comments stand on lines of their own"
)


class Revoked:
    """The revoked identities. A certificate may be named without what it calls its holder: by issuer and serial."""

    def __init__(self, names: frozenset[str] = frozenset(), certificates: frozenset[str] = frozenset()) -> None:
        self._names = names
        self._certificates = certificates

    def __contains__(self, name: str) -> bool:
        """Tell whether a typed name is revoked."""
        if name in self._names or printable(name, LONGEST) in self._names:
            return True
        # an issuer's name may hold a slash as well, so each of them may be the one after the serial
        return any(name[: slash.start()] in self._certificates for slash in re.finditer("/", name))

    def x509_serials(self, issuer: str) -> frozenset[int]:
        """Give the serial numbers of an issuer (RFC 4514) that are revoked: what its CRL has to list."""
        start = f"tls:{issuer}/"
        # a name without holder is `certificates`' too, and one with a holder begins with it
        serials = (_HEX.match(name, len(start)) for name in self._names if name.startswith(start))
        return frozenset(int(found[1], 16) for found in serials if found)

    def ssh_serials(self, ca: str) -> frozenset[int]:
        """Give the serial numbers, never 0, of an SSH CA (SHA256:...) that are revoked: what a KRL has to list."""
        found = (_SSH_SERIAL.fullmatch(name) for name in self._names)
        return frozenset(int(one[2]) for one in found if one and one[1] == f"ssh:{ca}/" and int(one[2]))

    def ssh_key_ids(self, ca: str) -> frozenset[str]:
        """Give the key ids of an SSH CA's certificates without serial that are revoked."""
        found = (_SSH_SERIAL.fullmatch(name) for name in self._names)
        return frozenset(one[3][1:] for one in found if one and one[1] == f"ssh:{ca}/" and not int(one[2]) and one[3])

    @property
    def keys(self) -> frozenset[str]:
        """The fingerprints (SHA256:...) of the plain keys that are revoked."""
        return frozenset(name.removeprefix("key:") for name in self._names if name.startswith("key:"))


def parse(text: str, *, where: str) -> Revoked:
    """Read a list: one typed name a line, in quotes or not; a line that begins with `#` is a comment.

    A name that holds a blank and `#` after it must stand in quotes: without them it looks like a comment behind a name.
    Raises ConfigError that names `where` and the line.
    """
    names: set[str] = set()
    certificates: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        place = f"{where}: line {number}"
        if len(entry) > 1 and entry[0] == entry[-1] == '"':
            entry = entry[1:-1]
        elif _COMMENT.search(entry):
            hint = "give the comment a line of its own; a name that holds ` #` stands in quotes"
            raise ConfigError(place, f"{entry!r}: a comment stands behind a name", hint=hint)
        if entry.endswith("/*"):
            raise ConfigError(place, f"{entry!r}: there is no wildcard", hint="leave out the slash and the star")
        if entry.startswith("unix:") and re.search(r"[\s#:/]", entry.removeprefix("unix:")):
            raise ConfigError(place, f"{entry!r}: a user's name holds no blank, `#`, `:` or `/`", hint=_HINT)
        if not _FORMS.fullmatch(entry):
            raise ConfigError(place, f"{entry!r} is no typed name", hint=_HINT)
        names.add(entry)
        # a serial is the same with zeros before it, as other tools print it
        if entry.startswith("tls:"):
            for found in _TLS_SERIAL.finditer(entry):
                name = f"{entry[: found.start()]}/{found[1].upper()}{entry[found.end() :]}"
                names.add(name)
                if found.end() == len(entry):
                    certificates.add(name)
        elif ssh := _SSH_SERIAL.fullmatch(entry):
            ca, serial, key_id = ssh.groups()
            if key_id is not None:
                names.add(f"{ca}{serial}{key_id}")
            elif serial != "0":
                certificates.add(f"{ca}{serial}")
            else:
                raise ConfigError(
                    place,
                    "serial 0 is that of every certificate which was given none",
                    hint="name the key id as well: ssh:CA/0/KEYID",
                )
    return Revoked(frozenset(names), frozenset(certificates))
