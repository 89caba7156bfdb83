"""`fieldgate server status|reload|lock|unlock|kick|stop`: ask a running server, over its control socket."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fieldgate_core.errors import EXIT_OK, ConfigError
from fieldgate_core.logs import printable
from fieldgate_tunnel import control_client

_COMMANDS = {
    "status": (
        "who is connected, and what the server holds",
        "Shows the server, its lock, policy and certificates, and every open session.",
    ),
    "reload": (
        "read policy, credentials, revoked names and limits anew",
        "Reads the settings and the files that they name, checks them whole, and judges\n"
        "every open session anew. What is wrong keeps all that was, and is said here.\n"
        "SIGHUP does the same, and says it in the log.",
    ),
    "lock": (
        "make everything read-only at once, until unlock",
        "Refuses every write and every control function, at every door, at once and after\n"
        "a restart too, until `fieldgate server unlock`. Reads go on.",
    ),
    "unlock": ("end the lock", "Lets writes through again, as the policy has them."),
    "kick": (
        "close the sessions of somebody",
        "Closes all sessions of an identity, by its typed name, or one by its number;\n"
        "both as `fieldgate server status` shows them. It may come back: to keep it out,\nrevoke it.",
    ),
    "stop": ("stop the server", "Stops the server as SIGTERM does."),
}
_EXITS = "Exit code 0: done; 1: refused; 2: wrong usage or files; 3: nobody answers."


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add these commands to those of `fieldgate server`."""
    for name, (line, about) in _COMMANDS.items():
        parser = commands.add_parser(
            name, help=line, description=about, epilog=_EXITS, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        where = parser.add_mutually_exclusive_group(required=True)
        where.add_argument("--config", type=Path, metavar="FILE", help="the server's settings, which name its socket")
        where.add_argument("--control", type=Path, metavar="SOCKET", help="its control socket")
        parser.add_argument("--json", action="store_true", help="answer for programs")
        if name == "kick":
            parser.add_argument("who", metavar="WHO", help="a typed name (unix:scada), or a session's number")
        parser.set_defaults(carry_out=carry_out, command=name)


def carry_out(options: argparse.Namespace) -> int:
    """Ask, show the answer, and give the exit code. Raises ConfigError and UnreachableError."""
    asked = {"command": options.command} | ({"who": options.who} if options.command == "kick" else {})
    path: Path = options.control or _of_settings(options.config)
    answer = control_client.ask(path, asked)
    if options.json:
        sys.stdout.write(f"{json.dumps(answer)}\n")
    elif answer["ok"]:
        sys.stdout.write(_text(options.command, answer))
    else:
        sys.stderr.write(f"fieldgate: error: {printable(answer['error'], 4000)}\n")
        if answer["hint"]:
            sys.stderr.write(f"fieldgate: hint: {printable(answer['hint'], 4000)}\n")
    return EXIT_OK if answer["ok"] else int(answer["code"])


def _of_settings(file: Path) -> Path:
    """Find the socket in a settings file, though the rest of it may be wrong just now. Raises ConfigError."""
    from fieldgate_core import settings

    found = settings.read_toml(file).get("control")
    if not isinstance(found, str) or not found:
        raise ConfigError(f"{file}: control", "is not set, so its server has no control socket")
    return file.resolve().parent / Path(found).expanduser()


def _text(command: str, answer: Mapping[str, Any]) -> str:
    if command == "status":
        return "".join(f"{printable(line, 4000)}\n" for line in _status(answer))
    if command == "reload":
        closed = f", {_count(answer['closed'], 'session')} of revoked identities closed" if answer["closed"] else ""
        waiting = f"these settings wait for the next start: {', '.join(answer['waiting'])}\n"
        return f"reloaded{closed}\n{waiting if answer['waiting'] else ''}"
    if command == "kick":
        return f"{_count(answer['closed'], 'session')} closed\n"
    return {"lock": "locked: everything is read-only\n", "unlock": "unlocked\n", "stop": "stopping\n"}[command]


def _status(answer: Mapping[str, Any]) -> Sequence[str]:
    server, lock, policy = answer["server"], answer["lock"], answer["policy"]
    ports = ", ".join(f"{door} {port}" for door, port in server["ports"].items())
    lines = [f"fieldgate {server['version']}, up {_span(server['uptime'])}, pid {server['pid']}; ports: {ports}"]
    if lock is None:
        lines.append("not locked")
    else:
        since = "nobody knows when" if lock["since"] is None else _moment(lock["since"])
        lines.append(f"LOCKED by {lock['by'] or 'somebody'} since {since}: everything is read-only")
    lines.append(f"policy {policy['file'] or '(none: quick start)'}, read {_moment(policy['loaded'])}")
    lines += [
        f"certificate {one['name']} ends {_moment(one['ends'])} ({one['file']})" for one in answer["certificates"]
    ]
    lines += [
        f"CRL of {one['issuer']}: {one['revoked']} revoked, of {_moment(one['begins'])}, next {_moment(one['ends'])}"
        for one in answer["crls"]
    ]
    if answer["clock"]["wrong"]:
        lines.append(f"{answer['clock']['wrong']}: the TLS and SSH doors let nobody in")
    lines += [f"{one['target']} {one['state']} since {_moment(one['since'])}{_why(one)}" for one in answer["hubs"]]
    sessions = answer["sessions"]
    lines.append(_count(len(sessions), "session"))
    if sessions:
        head = ("", "role", "door", "peer", "since", "idle", "reads", "writes", "refused", "req/s", "identity")
        rows = [head, *(_row(one) for one in sessions)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
    return lines


def _why(one: Mapping[str, Any]) -> str:
    return f": {one['reason']}" if one["reason"] else ""


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    counts = (str(one[name]) for name in ("reads", "writes", "refusals"))
    fault = f" ({one['fault']})" if one["fault"] else ""
    seen = (_moment(one["since"]), _span(one["idle"]))
    who = f"{one['identity']}{fault}"
    return str(one["number"]), one["role"], one["door"], one["peer"], *seen, *counts, f"{one['rate']:.1f}", who


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _moment(seconds: float | None) -> str:
    return "never" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _span(seconds: float) -> str:
    """Write a duration by its two largest units."""
    whole = int(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next((at for at, (number, _) in enumerate(parts) if number), 3)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2])
