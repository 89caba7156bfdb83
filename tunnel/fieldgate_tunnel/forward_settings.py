"""The settings of `fieldgate tunnel forward`: what is forwarded where and for whom, checked before a socket opens."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fieldgate_core.errors import ConfigError
from fieldgate_core.url import LOOPBACK_PORT, check_domain, is_loopback
from fieldgate_tunnel.keepalive import PRESETS
from fieldgate_tunnel.mux import IN_FLIGHT

DEADLINE = 2.5
"""Seconds for an answer, waiting for the link included: just less than most clients wait before they ask again."""
WHILE_DOWN = ("wait", "refuse")


class TcpAddress(NamedTuple):
    """A loopback address to listen on; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Address = TcpAddress | Path
"""Where to listen: loopback, or a Unix socket."""


@dataclass(frozen=True)
class ForwardSettings:
    """One [[forward]]: `deadline` in seconds, `bytes_per_day` 0 for no cap; `probe_*` what a probe reads."""

    url: str
    listen: tuple[str, ...] = (f"127.0.0.1:{LOOPBACK_PORT}",)
    identity: Path | None = None
    allow_users: tuple[str, ...] = ()
    while_down: str = "wait"
    deadline: float = DEADLINE
    keepalive: str = "normal"
    bytes_per_day: int = 0
    in_flight: int = IN_FLIGHT
    probe_unit: int = 255
    probe_address: int = 0
    domain: str = ""
    """Of a box behind a hub, whose certificate is for BOX.DOMAIN."""

    def __post_init__(self) -> None:
        if self.domain:
            check_domain(self.domain)
        for name, known in (("while_down", WHILE_DOWN), ("keepalive", tuple(PRESETS))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r} is none of {', '.join(known)}")
        if not 0.1 <= self.deadline <= 3600:
            raise ValueError(f"deadline {self.deadline:g} is not 0.1 to 3600 seconds")
        if not self.listen:
            raise ValueError("listen names no address")
        numbers = (("bytes_per_day", 0, 2**63), ("in_flight", 1, 1024), ("probe_unit", 0, 255))
        for name, least, most in (*numbers, ("probe_address", 0, 65535)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} {getattr(self, name)} is not {least} to {most}")


@dataclass(frozen=True)
class ForwardFile:
    """A file of many."""

    forward: tuple[ForwardSettings, ...] = ()

    def __post_init__(self) -> None:
        if not self.forward:
            raise ValueError("forwards nothing: write [[forward]] with a url and a listen")


def address(text: str, base: Path) -> Address:
    """Read HOST:PORT or unix:PATH, the latter relative to `base`. Raises ConfigError for all but loopback."""
    where = f"listen {text}"
    if text.startswith("unix:"):
        if text == "unix:":
            raise ConfigError(where, "names no path")
        return base / Path(text.removeprefix("unix:")).expanduser()
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(where, "is no address to listen on", hint="write 127.0.0.1:5020, [::1]:5020 or unix:PATH")
    if not is_loopback(host):
        raise ConfigError(
            where,
            "a forward listens on loopback or a Unix socket only: plain Modbus has no lock",
            hint="run one on each machine that needs it",
        )
    return TcpAddress("127.0.0.1" if host == "localhost" else host, int(port))


def addresses(forwards: tuple[ForwardSettings, ...], base: Path) -> list[tuple[Address, ...]]:
    """Read where each listens. Raises ConfigError, also where two want the same."""
    found = [tuple(address(text, base) for text in one.listen) for one in forwards]
    taken: set[Address] = set()
    for one in (each for several in found for each in several):
        if one in taken and not (isinstance(one, TcpAddress) and one.port == 0):
            raise ConfigError(f"listen {one}", "stands twice", hint="give each [[forward]] a port of its own")
        taken.add(one)
    return found


def uids(names: tuple[str, ...]) -> frozenset[int]:
    """Give the uids that may use a forward: our own, and those of `names`. Raises ConfigError for an unknown name."""
    found = {os.geteuid()}
    for name in names:
        try:
            found.add(pwd.getpwnam(name).pw_uid)
        except KeyError:
            raise ConfigError("allow_users", f"there is no user {name!r} here") from None
    return frozenset(found)
