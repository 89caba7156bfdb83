"""What the user's own `~/.ssh` says of a host: the way there, keys that may be used, and host keys to trust."""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import asyncssh

from fieldgate_core import trusted_file
from fieldgate_core.errors import ConfigError
from fieldgate_core.logs import printable

CONFIG = Path("~/.ssh/config")
KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
KEYS = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_xmss", "id_dsa")
"""Keys that ssh(1) takes where the configuration names none, in `~/.ssh`."""
MOST_JUMPS = 8
"""Hosts on the way to a site; more is a ProxyJump that goes round."""
_PRIVATE = b"PRIVATE KEY-----"


@dataclass(frozen=True)
class Hop:
    """A host on the way; user and port are None where it names none."""

    host: str
    port: int | None
    user: str | None

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"{user}{self.host}" + (f":{self.port}" if self.port else "")


@dataclass(frozen=True)
class HostBlock:
    """What holds for a host: what its URL names, else `~/.ssh/config`; the files are those that are there.

    `host` is what HostName says, `family` what AddressFamily says (AF_UNSPEC: any), `command` a ProxyCommand.
    `only`: no other key of the agent is offered.
    """

    config: Path | None
    host: str
    family: int
    command: str | None
    port: int | None
    user: str | None
    jumps: tuple[Hop, ...]
    keys: tuple[Path, ...]
    only: bool
    certificates: tuple[Path, ...]
    known_hosts: tuple[Path, ...]

    def jumps_to(self, hop: Hop) -> tuple[Hop, ...]:
        """Give the hosts on the way; a jump host that a pattern names for itself is reached directly."""
        return () if self.jumps and self.jumps[-1].host == hop.host else self.jumps


def host_block(hop: Hop) -> HostBlock:
    """Read `~/.ssh/config` for a host, as ssh(1) would. Raises ConfigError for what is wrong in it."""
    file = CONFIG.expanduser()
    found = file if file.is_file() else None
    if found is not None:
        trusted_file.check(found)
    try:
        options = asyncssh.SSHClientConnectionOptions(
            host=hop.host,
            port=hop.port or (),
            username=hop.user or (),
            config=[str(found)] if found else None,
            client_keys=None,
            known_hosts=b"",
            x509_trusted_certs=None,
        )
        read = options.config
    except (ValueError, OSError) as error:
        raise ConfigError(str(CONFIG), f"cannot be used: {printable(str(error))}") from None
    # of both, `none` is an empty list; asyncssh by itself would then trust any host
    trusted = cast("list[str] | None", read.get("UserKnownHostsFile"))
    everybody = cast("list[str] | None", read.get("GlobalKnownHostsFile"))
    known_hosts = list(KNOWN_HOSTS[:2] if trusted is None else trusted)
    known_hosts += KNOWN_HOSTS[2:] if everybody is None else everybody
    return HostBlock(
        found,
        cast("str", read.get("Hostname", hop.host)),
        cast("int", read.get("AddressFamily", socket.AF_UNSPEC)),
        cast("str | None", read.get("ProxyCommand")),
        cast("int | None", read.get("Port")),
        cast("str | None", read.get("User")),
        _jumps(cast("str | None", read.get("ProxyJump"))),
        _there(cast("list[str]", read.get("IdentityFile", []))),
        bool(read.get("IdentitiesOnly")),
        _there(cast("list[str]", read.get("CertificateFile", []))),
        _there(known_hosts),
    )


def _jumps(text: str | None) -> tuple[Hop, ...]:
    """Read the hosts of ProxyJump: [USER@]HOST[:PORT] or ssh://..., with commas between."""
    hops = []
    for word in text.split(",") if text else ():
        try:
            parts = urlsplit(word if "://" in word else f"ssh://{word}")
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme != "ssh" or not parts.hostname:
            raise ConfigError(str(CONFIG), f"ProxyJump: {printable(word)} is no host", hint="[USER@]HOST[:PORT]")
        hops.append(Hop(parts.hostname, port, parts.username))
    return tuple(hops)


def _there(names: list[str]) -> tuple[Path, ...]:
    """Give the files that can be read; ssh(1) passes over the others as well."""
    files = (Path(name).expanduser() for name in names)
    return tuple(file for file in files if file.is_file() and os.access(file, os.R_OK))


def private_keys(block: HostBlock) -> list[str]:
    """Give the private key files that may be used. Raises ConfigError for one of ours that others can read."""
    found = []
    for file in block.keys or _there([f"~/.ssh/{name}" for name in KEYS]):
        with file.open("rb") as stream:
            # IdentityFile may be a public key whose other half the agent holds
            if _PRIVATE not in stream.read(128):
                continue
        about = file.stat()
        if about.st_uid == os.geteuid() and about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(str(file), "others can read this private key", hint=f"chmod 600 {file}")
        found.append(str(file))
    return found


def agent_keys(block: HostBlock) -> list[str]:
    """Give the files with the public keys and certificates that say which of the agent's keys are meant."""
    beside = [f"{file}{end}" for file in block.keys for end in (".pub", "-cert.pub")]
    return [str(file) for file in (*block.keys, *block.certificates, *_there(beside))]


class KnownHosts:
    """Host keys, CAs and revoked keys of known_hosts files, looked up by name and port alone.

    asyncssh would take a key that is known for the address as well, so that a host known under another name would do;
    ssh(1) does not (CheckHostIP no).
    """

    def __init__(self, files: tuple[Path, ...]) -> None:
        """Read the files. Raises ConfigError that names the one that is wrong."""
        self._known = asyncssh.SSHKnownHosts()
        for file in files:
            try:
                self._known.load(file.read_text(encoding="utf-8"))
            except (ValueError, OSError) as error:
                raise ConfigError(str(file), f"cannot be used: {printable(str(error))}") from None

    def __call__(self, host: str, _address: str, port: int | None) -> object:
        """Answer asyncssh; port is None for 22. A key that is revoked for a host, is so on each of its ports."""
        keys, authorities, revoked, *rest = self._known.match(host, "", port)
        return keys, authorities, [*revoked, *self._known.match(host, "", None)[2]], *rest
