"""The words that make CAs and say who is trusted: init, issuing, trust, distrust."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from fieldgate_certs.cli_words import (
    Commands,
    add_ca,
    add_dir,
    add_key,
    add_root,
    ca_option,
    command,
    date,
    days_from,
    dir_option,
    quoted,
)

# cryptography is imported when a command runs, not for --help
if TYPE_CHECKING:
    from fieldgate_certs.authority import Authority

_INIT = """\
Makes a PKI in the folder DIR, which is made if it is not there:

  DIR/x509/root/     the root CA, for 20 years; it signs only issuing CAs
  DIR/x509/issuing/  the issuing CA, for 10 years; it signs servers and clients
  DIR/ssh/user-ca    the key that signs who may log in at the SSH door
  DIR/ssh/host-ca    the key that signs which hosts clients may trust

All keys lie in files that only you can read (mode 0600). With --root the root's
key never lies in DIR, but on the stick or disk that you name; give it a
passphrase, which is asked twice or read from a file. A folder that holds a PKI
already is refused. Prints the two issuers that a policy names."""

_INIT_EXAMPLE = """\
  fieldgate certs init plant-pki --name plant
  fieldgate certs init site-pki --name site --root stick \\
      --root-passphrase-file phrase"""

_ISSUING = """\
Makes one more issuing CA, for a site or a customer, with two SSH CAs of its
own. It needs the root's key. The CA can vouch only for what is permitted: the
domains, with all below them, and the networks. What is not named is closed:
without --permit-ip every address, without --permit-dns every host name, and
URIs and mail addresses always. Issue by it with --ca NAME."""

_ISSUING_EXAMPLE = """\
  fieldgate certs issuing plant-a --permit-dns plant-a.example \\
      --permit-ip 10.1.0.0/16 --dir pki"""

_TRUST = """\
Lets the holders of an issuing CA trust another one as well, from their next
certificate on: its root and host CA (clients), the CA itself and its user CA
(servers). This is how a root or a CA is replaced without a gap: docs/pki.md has
the whole way. OTHER is the other PKI's folder; only public files are read
there."""

_DISTRUST = """\
Ends what `fieldgate certs trust` began. NAME is the other CA's common name. It
holds from the holders' next certificates on: fieldgate certs renew --all."""


def add(commands: Commands) -> None:
    """Add the words of this family."""
    init = command(commands, "init", "make a PKI in a folder", _INIT, _INIT_EXAMPLE, _init)
    init.add_argument("dir", metavar="DIR", type=Path, help="the PKI's folder")
    init.add_argument("--name", default="fieldgate", help="what the CAs are called: NAME-root-1 (default: fieldgate)")
    add_key(init, "ecdsa")
    init.add_argument("--root", metavar="DIR", type=Path, help="where the root's key goes instead, such as a USB stick")
    phrase = init.add_mutually_exclusive_group()
    phrase.add_argument("--root-passphrase", action="store_true", help="ask twice for a passphrase of the root's key")
    file = "a file whose first line is that passphrase, mode 0600"
    phrase.add_argument("--root-passphrase-file", metavar="FILE", type=Path, help=file)

    issuing = command(commands, "issuing", "make one more issuing CA", _ISSUING, _ISSUING_EXAMPLE, _issuing)
    issuing.add_argument("name", metavar="NAME", help="what it is called: letters, digits and . _ -")
    for option, what, text in (
        ("--permit-dns", "DOMAIN", "a domain and all below it"),
        ("--permit-ip", "NET", "a network"),
    ):
        issuing.add_argument(option, metavar=what, action="append", default=[], help=f"{text}; may be repeated")
    issuing.add_argument("--days", type=days_from(1), default=3650, help="days until it ends (default: 3650)")
    add_key(issuing, "ecdsa")
    add_root(issuing)
    add_dir(issuing)

    example = "  fieldgate certs trust new-pki --dir plant-pki"
    trust = command(commands, "trust", "trust another CA as well, for a while", _TRUST, example, _trust)
    trust.add_argument("other", metavar="OTHER", type=Path, help="the folder of the PKI that the other CA is in")
    trust.add_argument("--other-ca", metavar="NAME", help="which of its issuing CAs (default: the one that init made)")
    add_ca(trust)
    add_dir(trust)

    example = "  fieldgate certs distrust old-issuing-1 --dir new-pki"
    distrust = command(commands, "distrust", "end the trust in another CA", _DISTRUST, example, _distrust)
    distrust.add_argument("name", metavar="NAME", help="the other CA's common name, as `trust` printed it")
    add_ca(distrust)
    add_dir(distrust)


