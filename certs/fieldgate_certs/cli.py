"""The words of `fieldgate certs`: make a PKI, issue from it, and say what to do next."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fieldgate_certs.validity import DEFAULT_DAYS, MAX_DAYS

# cryptography is imported when a command runs, not for --help
if TYPE_CHECKING:
    from fieldgate_certs.authority import Authority
    from fieldgate_certs.subjects import Subject

_AS_WRITTEN = argparse.RawDescriptionHelpFormatter

_CERTS = """\
Makes the certificates of both doors, in one small PKI of your own: X.509 for the
TLS door, OpenSSH for the SSH door. Everything is a file in one folder; nothing
leaves this machine, and nothing is ever overwritten."""

_CERTS_EXAMPLE = """\
example:
  fieldgate certs init pki
  fieldgate certs issue server box-1 --dns box-1.example.com --ip 192.0.2.17 --dir pki
  fieldgate certs issue client ana --role operator --dir pki"""

_INIT = """\
Makes a PKI in the folder DIR, which is made if it is not there:

  DIR/x509/root/     the root CA, for 20 years; it signs only the issuing CA
  DIR/x509/issuing/  the issuing CA, for 10 years; it signs servers and clients
  DIR/ssh/user-ca    the key that signs who may log in at the SSH door
  DIR/ssh/host-ca    the key that signs which hosts clients may trust

X.509 keys are ECDSA P-256, SSH keys Ed25519, in files that only you can read
(mode 0600). A folder that holds a PKI already is refused. Prints the two
issuers that a policy names."""

_INIT_EXAMPLE = """\
example:
  fieldgate certs init plant-pki --name plant"""

_ISSUE = """\
Issues to a server or a client what it needs at both doors: a key and a
certificate for TLS, and another key and certificate for SSH. Each issue for a
name makes a new folder beside the older ones, and `current` then names it:

  DIR/issued/server/NAME/000001/
  DIR/issued/server/NAME/current -> 000001"""

_ISSUE_EXAMPLE = """\
example:
  fieldgate certs issue server box-1 --dns box-1.example.com --dir pki
  fieldgate certs issue client ana --role operator --dir pki"""

_SERVER = """\
Issues a server's identity in DIR/issued/server/NAME/current. Clients accept the
server only under the hosts that --dns and --ip name: at least one, as many as
you like. In the folder:

  tls-key.pem, tls-chain.pem         for TLS: key; certificate, issuing CA, root
  tls-client-ca.pem                  the CA whose clients the TLS door lets in
  ssh-host-key, .pub, -cert.pub      for SSH: key and host certificate
  ssh-user-ca.pub                    the CA whose users the SSH door lets in"""

_SERVER_EXAMPLE = """\
example:
  fieldgate certs issue server box-1 --dns box-1.example.com --ip 192.0.2.17 --dir pki"""

_CLIENT = """\
Issues the identity of a person or program in DIR/issued/client/NAME/current. It
acts in exactly one role, the one that --role names; the server's policy says
what that role may do. In the folder:

  tls-key.pem, tls-chain.pem         for TLS: key; certificate, issuing CA, root
  tls-server-ca.pem                  the root that the server's chain must reach
  ssh-key, .pub, -cert.pub           for SSH: key and user certificate
  known_hosts                        the CA whose hosts SSH may trust

