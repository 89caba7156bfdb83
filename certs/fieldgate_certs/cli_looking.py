"""The words that look and hand out: show, check, export."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fieldgate_certs.choices import BINARY_FORMS, TRUST_FORMS
from fieldgate_certs.cli_words import Commands, add_ca, add_dir, command, date, days_from

# cryptography is imported when a command runs, not for --help
if TYPE_CHECKING:
    from fieldgate_certs.inspecting import Item

_SHOW = """\
Says what files hold: X.509 certificates, lists and requests (PEM or DER),
OpenSSH certificates and keys; who it is, role or hosts, from when until when,
by whom, and `identity`, the typed name that the trail and the list of revoked
ones use. Private keys are not shown."""

_CHECK = """\
Looks into files and folders, however deep, and names everything that ends
within so many days: X.509 certificates, lists (by their next update), OpenSSH
certificates. Of an identity's generations only the one in force counts. What it
cannot look into, such as a PKCS#12 file, it says on stderr."""

_CHECK_EXAMPLE = """\
  fieldgate certs check pki --days 30"""

_EXPORT = """\
Hands out a holder's identity, or the CAs that others are to trust, in the forms
that foreign programs want."""

_P12 = """\
Gives the TLS identity of a holder as PKCS#12 (key, certificate, issuing CA,
root), for programs that want that. The password is asked twice, or read from a
file whose first line it is. A key that was made on the box is not here to be
exported."""

_TRUST = """\
Prints what is trusted, in the form that a foreign program wants:

  server-ca        root CA in PEM: clients check servers by it
  server-ca-der    the same in DER
  client-ca        issuing CA in PEM: servers let in whom it has signed
  client-ca-chain  issuing CA and root, for servers that want the whole chain
  known-hosts      @cert-authority line for known_hosts
  user-ca-keys     for TrustedUserCAKeys of sshd; never where people log in
  authorized-keys  cert-authority line for the authorized_keys of one account,
                   for --role, for forwarding to the Modbus port only"""


def add(commands: Commands) -> None:
    """Add the words of this family."""
    show = command(commands, "show", "say what is in a file", _SHOW, "  fieldgate certs show chain.pem", _show)
    show.add_argument("files", metavar="FILE", type=Path, nargs="+", help="what to look at")
    show.add_argument("--json", action="store_true", help="for programs: a list of objects")

    codes = "0 nothing ends, 1 something ends or has ended, 2 wrong usage"
    check = command(commands, "check", "find what ends soon", _CHECK, _CHECK_EXAMPLE, _check, codes)
    check.add_argument("paths", metavar="PATH", type=Path, nargs="*", help="files, folders (default: this folder)")
    check.add_argument("--days", type=days_from(0), default=14, help="what soon means (default: 14)")
    check.add_argument("--json", action="store_true", help="for programs: a list of objects, of all that ends one day")

    example = "  fieldgate certs export trust known-hosts --dir pki"
    export = command(commands, "export", "hand out what foreign programs want", _EXPORT, example, None)
    kinds = export.add_subparsers(dest="kind", metavar="WHAT", required=True)
    p12 = command(
        kinds, "p12", "a TLS identity as PKCS#12", _P12, "  fieldgate certs export p12 ana ana.p12 --dir pki", _p12
    )
    p12.add_argument("name", metavar="NAME", help="whose (server/NAME or client/NAME if both exist)")
    p12.add_argument("out", metavar="FILE", type=Path, help="the file to write; nothing is overwritten")
    p12.add_argument("--password-file", metavar="FILE", type=Path, help="where the password is, mode 0600")
    add_dir(p12)
    trust = command(kinds, "trust", "CAs in the form that others want", _TRUST, example, _trust)
    trust.add_argument("form", metavar="FORM", choices=TRUST_FORMS, help=f"one of {', '.join(TRUST_FORMS)}")
    trust.add_argument("--role", help="the role of authorized-keys")
    add_ca(trust)
    add_dir(trust)


def _show(options: argparse.Namespace) -> int:
    from fieldgate_certs import disk, inspecting
    from fieldgate_core.errors import PkiError

    found = [(file, item) for file in options.files for item in inspecting.read(disk.read(file))]
    silent = [str(file) for file in options.files if not any(one == file for one, _ in found)]
    if silent:
        raise PkiError(
            ", ".join(silent), "holds nothing that is known here", hint="certificates, lists, requests, keys"
        )
    if options.json:
        _print_json([{"file": str(file)} | _object(item) for file, item in found])
        return 0
    for file, item in found:
        sys.stdout.write(f"{file}: {item.kind} {item.name}".rstrip() + "\n")
        rows = dict(item.facts)
        if item.not_before:
            rows = {"valid from": date(item.not_before)} | rows
        if item.not_before or item.not_after:
            rows = {"valid until": date(item.not_after) if item.not_after else "for ever"} | rows
        for name, value in rows.items():
            sys.stdout.write(f"  {name + ':':<15} {value}\n")
    return 0


def _check(options: argparse.Namespace) -> int:
    from fieldgate_certs import expiring

    now = datetime.now(UTC)
    found, closed = expiring.look(options.paths or [Path()], now, options.days)
    ends = [one for one in found if one.soon]
    for file, why in closed:
        sys.stderr.write(f"fieldgate: {file}: {why}\n")
    if options.json:
        _print_json([{"file": str(one.file), "soon": one.soon} | _object(one.item) for one in found])
        return 1 if ends else 0
    for one in sorted(ends, key=lambda one: one.item.not_after or now):
        when = one.item.not_after or now
        word = "ended" if when <= now else "ends"
        sys.stdout.write(f"{word} {date(when)}  {one.file}: {one.item.kind} {one.item.name}\n")
    if not ends:
        sys.stdout.write(f"nothing of {len(found)} ends within {options.days} days\n")
    return 1 if ends else 0


def _p12(options: argparse.Namespace) -> int:
    from fieldgate_certs import disk, exporting, passphrase
    from fieldgate_certs.store import Store

    store = Store(options.dir)
    holder = store.find(options.name)
    password = passphrase.choose(str(options.out), options.password_file)
    data = exporting.pkcs12_file(store.current(holder), holder.name, password)
    disk.create(options.out, data, private=True)
    store.record(datetime.now(UTC), "export", holder=f"{holder.kind}/{holder.name}", file=str(options.out.absolute()))
    sys.stdout.write(f"made {options.out}\n\nnext:\n  carry it and, another way, its password; then remove it\n")
    return 0


def _trust(options: argparse.Namespace) -> int:
    from fieldgate_certs import exporting, trusting
    from fieldgate_certs.store import Store

    ca = trusting.load(Store(options.dir), options.ca)
    data = exporting.trust(ca, options.form, options.role)
    if options.form in BINARY_FORMS:
        sys.stdout.buffer.write(data)
    else:
        sys.stdout.write(data.decode())
    return 0


def _object(item: Item) -> dict[str, object]:
    begins, ends = (f"{when:%Y-%m-%dT%H:%M:%SZ}" if when else None for when in (item.not_before, item.not_after))
    return {"kind": item.kind, "name": item.name, "not_before": begins, "not_after": ends, **item.facts}


def _print_json(found: list[dict[str, object]]) -> None:
    json.dump(found, sys.stdout, indent=1)
    sys.stdout.write("\n")
