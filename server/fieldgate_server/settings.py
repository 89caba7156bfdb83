"""The server's settings file, as frozen dataclasses; checked whole before a socket opens."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fieldgate_core.crl import DENY, grace
from fieldgate_core.url import LOOPBACK_PORT, METRICS_PORT, SSH_PORT, TLS_PORT, is_loopback
from fieldgate_server.simulation_settings import check_rate
from fieldgate_server.trail_settings import AuditSettings
from fieldgate_server.unit_settings import UnitSettings
from fieldgate_tunnel.dial_settings import DialSettings
from fieldgate_tunnel.limits import Limits

_LONGEST = 10 * 365 * 86400.0
_LEAST_RATE, _MOST_RATE = 0.1, 1e6


@dataclass(frozen=True)
class ListenSettings:
    """The plain listener: loopback only. Port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = LOOPBACK_PORT

    def __post_init__(self) -> None:
        _check_port(self.port)
        if not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} is not loopback, and plain Modbus is never served beyond it; "
                "for a network use the two doors, [ssh] and [tls]"
            )


@dataclass(frozen=True)
class TlsSettings:
    """The TLS door. `identity` is the folder that `fieldgate certs issue server` made, or one with the same files.

    `crl` holds the CRLs of all CAs whose clients may come in; `crl_expired` says what holds when one of them has
    expired: "deny", or "grace:HOURS". `confidentiality` "required" encrypts always; "none" lets a client do without
    that has no suite which encrypts, and then everybody on the path can read what it says (R-48, R-49, R-67).
    """

    identity: Path
    host: str = "0.0.0.0"  # noqa: S104 - a door is meant for the network, and asks for a certificate
    port: int = TLS_PORT
    crl: Path | None = None
    crl_expired: str = DENY
    confidentiality: str = "required"

    def __post_init__(self) -> None:
        _check_port(self.port)
        grace(self.crl_expired)
        if self.crl is None and self.crl_expired != DENY:
            raise ValueError("crl_expired without a CRL says nothing; write crl = FILE")
        if self.confidentiality not in {"required", "none"}:
            raise ValueError(f"confidentiality {self.confidentiality!r} is not one of: required, none")

    @property
    def integrity_only(self) -> bool:
        """Whether a client may do without encryption."""
        return self.confidentiality == "none"


@dataclass(frozen=True)
class SshSettings:
    """The SSH door. `identity` as for TLS; `banner` is shown to whoever connects, before they authenticate."""

    identity: Path
    host: str = "0.0.0.0"  # noqa: S104 - as for TLS
    port: int = SSH_PORT
    banner: str = ""

    def __post_init__(self) -> None:
        _check_port(self.port)


@dataclass(frozen=True)
class MetricsSettings:
    """The metrics' listener: loopback only. `users` names the local users who may read; without it all may."""

    host: str = "127.0.0.1"
    port: int = METRICS_PORT
    users: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check_port(self.port)
        if not is_loopback(self.host):
            raise ValueError(f"host {self.host!r} is not loopback, and metrics have no lock; forward the port by SSH")


@dataclass(frozen=True)
class Settings:
    """The whole file. Without `policy` only the user who starts the server has rights, on loopback (quick start).

    Each `dial` offers the TLS door at a hub. `control` is the socket that the operator's commands reach the server by,
    `state` the folder where its lock is kept, `revoked` the list of revoked identities. A session that asks nothing for
    `idle` seconds ends, and each does after `lifetime` seconds; 0: never. `max_requests_per_second` are those of one
    identity; 0: any number.
    """

    listen: ListenSettings = field(default_factory=ListenSettings)
    tls: TlsSettings | None = None
    ssh: SshSettings | None = None
    metrics: MetricsSettings | None = None
    dial: tuple[DialSettings, ...] = ()
    policy: Path | None = None
    audit: Path | AuditSettings | None = None
    control: Path | None = None
    state: Path | None = None
    revoked: Path | None = None
    unit: tuple[UnitSettings, ...] = (UnitSettings(),)
    max_sessions: int = 256
    max_sessions_per_identity: int = 64
    max_sessions_without_rights: int = 8
    max_requests_per_second: float = 0.0
    limits: Limits = field(default_factory=Limits)
    idle: float = 7200.0
    lifetime: float = 0.0

    def __post_init__(self) -> None:
        ids = [unit.id for unit in self.unit]
        if len(set(ids)) != len(ids):
            raise ValueError("two units have the same id")
        if not ids:
            raise ValueError("there must be a unit")
        check_rate(one for unit in self.unit for one in unit.simulate)
        if len(ids) > 1 and sum(unit.default for unit in self.unit) != 1:
            raise ValueError("of several units exactly one says default = true: unit identifiers 0 and 255 name it")
        if (self.tls or self.ssh) and self.policy is None:
            raise ValueError(
                "a TLS or SSH door needs a policy, since without one nobody has rights there; write policy = FILE"
            )
        if min(self.max_sessions, self.max_sessions_per_identity, self.max_sessions_without_rights) < 1:
            raise ValueError("max_sessions and its two companions are at least 1")
        if self.dial and self.tls is None:
            raise ValueError("what comes through a hub is TLS; write [tls] with the identity that it is to show")
        if self.max_requests_per_second != 0 and not _LEAST_RATE <= self.max_requests_per_second <= _MOST_RATE:
            raise ValueError(f"max_requests_per_second is 0 (any number), or {_LEAST_RATE:g} to {_MOST_RATE:g}")
        for name, seconds in (("idle", self.idle), ("lifetime", self.lifetime)):
            if not 0 <= seconds <= _LONGEST:
                raise ValueError(f"{name} must be 0 (never) to {_LONGEST:.0f} seconds")
        if self.control is not None and self.state is None:
            raise ValueError("control needs a folder where the server's lock outlives it; write state = FOLDER")

    @property
    def default_unit(self) -> int:
        """The id of the unit that 0 and 255 name."""
        return next((unit.id for unit in self.unit if unit.default), self.unit[0].id)


def _check_port(port: int) -> None:
    if not 0 <= port <= 65535:
        raise ValueError(f"port {port} is not 0 to 65535")