The SSH certificate is for tunnels only: it opens no shell."""

_CLIENT_EXAMPLE = """\
example:
  fieldgate certs issue client ana --role operator --days 30 --dir pki"""


def main(args: list[str]) -> int:
    """Run `fieldgate certs` with `args` and return its exit code. Raises PkiError."""
    options = _parser().parse_args(args)
    if options.command == "init":
        return _init(options.dir, options.name)
    from fieldgate_certs.subjects import Client, Server

    if options.kind == "server":
        return _issue(options.dir, Server.parse(options.name, options.dns, options.ip), options.days)
    return _issue(options.dir, Client(options.name, options.role), options.days)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fieldgate certs", description=_CERTS, epilog=_CERTS_EXAMPLE, formatter_class=_AS_WRITTEN
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    init = commands.add_parser(
        "init", help="make a PKI in a folder", description=_INIT, epilog=_INIT_EXAMPLE, formatter_class=_AS_WRITTEN
    )
    init.add_argument("dir", metavar="DIR", type=Path, help="the PKI's folder")
    init.add_argument("--name", default="fieldgate", help="what the CAs are called: NAME-root-1 (default: fieldgate)")

    issue = commands.add_parser(
        "issue",
        help="issue to a server or a client",
        description=_ISSUE,
        epilog=_ISSUE_EXAMPLE,
        formatter_class=_AS_WRITTEN,
    )
    kinds = issue.add_subparsers(dest="kind", metavar="KIND", required=True)

    server = kinds.add_parser(
        "server", help="issue to a server", description=_SERVER, epilog=_SERVER_EXAMPLE, formatter_class=_AS_WRITTEN
    )
    server.add_argument("name", metavar="NAME", help="the server's name: letters, digits and . _ -")
    server.add_argument("--dns", metavar="HOST", action="append", default=[], help="a DNS name; may be repeated")
    server.add_argument("--ip", metavar="ADDR", action="append", default=[], help="an IP address; may be repeated")

    client = kinds.add_parser(
        "client",
        help="issue to a person or program",
        description=_CLIENT,
        epilog=_CLIENT_EXAMPLE,
        formatter_class=_AS_WRITTEN,
    )
    client.add_argument("name", metavar="NAME", help="who it is: letters, digits and . _ -")
    client.add_argument("--role", required=True, help="the role of the server's policy that it acts in")

    for leaf in (server, client):
        days = f"days until both certificates end, 1 to {MAX_DAYS} (default: {DEFAULT_DAYS})"
        leaf.add_argument("--days", type=int, default=DEFAULT_DAYS, help=days)
        leaf.add_argument("--dir", type=Path, default=Path(), help="the PKI's folder (default: the current folder)")
    return parser


def _init(folder: Path, name: str) -> int:
    from fieldgate_certs import authority
    from fieldgate_certs.store import Store

    store = Store.create(folder, authority.create(name, datetime.now(UTC)))
    ca = authority.load(store.read)
    issuers = "\n".join(f"  {json.dumps(issuer)}," for issuer in ca.policy_issuers)
    option = _dir_option(folder)
    sys.stdout.write(f"""\
made a PKI in {folder}
{_cas(folder, ca)}

paste this in the policy, under each role that this PKI may give:
issuers = [
{issuers}
]

next:
  move {_quoted(folder / "x509/root/key.pem")} off this machine; issuing never needs it
  fieldgate certs issue server box-1 --dns box-1.example.com{option}
  fieldgate certs issue client ana --role operator{option}
""")
    return 0


def _cas(folder: Path, ca: Authority) -> str:
    from fieldgate_certs.openssh import fingerprint

    x509_cas = {"x509/root": ca.root, "x509/issuing": ca.issuing}
    rows = {
        path: f"{certificate.subject.rfc4514_string()}, until {_date(certificate.not_valid_after_utc)}"
        for path, certificate in x509_cas.items()
    }
    rows["ssh/user-ca"] = fingerprint(ca.user_ca.public_key())
    rows["ssh/host-ca"] = fingerprint(ca.host_ca.public_key())
    return "\n".join(f"  {folder / path!s:<{len(str(folder)) + 14}} {text}" for path, text in rows.items())


def _issue(folder: Path, subject: Subject, days: int) -> int:
    from fieldgate_certs import authority
    from fieldgate_certs.store import CURRENT, Store
    from fieldgate_certs.subjects import Server

    store = Store(folder)
    ca = authority.load(store.read)
    identity = ca.issue(subject, days, datetime.now(UTC))
    generation = store.add(subject, identity.files)
    capped = ", with its issuing CA" if identity.not_after == ca.issuing.not_valid_after_utc else ""
    current = generation.parent / CURRENT
    steps = _server_steps(current) if isinstance(subject, Server) else _client_steps(current, subject.role)
    sys.stdout.write(f"""\
issued {generation}
  {subject.kind} {subject.name}, until {_date(identity.not_after)}{capped}
  {current} -> {generation.name}

next:
{steps}
""")
    return 0


def _server_steps(current: Path) -> str:
    setting = f"identity = {json.dumps(str(current.absolute()), ensure_ascii=False)}"
    return f"""\
  in the server's settings:
    [tls]
    {setting}
    [ssh]
    {setting}"""


def _client_steps(current: Path, role: str) -> str:
    known_hosts = str(current / "known_hosts")
    if " " in known_hosts:
        known_hosts = f'"{known_hosts}"'  # ssh takes a list of files here
    hosts = _quoted(f"UserKnownHostsFile={known_hosts}")
    return f"""\
  fieldgate client read modbus+tls://HOST --identity {_quoted(current)} -t 4 -r 1
or with OpenSSH alone, and any Modbus client on localhost:5021:
  ssh -N -L 5021:localhost:502 -p 2222 -i {_quoted(current / "ssh-key")} -o {hosts} {_quoted(role + "@HOST")}"""


def _dir_option(folder: Path) -> str:
    return "" if folder == Path() else f" --dir {_quoted(folder)}"


def _quoted(text: Path | str) -> str:
    return shlex.quote(str(text))


def _date(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
