"""Site URLs: `modbus://`, `modbus+tls://` (alias `mbaps://`) and `modbus+ssh://`, and the loopback test."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlsplit

from fieldgate_core.errors import ConfigError

LOOPBACK_PORT = 5020
TLS_PORT = 802
SSH_PORT = 2222
METRICS_PORT = 9802


class Scheme(StrEnum):
    """How a site is reached."""

    PLAIN = "modbus"
    TLS = "modbus+tls"
    SSH = "modbus+ssh"


_ALIASES = {"mbaps": Scheme.TLS}
_DEFAULT_PORTS = {Scheme.PLAIN: LOOPBACK_PORT, Scheme.TLS: TLS_PORT, Scheme.SSH: None}


class SiteUrl(NamedTuple):
    """A parsed site URL. `port` is None where the URL names none and `~/.ssh/config` may; `user` only for SSH."""

    scheme: Scheme
    host: str
    port: int | None
    user: str | None

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port is not None else ""
        return f"{self.scheme}://{user}{host}{port}"


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine: 127.0.0.0/8, ::1 or the name localhost (which is never looked up)."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _two_doors(host: str) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"reach it through a door: modbus+ssh://ROLE@{shown} or modbus+tls://{shown}"


def parse(text: str) -> SiteUrl:
    """Parse a site URL.

    Raises ConfigError for an unknown scheme, a password, a path, a bad port, and for plain Modbus beyond loopback
    (plain Modbus has no lock, so fieldgate never speaks it across a network).
    """
    if "://" not in text:
        host = (text.rpartition(":")[0] if text.count(":") == 1 else text) or "HOST"
        hint = f"on this machine: modbus://{text}" if is_loopback(host) else _two_doors(host)
        raise ConfigError(text, "a site is named by a URL, not by a bare host", hint=hint)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ConfigError(text, f"not a URL: {error}", hint="the form is modbus+tls://HOST[:PORT]") from None
    scheme = _ALIASES.get(parts.scheme) or next((s for s in Scheme if s == parts.scheme), None)
    if scheme is None:
        raise ConfigError(text, f"unknown scheme {parts.scheme}", hint=f"known are {', '.join(Scheme)} and mbaps")
    if parts.password is not None:
        raise ConfigError(f"{scheme}://{parts.hostname}", "a URL holds no password", hint="keys and certificates do")
    if not parts.hostname:
        raise ConfigError(text, "the URL names no host", hint="the form is modbus+tls://HOST[:PORT]")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigError(text, "nothing may follow the host and port", hint="the unit is asked for with -a")
    if parts.username and scheme is not Scheme.SSH:
        raise ConfigError(text, "only modbus+ssh takes a login name", hint="a TLS role comes from the certificate")
    if port == 0:
        raise ConfigError(text, "port 0 is no port to connect to")
    if scheme is Scheme.PLAIN and not is_loopback(parts.hostname):
        raise ConfigError(text, "plain Modbus is spoken on loopback only", hint=_two_doors(parts.hostname))
    # localhost could be looked up as anything; there is one loopback that is meant
    host = "127.0.0.1" if scheme is Scheme.PLAIN and parts.hostname == "localhost" else parts.hostname
    return SiteUrl(scheme, host, port or _DEFAULT_PORTS[scheme], parts.username or None)