def _init(options: argparse.Namespace) -> int:
    from fieldgate_certs import authority, passphrase, root_key
    from fieldgate_certs.store import Store

    folder: Path = options.dir
    Store.refuse_taken(folder)
    phrase = None
    if options.root_passphrase or options.root_passphrase_file:
        phrase = passphrase.choose("the root's key", options.root_passphrase_file)
    now = datetime.now(UTC)
    files = authority.create(options.name, now, options.key or "ecdsa", phrase)
    if options.root:
        # what keeps the PKI from being made comes before the key is on the stick
        Store.prepare(folder)
        files = root_key.take_out(files, options.root)
    store = Store.create(folder, files)
    store.record(now, "init", name=options.name)
    ca = authority.load(store.read)
    if options.root:
        keep = f"keep {quoted(options.root)} off this machine, and a copy of it in another place"
    else:
        keep = f"move {quoted(folder / 'x509/root/key.pem')} off this machine"
    option = dir_option(folder)
    sys.stdout.write(f"""\
made a PKI in {folder}
{_cas(folder, ca)}

{_policy(ca)}

next:
  {keep}; issuing never needs it
  fieldgate certs issue server box-1 --dns box-1.example.com{option}
  fieldgate certs issue client ana --role operator{option}
""")
    return 0


def _issuing(options: argparse.Namespace) -> int:
    from fieldgate_certs import authority, issued, layout, root_key, trusting
    from fieldgate_certs.constraints import Constraints
    from fieldgate_certs.store import Store
    from fieldgate_certs.subjects import check_pki_name
    from fieldgate_core.errors import PkiError

    name: str = check_pki_name(options.name)
    limits = Constraints.parse(options.permit_dns, options.permit_ip)
    store = Store(options.dir)
    root = root_key.load(store, options.root, options.root_passphrase_file)
    stem = issued.common_name(root.certificate.subject).removesuffix("-root-1")
    known = [authority.issuing_certificate(store.read, one) for one in store.ca_names()]
    taken = {issued.common_name(one.subject) for one in [root.certificate, *known]}
    if f"{stem}-{name}" in taken:
        raise PkiError(name, f"a CA is called {stem}-{name} already", hint="choose another name")
    now = datetime.now(UTC)
    life = timedelta(days=options.days)
    files = root.issuing_ca(
        f"{stem}-{name}", now, files=layout.ca_files(name), life=life, key=options.key or "ecdsa", limits=limits
    )
    store.add_ca(name, files)
    ca = trusting.load(store, name)
    store.record(now, "issuing", ca=name, permits=str(limits), until=ca.issuing.not_valid_after_utc)
    option = ca_option(name) + dir_option(options.dir)
    sys.stdout.write(f"""\
made the issuing CA {options.dir / "x509/issuing" / name}
  {ca.issuing.subject.rfc4514_string()}, until {date(ca.issuing.not_valid_after_utc)}
  it can vouch for {limits}, and for nothing else

{_policy(ca)}

next:
  fieldgate certs issue server NAME --dns HOST{option}
  fieldgate certs issue client NAME --role ROLE{option}
""")
    return 0


def _trust(options: argparse.Namespace) -> int:
    from fieldgate_certs import trusting
    from fieldgate_certs.store import Store

    store, other = Store(options.dir), Store(options.other)
    trusting.load(store, options.ca)
    name = trusting.add(store, options.ca, other, options.other_ca)
    store.record(datetime.now(UTC), "trust", ca=options.ca, other=name)
    sys.stdout.write(f"""\
holders trust {name} as well, from their next certificate on

next:
  fieldgate certs renew --all{ca_option(options.ca)}{dir_option(options.dir)}
  carry the new identities to the boxes and clients, and reload the servers
""")
    return 0


def _distrust(options: argparse.Namespace) -> int:
    from fieldgate_certs import trusting
    from fieldgate_certs.store import Store

    store = Store(options.dir)
    trusting.remove(store, options.ca, options.name)
    store.record(datetime.now(UTC), "distrust", ca=options.ca, other=options.name)
    sys.stdout.write(f"""\
holders no longer trust {options.name}, from their next certificate on

next:
  fieldgate certs renew --all{ca_option(options.ca)}{dir_option(options.dir)}
""")
    return 0


def _policy(ca: Authority) -> str:
    issuers = "\n".join(f"  {json.dumps(issuer)}," for issuer in ca.policy_issuers)
    return f"paste this in the policy, under each role that this PKI may give:\nissuers = [\n{issuers}\n]"


def _cas(folder: Path, ca: Authority) -> str:
    from fieldgate_certs.openssh import fingerprint

    x509_cas = {"x509/root": ca.root, "x509/issuing": ca.issuing}
    rows = {
        path: f"{certificate.subject.rfc4514_string()}, until {date(certificate.not_valid_after_utc)}"
        for path, certificate in x509_cas.items()
    }
    rows["ssh/user-ca"] = fingerprint(ca.user_ca.public_key())
    rows["ssh/host-ca"] = fingerprint(ca.host_ca.public_key())
    return "\n".join(f"  {folder / path!s:<{len(str(folder)) + 14}} {text}" for path, text in rows.items())
