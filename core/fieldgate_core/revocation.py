"""The one list of revoked identities: typed names, one a line; parse and match; pure."""

from __future__ import annotations

import re

from fieldgate_core.errors import ConfigError
from fieldgate_core.logs import printable

LONGEST = 2000
"""Characters of a name as the trail and the status show it."""
_FINGERPRINT = "SHA256:[A-Za-z0-9+/]{43}"
_FORMS = re.compile(
    rf"tls:.+/[0-9A-Fa-f]+|tls:.+/[0-9A-Fa-f]+/.*|ssh:{_FINGERPRINT}/[0-9]+(?:/.*)?|key:{_FINGERPRINT}|unix:.+"
)
_TLS_SERIAL = re.compile("/0*([0-9A-Fa-f]+)(?=/|$)")
_SSH_CERTIFICATE = re.compile(f"ssh:{_FINGERPRINT}/0*[1-9][0-9]*")
_HINT = (
    "tls:ISSUER/SERIAL/NAME, tls:ISSUER/SERIAL, ssh:CA/SERIAL/KEYID, ssh:CA/SERIAL, key:SHA256:... or unix:USER, "
    "as `fieldgate server status` and the trail show them"
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


def parse(text: str, *, where: str) -> Revoked:
    """Read a list: one typed name a line, in quotes or not; `#` begins a comment line.

    Raises ConfigError that names `where` and the line.
    """
    names: set[str] = set()
    certificates: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        if len(entry) > 1 and entry[0] == entry[-1] == '"':
            entry = entry[1:-1]
        place = f"{where}: line {number}"
        if entry.endswith("/*"):
            raise ConfigError(place, f"{entry!r}: there is no wildcard", hint="leave out the slash and the star")
        if not _FORMS.fullmatch(entry):
            raise ConfigError(place, f"{entry!r} is no typed name", hint=_HINT)
        names.add(entry)
        if entry.startswith("tls:"):
            # as OpenSSL prints a serial, with zeros before it, it is still the same
            for found in _TLS_SERIAL.finditer(entry):
                name = f"{entry[: found.start()]}/{found[1].upper()}{entry[found.end() :]}"
                names.add(name)
                if found.end() == len(entry):
                    certificates.add(name)
        elif _SSH_CERTIFICATE.fullmatch(entry):
            ca, _, serial = entry.rpartition("/")
            certificates.add(f"{ca}/{int(serial)}")
        elif re.fullmatch(f"ssh:{_FINGERPRINT}/0+", entry):
            raise ConfigError(
                place,
                "serial 0 is that of every certificate which was given none",
                hint="name the key id as well: ssh:CA/0/KEYID",
            )
    return Revoked(frozenset(names), frozenset(certificates))
