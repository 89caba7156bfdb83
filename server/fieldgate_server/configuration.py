"""What the server reads anew while it runs: settings, policy, credentials, revoked names; read and checked whole."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import asyncssh

from fieldgate_core import revocation, trusted_file
from fieldgate_core.credentials import Credentials, LoopbackCredentials, TlsCredentials
from fieldgate_core.crl import Crls, grace
from fieldgate_core.errors import ConfigError
from fieldgate_core.revocation import Revoked
from fieldgate_server import expiry
from fieldgate_server import policy as policies
from fieldgate_server.expiry import Expiry
from fieldgate_server.identity import Identity
from fieldgate_server.policy import OwnerPolicy, Policy
from fieldgate_server.settings import Settings, TlsSettings
from fieldgate_tunnel import crl_files, generations, ssh
from fieldgate_tunnel.limits import Limits
from fieldgate_tunnel.listeners import TlsIdentity, tls_identity
from fieldgate_tunnel.ssh import HostKey

log = logging.getLogger("fieldgate.server")

INTEGRITY_ONLY = (
    "a client that offers no suite which encrypts is served without encryption: nobody can change or forge what is "
    "sent, and everybody on the path can read it"
)
"""What `confidentiality = "none"` means."""


class SshIdentity(NamedTuple):
    """What the SSH door shows, alone and in the options of its connections."""

    host_keys: tuple[HostKey, ...]
    options: asyncssh.SSHServerConnectionOptions


@dataclasses.dataclass(frozen=True)
class Configuration:
    """All that holds until the next reload; `loaded` in seconds since 1970."""

    settings: Settings
    policy: Policy
    revoked: Revoked
    tls: TlsIdentity | None
    ssh: SshIdentity | None
    expiries: tuple[Expiry, ...]
    loaded: float
    crls: Crls

    def revocation(self, credentials: Credentials, identity: Identity) -> str | None:
        """Say by what somebody is revoked, the list of typed names or a CRL; None: by neither."""
        if identity.revoked_as(self.revoked):
            return "revoked"
        if isinstance(credentials, TlsCredentials):
            return self.crls.revoked(credentials.issuer, credentials.serial)
        return None

    def keeps_out(self, credentials: Credentials, identity: Identity) -> str | None:
        """Say why nobody with these credentials gets a session; None if they may.

        On loopback everybody gets one, and that of a revoked user answers 01.
        """
        if isinstance(credentials, LoopbackCredentials):
            return None
        revoked = self.revocation(credentials, identity)
        if revoked:
            return f"{identity.name} is {revoked}"
        if isinstance(credentials, TlsCredentials):
            return self.crls.expired(credentials.issuer, time.time())
        return None


def read(settings: Settings, limits: Limits, *, owner_rights: bool = False) -> Configuration:
    """Read every file that the settings name; of an identity its last whole generation.

    A certificate may be not valid yet: it is the clock that is wrong then, and the doors stay shut until it is right.
    Raises ConfigError for the first that is wrong.
    """
    policy = _policy(settings, owner_rights=owner_rights)
    return _read(settings, limits, policy, early=True, find=generations.last_whole)


def read_again(
    running: Configuration, settings: Settings, limits: Limits, *, owner_rights: bool = False, early: bool = False
) -> tuple[Configuration, tuple[str, ...]]:
    """Read what a running server takes over of its settings, and name the keys that wait for its next start.

    `early`: the clock is wrong just now, so a certificate may be not valid yet. Raises ConfigError for the first thing
    that is wrong.
    """
    if settings.policy is not None:
        policy = _policy(settings, owner_rights=owner_rights)
    elif running.settings.policy is not None:
        raise ConfigError("policy", "cannot be taken away from a server that runs", hint="stop it and start it anew")
    else:
        policy = running.policy
    taken, waiting = _taken_over(running.settings, settings)
    return _read(taken, limits, policy, early=early), waiting


def _read(
    settings: Settings, limits: Limits, policy: Policy, *, early: bool, find: Callable[[Path], Path] = Path.resolve
) -> Configuration:
    # a folder is one generation of files, and the link to it may be swapped at any moment
    tls = find(settings.tls.identity) if settings.tls else None
    to = find(settings.ssh.identity) if settings.ssh else None
    shown = _tls(tls, settings.tls, early=early) if tls and settings.tls else None
    return Configuration(
        settings,
        policy,
        _revoked(settings.revoked),
        shown,
        _ssh(to, limits, early=early) if to else None,
        expiry.of(tls, to),
        time.time(),
        _crls(settings.tls, shown) if settings.tls and shown else Crls(),
    )


def _tls(folder: Path, door: TlsSettings, *, early: bool) -> TlsIdentity:
    if door.integrity_only:
        log.warning('tls.confidentiality = "none": %s', INTEGRITY_ONLY)
    return tls_identity(folder, integrity_only=door.integrity_only, early=early)


def _crls(door: TlsSettings, shown: TlsIdentity) -> Crls:
    if door.crl is None:
        return Crls()
    return crl_files.read(door.crl, shown.anchors, grace=grace(door.crl_expired))


def _ssh(folder: Path, limits: Limits, *, early: bool) -> SshIdentity:
    shown = ssh.host_keys(folder, early=early)
    return SshIdentity(shown, ssh.server_options(folder, login_deadline=limits.handshake_deadline, shown=shown))


def _revoked(file: Path | None) -> Revoked:
    if file is None:
        return Revoked()
    trusted_file.check(file)
    try:
        text = file.read_bytes().decode()
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(str(file), "is not UTF-8 text") from None
    return revocation.parse(text, where=str(file))


def _policy(settings: Settings, *, owner_rights: bool) -> Policy:
    if settings.policy is not None:
        if owner_rights:
            raise ConfigError("--owner-rights", "is for a start without a policy, and the settings name one")
        return policies.load(settings.policy)
    holds = owner_rights or (os.geteuid() != 0 and os.environ.get("SYSTEMD_EXEC_PID") != str(os.getpid()))
    if holds:
        log.warning(
            "no policy: user %s may do everything on loopback, and nobody else anything; "
            "to change that write a policy file and name it: policy = FILE in the settings, policy=FILE in Python",
            os.geteuid(),
        )
        return OwnerPolicy(os.geteuid())
    log.warning(
        "no policy, so nobody has any right: write a policy file and name it in the settings (policy = FILE), "
        "or start with --owner-rights for a trial as root"
    )
    return OwnerPolicy(None)


def _taken_over(running: Settings, wanted: Settings) -> tuple[Settings, tuple[str, ...]]:
    """Give the settings that hold from now on, and the keys of those that wait."""
    tls, ssh = running.tls, running.ssh
    taken = dataclasses.replace(
        running,
        policy=wanted.policy,
        revoked=wanted.revoked,
        max_sessions=wanted.max_sessions,
        max_sessions_per_identity=wanted.max_sessions_per_identity,
        max_sessions_without_rights=wanted.max_sessions_without_rights,
        max_requests_per_second=wanted.max_requests_per_second,
        limits=wanted.limits,
        idle=wanted.idle,
        lifetime=wanted.lifetime,
        tls=_taken_of_tls(tls, wanted.tls) if tls and wanted.tls else tls,
        ssh=dataclasses.replace(ssh, identity=wanted.ssh.identity) if ssh and wanted.ssh else ssh,
    )
    return taken, tuple(_differing(taken, wanted))


def _taken_of_tls(running: TlsSettings, wanted: TlsSettings) -> TlsSettings:
    return dataclasses.replace(
        running,
        identity=wanted.identity,
        crl=wanted.crl,
        crl_expired=wanted.crl_expired,
        confidentiality=wanted.confidentiality,
    )


def _differing(taken: object, wanted: object, key: str = "") -> Iterator[str]:
    """Name the keys that differ, those of tables with the table's."""
    if taken == wanted:
        return
    if not dataclasses.is_dataclass(taken) or type(taken) is not type(wanted):
        yield key
        return
    for field in dataclasses.fields(taken):
        name = f"{key}.{field.name}" if key else field.name
        yield from _differing(getattr(taken, field.name), getattr(wanted, field.name), name)
