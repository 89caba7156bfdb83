"""Say who a certificate is for: a server with its hosts, or a client with its role; checked before keys are made."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from fieldgate_core.credentials import encode_role
from fieldgate_core.errors import PkiError

KeyKind = Literal["ecdsa", "rsa"]
ECDSA: KeyKind = "ecdsa"
RSA: KeyKind = "rsa"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Host = str | ipaddress.IPv4Address | ipaddress.IPv6Address
"""A DNS name in lower case, or an address."""

_MAX_NAME = 64  # ub-common-name of RFC 5280, appendix A.1
_MAX_PKI_NAME = _MAX_NAME - len("-issuing-1")
_MAX_HOSTS = 256  # principals of one OpenSSH certificate (SSHKEY_CERT_MAX_PRINCIPALS)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# A comma parts principals; the rest is what OpenSSH's own client refuses in a login name (valid_ruser in ssh.c).
_NOT_IN_A_LOGIN = frozenset(",'`\";&<>|(){}\\")


def check_name(text: str, longest: int = _MAX_NAME) -> str:
    """Return `text` if it is safe as a folder's name and as a common name. Raises PkiError."""
    if len(text) > longest or not _NAME.fullmatch(text):
        problem = f"a name is 1 to {longest} letters, digits and . _ - and does not begin with . or -"
        raise PkiError(repr(text), problem, hint="for example box-17 or ana.silva")
    return text


def check_pki_name(text: str) -> str:
    """Return `text` if the names of a PKI's CAs can be made from it. Raises PkiError."""
    return check_name(text, _MAX_PKI_NAME)


def dns_host(text: str) -> Host:
    """Read the DNS name of one host, without wildcard (RFC 1123, section 2.1). Raises PkiError."""
    name = text.lower()
    labels = name.split(".")
    if _is_address(name):
        raise PkiError(f"--dns {text}", "this is an address, not a DNS name", hint=f"say --ip {text}")
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        problem = "not the DNS name of a host"
        hint = "labels of letters, digits and inner hyphens, with dots between; no wildcard; other scripts as xn--..."
        raise PkiError(f"--dns {text!r}", problem, hint=hint)
    return name


def ip_host(text: str) -> Host:
    """Read an IPv4 or IPv6 address without a scope. Raises PkiError."""
    if not _is_address(text) or "%" in text:
        hint = "for example 192.0.2.17 or 2001:db8::17, without a prefix length or an interface"
        raise PkiError(f"--ip {text!r}", "not an IP address", hint=hint)
    return ipaddress.ip_address(text)


def network(text: str, option: str) -> Network:
    """Read an IPv4 or IPv6 network, or one address. Raises PkiError that names the option."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        hint = "for example 10.1.0.0/16, with no bit set behind the prefix, or 2001:db8:1::/48"
        raise PkiError(f"{option} {text!r}", "not a network", hint=hint) from None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def check_role(role: str) -> str:
    """Return `role` if X.509 (R-22) and SSH (there it is a principal and login name) can carry it. Raises PkiError."""
    problems = []
    unsafe = sorted(set(filter(_unsafe, role)) | ({"-"} if role.startswith("-") else set()))
    if unsafe:
        problems.append(f"an SSH login name cannot hold {' '.join(map(ascii, unsafe))}")
    try:
        encode_role(role)
    except UnicodeEncodeError:
        problems.append("it is not UTF-8 text")
    except ValueError as error:
        problems.append(str(error))
    if problems:
        raise PkiError(f"--role {role!r}", "; ".join(problems), hint="for example operator or shift-lead")
    return role


def _unsafe(char: str) -> bool:
    return char in _NOT_IN_A_LOGIN or char.isspace() or unicodedata.category(char).startswith("C")


@dataclass(frozen=True, slots=True)
class Server:
    """A server and the hosts that clients reach it by, 1 to 256, each once; `parse` reads them. Raises PkiError."""

    name: str
    hosts: tuple[Host, ...]
    kind: ClassVar[Literal["server"]] = "server"

    def __post_init__(self) -> None:
        check_name(self.name)
        if not 1 <= len(self.hosts) <= _MAX_HOSTS:
            problem = f"a server has 1 to {_MAX_HOSTS} hosts, this one has {len(self.hosts)}"
            raise PkiError(self.name, problem, hint="name each that clients reach it by: --dns NAME or --ip ADDR")

    @classmethod
    def parse(cls, name: str, dns: Iterable[str], ips: Iterable[str]) -> Server:
        """Build a server from the words of a command line. Raises PkiError."""
        hosts = [dns_host(text) for text in dns] + [ip_host(text) for text in ips]
        return cls(name, tuple(dict.fromkeys(hosts)))


@dataclass(frozen=True, slots=True)
class Client:
    """A person or program and the one role it acts in (R-65). Raises PkiError.

    At an SSH door it may log in from the networks of `sources` only; from everywhere if there is none.
    """

    name: str
    role: str
    sources: tuple[Network, ...] = ()
    kind: ClassVar[Literal["client"]] = "client"

    def __post_init__(self) -> None:
        check_name(self.name)
        check_role(self.role)

    @classmethod
    def parse(cls, name: str, role: str, sources: Iterable[str] = ()) -> Client:
        """Build a client from the words of a command line. Raises PkiError."""
        return cls(name, role, tuple(network(text, "--source-address") for text in sources))


Subject = Server | Client
