"""Site URLs: `modbus://`, `modbus+tls://` (alias `mbaps://`), `modbus+ssh://`, `modbus+tls+ssh://`; loopback test."""

from __future__ import annotations

import ipaddress
import re
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
    HUB = "modbus+tls+ssh"
    """TLS to a box that has dialled in to a hub, inside SSH to the hub."""


_ALIASES = {"mbaps": Scheme.TLS}
_DEFAULT_PORTS = {Scheme.PLAIN: LOOPBACK_PORT, Scheme.TLS: TLS_PORT, Scheme.SSH: None, Scheme.HUB: None}
_BY_SSH = frozenset({Scheme.SSH, Scheme.HUB})
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_NAME = 253
"""Characters of a DNS name (RFC 1035, 2.3.4)."""
_HUB_FORM = "the form is modbus+tls+ssh://[LOGIN@]HUB[:PORT]/BOX"


class SiteUrl(NamedTuple):
    """A parsed site URL. `port` is None where the URL names none and `~/.ssh/config` may; `user` only for SSH.

    Where `host` is a hub, `box` is the name that a box has there, and `domain`, which no URL says, the site's.
    """

    scheme: Scheme
    host: str
    port: int | None
    user: str | None
    box: str = ""
    domain: str = ""

    @property
    def server_name(self) -> str:
        """The name that the site's certificate must hold. Raises ConfigError for a box whose domain nobody has said."""
        if self.scheme is not Scheme.HUB:
            return self.host
        if not self.domain:
            raise ConfigError(
                str(self),
                f"the certificate must be for {self.box}.DOMAIN, and no domain is known",
                hint="give the site a name and its `domain` in the site list, and use the name (docs/hub.md)",
            )
        return f"{self.box}.{self.domain}"

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port is not None else ""
        box = f"/{self.box}" if self.box else ""
        return f"{self.scheme}://{user}{host}{port}{box}"


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


def check_box(name: str) -> None:
    """Check the name of a box at a hub: one label of a host name, in small letters. Raises ValueError."""
    if not _LABEL.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a box: 1 to 63 of a-z, 0-9 and - (neither first nor last)")


def check_domain(domain: str) -> None:
    """Check a domain that stands behind the names of boxes: a host name in small letters. Raises ValueError."""
    if len(domain) > _LONGEST_NAME - 64 or not all(_LABEL.fullmatch(label) for label in domain.split(".")):
        raise ValueError(f"{domain!r} is no domain: labels of a-z, 0-9 and -, with dots between")


def _two_doors(host: str) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"reach it through a door: modbus+ssh://ROLE@{shown} or modbus+tls://{shown}"


def parse(text: str) -> SiteUrl:
    """Parse a site URL.

    Raises ConfigError for an unknown scheme, a password, a path (a hub's is the name of a box), a bad port, and for
    plain Modbus beyond loopback (plain Modbus has no lock, so fieldgate never speaks it across a network).
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
    box = parts.path.removeprefix("/") if scheme is Scheme.HUB else ""
    if parts.path.strip("/") != box or parts.query or parts.fragment:
        hint = _HUB_FORM if scheme is Scheme.HUB else "the unit is asked for with -a"
        raise ConfigError(text, f"nothing may follow the {'box' if box else 'host and port'}", hint=hint)
    if scheme is Scheme.HUB:
        try:
            check_box(box)
        except ValueError as error:
            raise ConfigError(text, str(error), hint=_HUB_FORM) from None
    if parts.username and scheme not in _BY_SSH:
        raise ConfigError(text, "only modbus+ssh takes a login name", hint="a TLS role comes from the certificate")
    if port == 0:
        raise ConfigError(text, "port 0 is no port to connect to")
    if scheme is Scheme.PLAIN and not is_loopback(parts.hostname):
        raise ConfigError(text, "plain Modbus is spoken on loopback only", hint=_two_doors(parts.hostname))
    # localhost could be looked up as anything; there is one loopback that is meant
    host = "127.0.0.1" if scheme is Scheme.PLAIN and parts.hostname == "localhost" else parts.hostname
    return SiteUrl(scheme, host, port or _DEFAULT_PORTS[scheme], parts.username or None, box)
