"""The words for the life and the end of certificates: renew, revoke, crl."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fieldgate_certs.choices import REASONS
from fieldgate_certs.cli_words import (
    Commands,
    add_dir,
    add_root,
    command,
    date,
    days_from,
    dir_option,
    quoted,
)

# cryptography is imported when a command runs, not for --help
if TYPE_CHECKING:
    from fieldgate_certs.renewing import Standing
    from fieldgate_certs.store import Store

_RENEW = """\
Issues anew what an identity has: the same names, role and length of life, with
new keys. --due takes everything that has lived two thirds of its life, or up to
a twelfth longer, by its name, so that a fleet does not come all at once; run it
each day. Where the key was made on the box it says what to carry. What is
revoked is never renewed; what has ended already only with --expired and a
reason, which the PKI's journal keeps."""

_RENEW_EXAMPLE = """\
  fieldgate certs renew --due --dir pki
  fieldgate certs renew ana --dir pki"""

_REVOKE = """\
Revokes every certificate of a name that still lives, or the one with a serial
number, or the one in a file: puts its typed name on the PKI's one list, and
makes from that list what servers read, in DIR/published:

  revoked            the list, for `revoked = ...` in a server's settings
  issuing.crl.pem    the issuing CA's X.509 list; NAME.crl.pem of the CA NAME
  root.crl.pem       the root's, where its key is at hand
  revoked.krl        for RevokedKeys of an OpenSSH server

Nothing is revoked at a server before the files are there and it has reloaded."""

_REVOKE_EXAMPLE = """\
  fieldgate certs revoke ana --reason key-compromise --dir pki
  fieldgate certs revoke 4F2A90B1 --dir pki"""

_CRL = """\
Makes the files in DIR/published anew from the PKI's list: after a change of the
list by hand, and before the X.509 lists end. Run it each week."""


def add(commands: Commands) -> None:
    """Add the words of this family."""
    codes = "0 done, 1 something is left to do by hand, 2 refused or wrong usage"
    renew = command(commands, "renew", "issue anew what ends soon", _RENEW, _RENEW_EXAMPLE, _renew, codes)
    renew.add_argument("names", metavar="NAME", nargs="*", help="whose (server/NAME or client/NAME if both exist)")
    which = renew.add_mutually_exclusive_group()
    which.add_argument("--due", action="store_true", help="everything that is due")
    which.add_argument("--all", action="store_true", help="everything, as after `trust` (of --ca, if it is said)")
    renew.add_argument("--expired", metavar="REASON", help="renew what has ended too, for this reason")
    renew.add_argument("--to", metavar="CA", help="issue by this CA from now on, instead of the one before")
    renew.add_argument("--ca", metavar="NAME", help="of --due and --all, only what this CA has issued")
    add_dir(renew)

    revoke = command(commands, "revoke", "revoke certificates", _REVOKE, _REVOKE_EXAMPLE, _revoke)
    what = revoke.add_mutually_exclusive_group(required=True)
    what.add_argument("what", metavar="NAME|SERIAL", nargs="?", help="whose, or which (X.509 in hex, SSH in decimal)")
    what.add_argument("--file", metavar="CERT", type=Path, help="the certificates, or SSH keys, in a file")
    text = f"what the X.509 list says of it: {', '.join(REASONS)} (default: {REASONS[0]})"
    revoke.add_argument("--reason", metavar="REASON", choices=REASONS, default=REASONS[0], help=text)
    _add_crl_options(revoke)

    crl = command(
        commands, "crl", "make the lists of what is revoked anew", _CRL, "  fieldgate certs crl --dir pki", _crl
    )
    _add_crl_options(crl)


def _add_crl_options(parser: argparse.ArgumentParser) -> None:
    """Add how long the X.509 lists hold, and the root's key."""
    parser.add_argument("--days", type=days_from(1), default=30, help="days until the X.509 lists end (default: 30)")
    add_root(parser)
    add_dir(parser)


