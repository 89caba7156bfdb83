"""`fieldgate server explain`: may a role do this, and by which grant, or for want of which."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fieldgate_server.explain import Answer, Case
    from fieldgate_server.identity import Identity
    from fieldgate_server.layout import Cells
    from fieldgate_server.policy import Policy
    from fieldgate_server.settings import Settings

_ABOUT = """\
Says whether a role may do something, by which grants, and else which cell is
short and what would be needed. It judges as the running server does, asks no
server and opens no socket. Exit code 0: allowed; 1: refused; 2: cannot be told.

  read CELLS           "holding 100-119", "coils 7, input all", "file 4 0-99"
  write CELLS          with --value what they are to hold; without, the limits
  function NAME        "3", "8/0A", "43/14"
  manage WORD          view, status, reload, lock, kick, stop
"""

_EXAMPLES = """\
Addresses count from 0. With --config the units' shared tables are resolved as
the server does; --policy alone knows no units, and takes all tables for
separate.

examples:
  fieldgate server explain --config server.toml --role operator --unit 3 \\
      write holding 100-110 --value 600
  fieldgate server explain --policy policy.toml --role shift-lead --unit 3 \\
      write holding 200-201 --value 12.5 --type "float32 CDAB"
  fieldgate server explain --config server.toml --user scada read input all
  fieldgate server explain --config server.toml --cert client.pem function 43/14
"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `explain`."""
    parser = commands.add_parser(
        "explain",
        help="may a role do this, and by which grant?",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--config", type=Path, metavar="FILE", help="the server's settings file, which names the policy"
    )
    source.add_argument("--policy", type=Path, metavar="FILE", help="a policy file alone")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--role", metavar="ROLE", help="ask for this role")
    who.add_argument("--cert", type=Path, metavar="FILE", help="ask for who shows this certificate at the TLS door")
    who.add_argument("--user", metavar="NAME", help="ask for this user of this machine, on loopback")
    parser.add_argument(
        "--unit", type=int, default=None, metavar="N", help="the unit (default: the default unit, or 1)"
    )
    parser.add_argument("--at", metavar="TIME", help='judge at this time: "2026-12-02", "2026-12-02T06:00:00+01:00"')
    parser.add_argument("--value", nargs="+", metavar="V", help="what is written: one value for all, or one each")
    parser.add_argument("--type", metavar="TYPE", help='the type of the values, "float32 CDAB" (default: registers)')
    parser.add_argument("--json", action="store_true", help="answer for programs")
    parser.add_argument("verb", choices=["read", "write", "function", "manage"], metavar="VERB", help="see above")
    parser.add_argument("what", nargs="+", metavar="WHAT", help="cells, the function's name, or the word")
    parser.set_defaults(carry_out=carry_out)


class _Site(NamedTuple):
    """What is known of the server: its policy, and its settings if they are named."""

    policy: Policy
    settings: Settings | None
    now: float


def carry_out(options: argparse.Namespace) -> int:
    """Explain, and give the exit code: 0 allowed, 1 refused. Raises ConfigError for what cannot be told."""
    from fieldgate_server.explain import Answer, Short

    site = _site(options)
    who = _who(options, site)
    what = " ".join(options.what)
    number, notes = 0, list[str]()
    if options.verb != "manage":
        number = _number(options.unit, site)
    if who.fault is not None:
        answer = Answer(Short(None, who.fault, ""))
    else:
        case, notes = _case(who, number, site)
        answer = _answer(options, case, what)
    notes += answer.notes
    text = _json if options.json else _text
    sys.stdout.write(f"{text(options, answer, who, number, notes)}\n")
    return 0 if answer.allowed else 1


def _site(options: argparse.Namespace) -> _Site:
    from fieldgate_core import settings
    from fieldgate_core.errors import ConfigError
    from fieldgate_server import periods
    from fieldgate_server import policy as policies
    from fieldgate_server.settings import Settings

    try:
        now = time.time() if options.at is None else periods.moment(options.at)
    except ValueError as error:
        raise ConfigError("--at", str(error), hint=periods.HINT) from None
    if options.config is None:
        return _Site(policies.load(options.policy, now=now), None, now)
    wanted = settings.load(options.config, Settings)
    if wanted.policy is None:
        return _Site(policies.OwnerPolicy(os.geteuid()), wanted, now)
    return _Site(policies.load(wanted.policy, now=now), wanted, now)


def _number(unit: int | None, site: _Site) -> int:
    """Give the unit's own number: 0 and 255 are other names of the default unit."""
    from fieldgate_core.errors import ConfigError
    from fieldgate_core.modbus import DEFAULT_UNIT_ALIASES

    default = site.settings.default_unit if site.settings else 1
    if unit is None:
        return default
    if not 0 <= unit <= 255:
        raise ConfigError(f"--unit {unit}", "is not 0 to 255")
    if unit not in DEFAULT_UNIT_ALIASES:
        return unit
    if site.settings is None:
        raise ConfigError(f"--unit {unit}", "is another name of the default unit", hint="name that unit, or --config")
    return default


def _who(options: argparse.Namespace, site: _Site) -> Identity:
    """Conclude who asks, as the doors do."""
    from fieldgate_core.credentials import LoopbackCredentials
    from fieldgate_core.errors import ConfigError
    from fieldgate_server import users
    from fieldgate_server.identity import Identity, conclude
    from fieldgate_server.policy import OWNER_ROLE, OwnerPolicy

    policy = site.policy
    if options.role is not None:
        known = (OWNER_ROLE,) if isinstance(policy, OwnerPolicy) else policy.roles
        if options.role not in known:
            raise ConfigError(f"--role {options.role}", "is not declared", hint=f"declared: {', '.join(known)}")
        return Identity("", options.role, policy.rights(options.role), "", "")
    if options.cert is not None:
        return _unless_revoked(_certificate(options.cert, site), site)
    try:
        uid = pwd.getpwnam(options.user).pw_uid
    except KeyError:
        raise ConfigError(f"--user {options.user}", "this machine has no such user") from None
    return _unless_revoked(conclude(LoopbackCredentials("", uid), policy, users.lookup), site)


