"""The words that issue a whole identity, private keys included: issue server, issue client."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fieldgate_certs.cli_words import (
    Commands,
    add_ca,
    add_days,
    add_dir,
    add_key,
    add_server_names,
    add_sources,
    command,
    date,
    quoted,
)
from fieldgate_certs.validity import DEFAULT_DAYS

# cryptography is imported when a command runs, not for --help
if TYPE_CHECKING:
    from fieldgate_certs.subjects import Subject

_ISSUE = """\
Issues to a server or a client what it needs at both doors: a key and a
certificate for TLS, and another key and certificate for SSH. Each issue for a
name makes a new folder beside the older ones, and `current` then names it:

  DIR/issued/server/NAME/000001/
  DIR/issued/server/NAME/current -> 000001

Where private keys must not travel, use request, sign and install instead."""

_ISSUE_EXAMPLE = """\
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
  fieldgate certs issue server box-1 --dns box-1.example.com --ip 192.0.2.17 \\
      --dir pki"""

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
  fieldgate certs issue client ana --role operator --days 30 --dir pki"""


def add(commands: Commands) -> None:
    """Add the words of this family."""
    issue = command(commands, "issue", "issue to a server or a client", _ISSUE, _ISSUE_EXAMPLE, None)
    kinds = issue.add_subparsers(dest="kind", metavar="KIND", required=True)
    server = command(kinds, "server", "issue to a server", _SERVER, _SERVER_EXAMPLE, _server)
    server.add_argument("name", metavar="NAME", help="the server's name: letters, digits and . _ -")
    add_server_names(server)
    client = command(kinds, "client", "issue to a person or program", _CLIENT, _CLIENT_EXAMPLE, _client)
    client.add_argument("name", metavar="NAME", help="who it is: letters, digits and . _ -")
    client.add_argument("--role", required=True, help="the role of the server's policy that it acts in")
    add_sources(client)
    for leaf in (server, client):
        add_days(leaf)
        add_key(leaf, "as the issuing CA's")
        add_ca(leaf)
        add_dir(leaf)


def _server(options: argparse.Namespace) -> int:
    from fieldgate_certs.subjects import Server

    return _issue(options, Server.parse(options.name, options.dns, options.ip))


def _client(options: argparse.Namespace) -> int:
    from fieldgate_certs.subjects import Client

    return _issue(options, Client.parse(options.name, options.role, options.source_address))


def _issue(options: argparse.Namespace, subject: Subject) -> int:
    from fieldgate_certs import issued, trusting
    from fieldgate_certs.disk import CURRENT
    from fieldgate_certs.store import Store
    from fieldgate_certs.subjects import Server

    store, now = Store(options.dir), datetime.now(UTC)
    ca = trusting.load(store, options.ca)
    days = DEFAULT_DAYS if options.days is None else options.days
    identity = ca.issue(subject, days, now, options.key)
    generation = store.add(subject, identity.files)
    store.record(now, "issue", holder=f"{subject.kind}/{subject.name}", names=issued.read(generation).names)
    capped = ", with its issuing CA" if identity.not_after == ca.issuing.not_valid_after_utc else ""
    current = generation.parent / CURRENT
    steps = server_steps(current) if isinstance(subject, Server) else client_steps(current, subject.role)
    sys.stdout.write(f"""\
issued {generation}
  {subject.kind} {subject.name}, until {date(identity.not_after)}{capped}
  {current} -> {generation.name}

next:
{steps}
""")
    return 0


def server_steps(current: Path) -> str:
    """Say how a server is told of its identity."""
    setting = f"identity = {json.dumps(str(current.absolute()), ensure_ascii=False)}"
    return f"""\
  in the server's settings:
    [tls]
    {setting}
    [ssh]
    {setting}"""


def client_steps(current: Path, role: str) -> str:
    """Say how a client uses its identity, with our command and with OpenSSH."""
    known_hosts = str(current / "known_hosts")
    if " " in known_hosts:
        known_hosts = f'"{known_hosts}"'  # ssh takes a list of files here
    hosts = quoted(f"UserKnownHostsFile={known_hosts}")
    return f"""\
  fieldgate client read modbus+tls://HOST --identity {quoted(current)} -t 4 -r 1
or with OpenSSH alone, and any Modbus client on localhost:5021:
  ssh -N -L 5021:localhost:502 -p 2222 -i {quoted(current / "ssh-key")} -o {hosts} {quoted(role + "@HOST")}"""
