"""The settings of the trail: where it is written, how safely, and whom it is sent to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SYSLOG_TLS_PORT = 6514
"""RFC 5425, 4.1."""
_LONGEST_DEADLINE = 60.0


@dataclass(frozen=True)
class SyslogSettings:
    """A remote syslog server over TLS; `ca` holds the CAs that may have signed its certificate.

    `name` is what the certificate is checked for, `host` unless told; `identity` a folder with tls-chain.pem and
    tls-key.pem, for a server that asks for a client's certificate.
    """

    host: str
    ca: Path
    port: int = SYSLOG_TLS_PORT
    name: str | None = None
    identity: Path | None = None

    def __post_init__(self) -> None:
        _check_host("host", self.host)
        if self.name is not None:
            _check_host("name", self.name)
        if not 1 <= self.port <= 65535:
            raise ValueError(f"port {self.port} is not 1 to 65535")


@dataclass(frozen=True)
class AuditSettings:
    """`durability` "process" outlives the process, "power" a power cut; `on_failure` "refuse-writes" or "go-on".

    `deadline` are the seconds that a line may take; `rotate_bytes` the size at which a new file begins (0: never),
    `keep` how many older ones stay; `journald` the path of journald's socket, where lines go too.
    """

    file: Path
    durability: str = "process"
    on_failure: str = "refuse-writes"
    deadline: float = 2.0
    rotate_bytes: int = 0
    keep: int = 8
    journald: Path | None = None
    syslog: SyslogSettings | None = None

    def __post_init__(self) -> None:
        _check_one_of("durability", self.durability, ("process", "power"))
        _check_one_of("on_failure", self.on_failure, ("refuse-writes", "go-on"))
        if not 0 < self.deadline <= _LONGEST_DEADLINE:
            raise ValueError(f"deadline {self.deadline:g} is not more than 0 and at most {_LONGEST_DEADLINE:g} seconds")
        if self.rotate_bytes < 0:
            raise ValueError(f"rotate_bytes {self.rotate_bytes} is less than 0")
        if self.keep < 1:
            raise ValueError(f"keep {self.keep} is less than 1")


def _check_host(field: str, host: str) -> None:
    if not host:
        raise ValueError(f"{field} is empty")
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError(f"{field} {host!r} is no host name: a part between dots is empty, or too long") from None
    if not host.isprintable() or " " in host:
        raise ValueError(f"{field} {host!r} is no host name: it holds a blank or a control character")


def _check_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} {value!r} is not one of: {', '.join(known)}")