def _unless_revoked(who: Identity, site: _Site) -> Identity:
    from fieldgate_server.checking import read_revoked

    if site.settings is None or site.settings.revoked is None:
        return who
    named = who.revoked_as(read_revoked(site.settings.revoked))
    return who._replace(fault=f"{who.name} is revoked: {site.settings.revoked} names {named}") if named else who


def _certificate(file: Path, site: _Site) -> Identity:
    """Conclude who shows this certificate, and say if its handshake would fail."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from fieldgate_core.errors import ConfigError
    from fieldgate_server.identity import conclude
    from fieldgate_tunnel import tls

    try:
        certificate = x509.load_pem_x509_certificates(file.read_bytes())[0]
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read: {error.strerror}") from None
    except (ValueError, IndexError):
        raise ConfigError(str(file), "holds no certificate that can be read (PEM)") from None
    leaf = certificate.public_bytes(Encoding.DER)
    identity = conclude(tls.credentials(leaf, ""), site.policy, lambda _uid: None)
    fault = None
    if site.settings is not None and site.settings.tls is None:
        fault = "the settings have no TLS door"
    elif site.settings is not None and site.settings.tls is not None:
        anchors = tls.client_anchors(site.settings.tls.identity)
        if not tls.issued_by(leaf, anchors):
            fault = "none of the CAs in tls-client-ca.pem has issued it: the handshake fails"
    if not certificate.not_valid_before_utc.timestamp() <= site.now < certificate.not_valid_after_utc.timestamp():
        fault = "it is not in force at this time: the handshake fails"
    return identity if fault is None else identity._replace(fault=fault)


def _case(who: Identity, number: int, site: _Site) -> tuple[Case, list[str]]:
    from fieldgate_server.explain import Case
    from fieldgate_server.unit_settings import TableSettings, UnitSettings

    notes = []
    given = next((unit for unit in site.settings.unit if unit.id == number), None) if site.settings else None
    if site.settings is None and number:
        notes.append(
            "without --config the units are not known: tables are taken for separate, and every cell for there"
        )
    elif given is None and number:
        notes.append(f"the settings have no unit {number}: what is allowed there is answered 0A")
    whole = TableSettings(size=65536)
    unit = given or UnitSettings(coils=whole, discrete=whole, holding=whole, input=whole)
    return Case(site.policy, who.role, who.rights, number, unit.build(), there=given is not None), notes


def _answer(options: argparse.Namespace, case: Case, what: str) -> Answer:
    from fieldgate_core.errors import ConfigError
    from fieldgate_server import explain, typed
    from fieldgate_server.grants import MANAGE

    if (options.value or options.type) and options.verb != "write":
        raise ConfigError("--value", "belongs to write")
    if options.verb == "manage":
        if what not in MANAGE:
            raise ConfigError(f"manage {what}", "is nothing to manage", hint=f"known here: {', '.join(MANAGE)}")
        return explain.manage(case, what)
    if options.verb == "function":
        try:
            return explain.function(case, what)
        except ValueError as error:
            raise ConfigError(f"function {what}", str(error)) from None
    asked = _cells(what)
    if options.verb == "read":
        return explain.read(case, asked)
    try:
        number = typed.parse(options.type) if options.type else None
    except ValueError as error:
        raise ConfigError("--type", str(error), hint=typed.HINT) from None
    try:
        values = explain.spread(asked, options.value, number) if options.value else None
    except ValueError as error:
        raise ConfigError("--value", str(error)) from None
    return explain.write(case, asked, values)


def _cells(text: str) -> list[Cells]:
    from fieldgate_core.errors import ConfigError
    from fieldgate_server import cells

    try:
        return cells.parse(text)
    except ValueError as error:
        raise ConfigError(text, str(error), hint=cells.HINT) from None


def _text(options: argparse.Namespace, answer: Answer, who: Identity, number: int, notes: list[str]) -> str:
    name = f"{who.name} as " if who.name else ""
    unit = f", unit {number}" if number else ""
    values = f" = {' '.join(options.value)}" if options.value else ""
    asked = f"{options.verb} {' '.join(options.what)}"
    lines = [f"{'allowed' if answer.allowed else 'refused'}: {name}role {who.role}{unit}: {asked}{values}"]
    lines += [f"  by {grant}" for grant in answer.grants]
    lines += [f"  {limit}" for limit in answer.limits]
    if answer.short is not None:
        lines.append(f"  {answer.short.why}")
        lines += [f"  needed: {answer.short.needed}"] if answer.short.needed else []
    lines += [f"  note: {note}" for note in notes]
    return "\n".join(lines)


def _json(options: argparse.Namespace, answer: Answer, who: Identity, number: int, notes: list[str]) -> str:
    short = answer.short
    cells = None if short is None or short.cells is None else str(short.cells)
    return json.dumps(
        {
            "allowed": answer.allowed,
            "identity": who.name or None,
            "role": who.role,
            "unit": number or None,
            "asked": f"{options.verb} {' '.join(options.what)}",
            "values": options.value,
            "type": options.type,
            "grants": answer.grants,
            "limits": answer.limits,
            "short": short and {"cells": cells, "why": short.why, "needed": short.needed},
            "notes": notes,
        }
    )
