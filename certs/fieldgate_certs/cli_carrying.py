"""The words for keys that never travel: request on the box, sign on the controller, install on the box."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fieldgate_certs.cli_issuing import client_steps, server_steps
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

if TYPE_CHECKING:
    from fieldgate_certs.inventory import Entry

_REQUEST = """\
On the box or the client machine: makes the keys for both doors in DIR/pending,
where they stay, and DIR/pending/NAME.request, which is to be carried to who
signs. It holds no secret. Compare its fingerprint there."""

_SIGN = """\
Signs a request that was made on a box. From it come only the keys, and the
proof that the box holds them; names, role and life come from the inventory, or
from the options that stand for it. You say whose request it is: NAME, not the
request, decides what is signed, and a request that asks for another name is
refused, and so is a weak key. The answer (REQUEST with .answer) is to be
carried back; it holds no secret. An inventory is a TOML file:

  [server.box-1]
  dns = ["box-1.plant-a.example"]
  ip = ["10.1.0.17"]
  ca = "plant-a"

  [client.ana]
  role = "operator"
  days = 30"""

_SIGN_EXAMPLE = """\
  fieldgate certs sign box-1 box-1.request --inventory inventory.toml --dir pki
  fieldgate certs sign box-1 box-1.request --dns box-1.example.com --dir pki
  fieldgate certs sign ana ana.request --role operator --dir pki"""

_INSTALL = """\
On the box or the client machine: puts a signed answer beside the keys that wait
for it, as a new generation, and `DIR/current` then names it. An answer to
another request is refused, and nothing changes. Compare the answer's
fingerprint with the one that `sign` printed: whoever carried it could have put
other CAs there."""


def add(commands: Commands) -> None:
    """Add the words of this family."""
    example = "  fieldgate certs request box-1 --dir identity"
    request = command(commands, "request", "make keys here, and a request to carry", _REQUEST, example, _request)
    request.add_argument("name", metavar="NAME", help="who this is: letters, digits and . _ -")
    request.add_argument("--dir", type=Path, default=Path(), help="the identity's folder (default: the current one)")
    add_key(request, "ecdsa")

    sign = command(commands, "sign", "sign a request that was made elsewhere", _SIGN, _SIGN_EXAMPLE, _sign)
    sign.add_argument("name", metavar="NAME", help="whose request it is (server/NAME or client/NAME if both exist)")
    sign.add_argument("request", metavar="REQUEST", type=Path, help="the request's file")
    sign.add_argument("--inventory", metavar="FILE", type=Path, help="the inventory's file")
    add_server_names(sign)
    sign.add_argument("--role", help="the role, of a client")
    add_sources(sign)
    add_days(sign)
    add_ca(sign)
    sign.add_argument("--out", metavar="FILE", type=Path, help="the answer's file (default: REQUEST with .answer)")
    add_dir(sign)

    example = "  fieldgate certs install box-1.answer --dir identity"
    install = command(commands, "install", "put a signed answer beside its keys", _INSTALL, example, _install)
    install.add_argument("answer", metavar="ANSWER", type=Path, help="the file that sign made")
    install.add_argument("--dir", type=Path, default=Path(), help="the identity's folder (default: the current one)")


def _request(options: argparse.Namespace) -> int:
    from fieldgate_certs import box

    made = box.request(options.dir, options.name, options.key or "ecdsa")
    sys.stdout.write(f"""\
made {made.file}
  {made.fingerprint}

next:
  carry it to where the PKI is, compare the fingerprint, and sign it there:
    fieldgate certs sign {quoted(options.name)} {quoted(made.file.name)} --inventory FILE --dir PKI
  then, back here:
    fieldgate certs install {quoted(options.name)}.answer --dir {quoted(options.dir)}
""")
    return 0


def _sign(options: argparse.Namespace) -> int:
    from fieldgate_certs import box, disk, issued, renewing, requests, trusting
    from fieldgate_certs.store import Store
    from fieldgate_core.errors import PkiError

    store, now = Store(options.dir), datetime.now(UTC)
    out: Path = options.out or options.request.with_suffix(".answer")
    if out.exists():
        raise PkiError(str(out), "is there already, and nothing is overwritten", hint="remove it, or say --out FILE")
    entry = _entry(options)
    subject, where = entry.subject, str(options.request)
    request = requests.read(disk.read(options.request), where)
    requests.agree(request, subject, where)
    renewing.refuse_revoked_key(store, request.tls_key, request.ssh_key)
    ca = trusting.load(store, entry.ca)
    signed = ca.certify(subject, request.tls_key, request.ssh_key, entry.days, now)
    generation = store.add(subject, signed.files)
    names = issued.read(generation).names
    store.record(now, "sign", holder=f"{subject.kind}/{subject.name}", names=names, request=request.fingerprint)
    answer = box.answer(subject.kind, subject.name, signed.files)
    disk.create(out, answer, private=False)
    sys.stdout.write(f"""\
signed {where}
  {request.fingerprint}
  {subject.kind} {subject.name}, until {date(signed.not_after)}
  {generation} (no private key)

next:
  carry {out} back, and install it there:
    fieldgate certs install {quoted(out.name)} --dir DIR
  compare the fingerprint that it prints with the answer's:
    {requests.fingerprint(answer)}
""")
    return 0


def _entry(options: argparse.Namespace) -> Entry:
    from fieldgate_certs import disk, inventory
    from fieldgate_certs.inventory import Entry
    from fieldgate_certs.subjects import Client, Server
    from fieldgate_core.errors import PkiError

    is_server, is_client = bool(options.dns or options.ip), options.role is not None
    if options.inventory:
        if is_server or is_client or options.source_address or options.days is not None or options.ca:
            problem = "says all there is to say, and options would say it again"
            raise PkiError("--inventory", problem, hint="leave out --dns, --ip, --role, --source-address, --days, --ca")
        try:
            text = disk.read(options.inventory).decode()
        except UnicodeDecodeError:
            raise PkiError(str(options.inventory), "is not UTF-8 text") from None
        return inventory.find(text, options.name, str(options.inventory))
    days = DEFAULT_DAYS if options.days is None else options.days
    if is_server and not is_client and not options.source_address:
        return Entry(Server.parse(options.name, options.dns, options.ip), days, options.ca)
    if is_client and not is_server:
        return Entry(Client.parse(options.name, options.role, options.source_address), days, options.ca)
    hint = "--inventory FILE; or --dns and --ip for a server; or --role for a client"
    raise PkiError(options.name, "say what it is: a server or a client", hint=hint)


def _install(options: argparse.Namespace) -> int:
    from fieldgate_certs import box, disk, layout, requests
    from fieldgate_certs.issued import role

    data = disk.read(options.answer)
    generation, found = box.install(options.dir, data, str(options.answer))
    current = options.dir / disk.CURRENT
    is_server = (generation / layout.TLS_CLIENT_CA.path).exists()
    steps = server_steps(current) if is_server else client_steps(current, role(found.leaf).role or "ROLE")
    sys.stdout.write(f"""\
installed {generation}, until {date(found.life.not_after)}
  {current} -> {generation.name}
  the answer's fingerprint, which `sign` must have printed too:
  {requests.fingerprint(data)}

next:
{steps}
""")
    return 0
