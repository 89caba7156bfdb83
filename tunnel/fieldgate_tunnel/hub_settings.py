"""The settings file of `fieldgate tunnel hub`, and the files that it names, read and checked whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import asyncssh
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from fieldgate_core import identity_folder as names
from fieldgate_core import revocation, trusted_file
from fieldgate_core.errors import ConfigError
from fieldgate_core.revocation import Revoked
from fieldgate_core.url import SSH_PORT
from fieldgate_tunnel import identity_files as files
from fieldgate_tunnel import ssh
from fieldgate_tunnel.generations import last_whole
from fieldgate_tunnel.hub_policy import BoxSettings, HubPolicy
from fieldgate_tunnel.limits import Limits
from fieldgate_tunnel.ssh_keys import fingerprint

HANDSHAKES = 256
"""Connections that are not authenticated yet: after an outage, hundreds of boxes come at once."""


@dataclass(frozen=True)
class HubSettings:
    """The whole file. `identity` is a folder as `fieldgate certs issue server` makes it: host key, CA of the users."""

    identity: Path
    host: str = "0.0.0.0"  # noqa: S104 - a hub is meant for the network, and asks for a key
    port: int = SSH_PORT
    box: tuple[BoxSettings, ...] = ()
    revoked: Path | None = None
    accepts_per_second: float = 100.0
    max_connections: int = 10_000

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port} is not 0 to 65535")
        boxes = [one.name for one in self.box]
        if len(set(boxes)) != len(boxes):
            raise ValueError("two boxes have the same name")
        if not 1 <= self.accepts_per_second <= 1e6:
            raise ValueError("accepts_per_second is 1 to 1000000")
        if not 1 <= self.max_connections <= 1_000_000:
            raise ValueError("max_connections is 1 to 1000000")

    @property
    def limits(self) -> Limits:
        """What the gate lets happen."""
        return Limits(ssh_connections=self.max_connections, handshakes=HANDSHAKES)


class HubFiles(NamedTuple):
    """What holds until the next reload."""

    settings: HubSettings
    policy: HubPolicy
    authorities: frozenset[str]
    revoked: Revoked
    host_keys: tuple[ssh.HostKey, ...]
    options: asyncssh.SSHServerConnectionOptions


def read(settings: HubSettings) -> HubFiles:
    """Read every file that the settings name. Raises ConfigError for the first that is wrong."""
    folder = last_whole(settings.identity)
    shown = ssh.host_keys(folder)
    return HubFiles(
        settings,
        HubPolicy(settings.box),
        _authorities(folder),
        _revoked(settings.revoked),
        shown,
        ssh.server_options(folder, login_deadline=settings.limits.handshake_deadline, shown=shown),
    )


def _authorities(folder: Path) -> frozenset[str]:
    """Give the fingerprints of the CAs whose users may come in."""
    file = files.file(folder, names.SSH_USER_CA)
    trusted_file.check(file)
    found = set()
    for line in file.read_bytes().splitlines():
        if line.strip() and not line.startswith(b"#"):
            try:
                key = load_ssh_public_key(line)
            except (ValueError, UnsupportedAlgorithm):
                raise ConfigError(str(file), "holds a line that is no public key") from None
            if isinstance(key, DSAPublicKey):
                raise ConfigError(str(file), "holds a DSA key, which nobody should trust")
            found.add(fingerprint(key))
    return frozenset(found)


def _revoked(file: Path | None) -> Revoked:
    if file is None:
        return Revoked()
    trusted_file.check(file)
    try:
        return revocation.parse(file.read_bytes().decode(), where=str(file))
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(str(file), "is not UTF-8 text") from None
