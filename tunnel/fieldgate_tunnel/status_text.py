"""`fieldgate tunnel status`: what running tunnels answer, as a table or as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fieldgate_core.errors import EXIT_OK, EXIT_TUNNEL
from fieldgate_core.logs import printable
from fieldgate_tunnel import status

_HEAD = ("url", "state", "since", "round trip", "bytes today", "clients", "listen")


def show(*, as_json: bool) -> int:
    """Ask, print, and give the exit code."""
    links = [link | {"pid": answer["pid"]} for answer in status.running() for link in answer["links"]]
    if as_json:
        sys.stdout.write(f"{json.dumps({'time': time.time(), 'links': links})}\n")
    elif links:
        sys.stdout.write("".join(f"{line}\n" for line in lines(links)))
    else:
        sys.stderr.write("no tunnel runs for this user\n")
    return EXIT_OK if links and all(link["state"] == "up" for link in links) else EXIT_TUNNEL


def lines(links: list[dict[str, Any]]) -> list[str]:
    """Write the table, and below it why links are not up."""
    rows = [_HEAD, *(_row(link) for link in links)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for link in links:
        if link["state"] != "up" and link["reason"]:
            table.append(f"{_text(link['target'])}: {_text(link['reason'])}")
        elif link["last_error"]:
            table.append(
                f"{_text(link['target'])}: last error {_moment(link['last_error_at'])}: {_text(link['last_error'])}"
            )
    return table


def _row(link: Mapping[str, Any]) -> tuple[str, ...]:
    trip = "-" if link["round_trip"] is None else f"{1000 * link['round_trip']:.1f} ms"
    used = f"{link['today']} of {link['cap']}" if link["cap"] else str(link["today"])
    listen = ", ".join(map(_text, link["listen"]))
    return (
        _text(link["target"]),
        *(_text(link["state"]), _moment(link["since"]), trip, used, str(link["clients"])),
        listen,
    )


def _text(text: object) -> str:
    return printable(str(text), 400)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