def _renew(options: argparse.Namespace) -> int:
    from fieldgate_certs import renewing, revoking
    from fieldgate_certs.store import Store
    from fieldgate_core.errors import PkiError

    store, now = Store(options.dir), datetime.now(UTC)
    many = options.due or options.all
    if many == bool(options.names):
        raise PkiError("renew", "say what: names, --due or --all", hint="fieldgate certs renew --due --dir PKI")
    if options.ca and not many:
        raise PkiError("renew", "--ca chooses from --due or --all", hint="to issue by another CA: --to CA")
    names = revoking.revoked(store)
    holders = store.holders() if many else [store.find(name) for name in options.names]
    left = renewed = 0
    for holder in holders:
        try:
            one = renewing.standing(store, holder, names, now)
            if many and not _wanted(store, one, options):
                continue
            done = renewing.renew(store, one, now, expired=options.expired, ca=options.to)
        except PkiError as error:
            if not many:
                raise
            left += 1
            sys.stderr.write(f"fieldgate: {error}\n")
            continue
        if done.generation is None:
            left += 1
            sys.stdout.write(_to_carry(one, options.dir))
        else:
            renewed += 1
            sys.stdout.write(
                f"renewed {done.generation}\n  {holder.kind} {holder.name}, until {date(done.not_after)}\n"
            )
    if renewed:
        sys.stdout.write("\nnext:\n  carry what is new to its box or client; `fieldgate server reload` on a server\n")
    elif not left:
        sys.stdout.write("nothing is due\n")
    return 1 if left else 0


def _wanted(store: Store, one: Standing, options: argparse.Namespace) -> bool:
    from fieldgate_certs import renewing
    from fieldgate_certs.renewing import State

    if options.ca and renewing.ca_of(store, one.issued) != options.ca:
        return False
    # who is revoked is meant to end
    return one.state is not State.REVOKED and (options.all or one.state is not State.FRESH)


def _to_carry(one: Standing, folder: Path) -> str:
    name = quoted(one.holder.name)
    request = f"fieldgate certs sign {name} {name}.request --inventory FILE"
    return f"""\
{one.holder.kind} {one.holder.name}, until {date(one.issued.life.not_after)}: its key is on the box
  there:  fieldgate certs request {name} --dir DIR
  here:   {request}{dir_option(folder)}
  there:  fieldgate certs install {name}.answer --dir DIR
"""


def _revoke(options: argparse.Namespace) -> int:
    from fieldgate_certs import disk, finding, revoking, root_key
    from fieldgate_certs.store import Store

    store, now = Store(options.dir), datetime.now(UTC)
    if options.file:
        names = finding.in_file(disk.read(options.file), str(options.file))
    else:
        names = finding.named(store, options.what, now)
    # what may fail comes before anything is written
    root = None
    if options.root or finding.any_of_root(store, names):
        root = root_key.load(store, options.root, options.root_passphrase_file)
    about = options.file or options.what
    new = revoking.add(store, names, f"{now:%Y-%m-%d %H:%M} UTC, {options.reason}: {str(about)!a}")
    if new:
        store.record(now, "revoke", names=new, reason=options.reason)
    published = revoking.publish(store, now, days=options.days, reason=options.reason, new=new, root=root)
    for name in names:
        sys.stdout.write(f"{'revoked' if name in new else 'was revoked already:'} {name}\n")
    _say_published(published)
    return 0


def _crl(options: argparse.Namespace) -> int:
    from fieldgate_certs import revoking, root_key
    from fieldgate_certs.store import Store

    store, now = Store(options.dir), datetime.now(UTC)
    root = root_key.load(store, options.root, options.root_passphrase_file) if options.root else None
    _say_published(revoking.publish(store, now, days=options.days, root=root))
    return 0


def _say_published(files: Sequence[Path]) -> None:
    rows = "".join(f"  {file}\n" for file in files)
    sys.stdout.write(f"made\n{rows}\nnext:\n  carry these to the servers; there: fieldgate server reload\n")
