"""Find the typed names of what is to be revoked: by holder, by serial number, or from a file."""

from __future__ import annotations

import re
from datetime import datetime

from fieldgate_certs import authority, inspecting, issued, layout, revoking
from fieldgate_certs.store import Store
from fieldgate_core.errors import PkiError

_SERIAL = re.compile("[0-9A-Fa-f:]+")


def named(store: Store, what: str, now: datetime) -> list[str]:
    """Give the names of all living certificates of a holder, or of the one certificate with a serial number.

    Raises PkiError if there is none; a holder comes before a serial number that is written alike.
    """
    holders = [one for one in store.holders() if what in (one.name, f"{one.kind}/{one.name}")]
    if holders:
        names = [name for one in revoking.living(store, [store.find(what)], now) for name in one.names]
        if not names:
            raise PkiError(what, "all its certificates have ended already", hint="there is nothing to revoke")
        return names
    found = _by_serial(store, what) if _SERIAL.fullmatch(what) else []
    if not found:
        hint = "who there is: fieldgate certs show DIR/issued/*/*/current/tls-chain.pem; or name a file: --file CERT"
        raise PkiError(what, "no holder and no serial number of this PKI", hint=hint)
    return found


def in_file(data: bytes, where: str) -> list[str]:
    """Give the names of what a file holds: of a chain its first certificate. Raises PkiError if it holds none."""
    items = [one for one in inspecting.read(data) if one.kind != "private key"]
    if any(one.kind.startswith("X.509") for one in items):
        del items[1:]  # the CAs behind it are not meant
    names = [one.facts["identity"] for one in items if "identity" in one.facts]
    if not names:
        raise PkiError(
            where, "holds no certificate and no SSH key", hint="fieldgate certs show FILE says what it holds"
        )
    return names


def any_of_root(store: Store, names: list[str]) -> bool:
    """Tell whether one of the names was issued by the root: then its list has to be made, with its key."""
    root = authority.certificate(store.read(layout.ROOT_CERT), layout.ROOT_CERT.path)
    return any(name.startswith(f"tls:{root.subject.rfc4514_string()}/") for name in names)


def _by_serial(store: Store, text: str) -> list[str]:
    digits = text.replace(":", "")
    hexadecimal, decimal = int(digits, 16), int(digits) if digits.isdecimal() else None
    found = []
    for one in (issued.read(path) for holder in store.holders() for path in store.generations(holder)):
        if one.leaf.serial_number == hexadecimal:
            found.append(issued.tls_name(one.leaf))
        if one.ssh is not None and one.ssh.serial == decimal:
            found.append(issued.ssh_name(one.ssh))
    cas = [authority.issuing_certificate(store.read, name) for name in store.ca_names()]
    return found + [issued.tls_name(one) for one in cas if one.serial_number == hexadecimal]
