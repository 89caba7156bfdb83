"""SSH with asyncssh: pinned algorithms, the door's server side, and the client's tunnel with host keys verified."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import asyncssh

from fieldgate_core import identity_folder as names
from fieldgate_core.errors import ConfigError, NotTrustedError, RejectedError, TunnelError, UnreachableError
from fieldgate_core.logs import printable
from fieldgate_core.modbus import MODBUS_PORT
from fieldgate_core.url import SSH_PORT, SiteUrl
from fieldgate_tunnel import identity_files as files
from fieldgate_tunnel.ssh_keys import only_principal

# what ssh-audit calls good and OpenSSH 8.5 or newer has; aes-gcm first, it is the fast one in asyncssh
KEX = ("mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org")
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com")
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com")
SIGNATURES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "rsa-sha2-256", "rsa-sha2-512")

KEEPALIVE_INTERVAL = 15.0
KEEPALIVE_COUNT = 3
WINDOW = 65536
"""Bytes a peer may send before we take them: a larger window is memory that a slow session holds."""


def _algorithms() -> dict[str, Any]:
    return {
        "kex_algs": [name for name in KEX if name.encode() in _available_kex()],
        "encryption_algs": list(CIPHERS),
        "mac_algs": list(MACS),
        "signature_algs": list(SIGNATURES),
        "compression_algs": None,
        "x509_trusted_certs": None,
        "keepalive_interval": KEEPALIVE_INTERVAL,
        "keepalive_count_max": KEEPALIVE_COUNT,
    }


def _available_kex() -> frozenset[bytes]:
    """Tell which key exchanges this machine's cryptography has: the post-quantum one is missing on old ones."""
    from asyncssh.kex import get_kex_algs

    return frozenset(get_kex_algs())


HostKey = tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]


def host_key(folder: Path) -> HostKey:
    """Read the host key and certificate of an identity folder. Raises ConfigError as `server_options` does."""
    key = files.private(folder, names.SSH_HOST_KEY)
    certificate = files.file(folder, names.SSH_HOST_CERTIFICATE)
    files.check_ssh_certificate(certificate)
    try:
        return asyncssh.read_private_key(key), asyncssh.read_certificate(certificate)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError, OSError) as error:
        raise _unusable(folder, error) from None


def _unusable(folder: Path, error: Exception) -> ConfigError:
    return ConfigError(str(folder / names.SSH_HOST_KEY), f"cannot be used as host key: {printable(str(error))}")


def server_options(
    folder: Path, *, login_deadline: float, shown: HostKey | None = None
) -> asyncssh.SSHServerConnectionOptions:
    """Build the SSH door's options from an identity folder: public keys only, no shell, agent, pty or X11.

    `shown` is its `host_key` where that has been read already. Raises ConfigError for a missing or group-readable
    key, or a certificate that does not fit or has expired.
    """
    try:
        return asyncssh.SSHServerConnectionOptions(
            config=None,
            server_host_keys=[shown or host_key(folder)],
            login_timeout=login_deadline,
            public_key_auth=True,
            password_auth=False,
            kbdint_auth=False,
            host_based_auth=False,
            gss_auth=False,
            gss_kex=False,
            gss_host=None,
            allow_pty=False,
            agent_forwarding=False,
            x11_forwarding=False,
            allow_scp=False,
            **_algorithms(),
        )
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError, OSError) as error:
        raise _unusable(folder, error) from None


class ChannelAdapter(asyncssh.SSHTCPSession[bytes]):
    """Puts an asyncio protocol on an SSH channel, which is transport-shaped already; `closed` is told the end."""

    def __init__(self, protocol: asyncio.BaseProtocol, closed: Callable[[ChannelAdapter], None]) -> None:
        self._protocol = cast("asyncio.Protocol", protocol)
        self._closed = closed
        self._channel: asyncssh.SSHTCPChannel[bytes] | None = None
        self._channel_full = False
        self._connection_full = False
        self._paused = False

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        """Hand the channel over as a transport."""
        self._channel = chan
        self._protocol.connection_made(cast("asyncio.Transport", chan))
        self._regulate()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Hand data up."""
        self._protocol.data_received(data)

    def eof_received(self) -> bool:
        """Hand the peer's end up; true keeps the channel open for replies, and false closes it, as in asyncio."""
        stays = bool(self._protocol.eof_received())
        # asyncssh by itself would only end our side: a channel that nobody closes keeps its place for ever
        if not stays and self._channel is not None:
            self._channel.close()
        return stays

    def pause_writing(self) -> None:
        """Take the channel's own back-pressure: its window is used up."""
        self._channel_full = True
        self._regulate()

    def resume_writing(self) -> None:
        """Take the end of the channel's own back-pressure."""
        self._channel_full = False
        self._regulate()

    def hold(self, full: bool) -> None:
        """Take the back-pressure of the connection that carries the channel."""
        self._connection_full = full
        self._regulate()

    def _regulate(self) -> None:
        full = self._channel_full or self._connection_full
        if self._channel is None or full is self._paused:
            return
        self._paused = full
        if full:
            self._protocol.pause_writing()
        else:
            self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand the end up."""
        self._closed(self)
        self._channel = None
        self._protocol.connection_lost(exc)


def peer_name(address: object) -> str:
    """Write a socket address as ADDRESS:PORT."""
    if isinstance(address, tuple) and len(address) >= 2:
        return f"[{address[0]}]:{address[1]}" if ":" in str(address[0]) else f"{address[0]}:{address[1]}"
    return "?"


def _own_config() -> list[str] | None:
    file = Path("~/.ssh/config").expanduser()
    return [str(file)] if file.is_file() else None


async def connect(url: SiteUrl, folder: Path | None) -> asyncssh.SSHClientConnection:
    """Connect to a site's SSH door, host key verified, with the identity of a folder.

    Without a folder the user's own ways hold: agent, `~/.ssh/config`, default keys and `known_hosts`.
    Raises ConfigError for a bad identity folder, and what asyncssh and sockets raise (`dialers` explains these).
    """
    options: dict[str, Any] = _algorithms() | {"preferred_auth": "publickey", "password": None, "gss_host": None}
    options["config"] = _own_config() if folder is None else None
    user = url.user
    if folder is not None:
        key = files.private(folder, names.SSH_KEY)
        certificate = files.file(folder, names.SSH_CERTIFICATE)
        files.check_ssh_certificate(certificate)
        options |= {
            "client_keys": [(str(key), str(certificate))],
            "known_hosts": str(files.file(folder, names.KNOWN_HOSTS)),
            "agent_path": None,
        }
        user = user or only_principal(certificate.read_bytes())
    if user is not None:
        options["username"] = user
    try:
        # a port of `~/.ssh/config` comes before the door's own
        options["port"] = url.port or _configured_port(url.host, options) or SSH_PORT
        return await asyncssh.connect(url.host, **options)
    except UnicodeError:
        raise
    except ValueError as error:
        # so asyncssh calls a key that is damaged or locked, a certificate of another key, and a bad config
        where = folder / names.SSH_KEY if folder is not None else Path("~/.ssh")
        raise ConfigError(str(where), f"cannot be used: {printable(str(error))}") from None


def _configured_port(host: str, options: dict[str, Any]) -> int | None:
    return cast("int | None", asyncssh.SSHClientConnectionOptions(host=host, **options).config.get("Port"))


async def open_channel(
    connection: asyncssh.SSHClientConnection, protocol: asyncio.BaseProtocol
) -> asyncssh.SSHTCPChannel[bytes]:
    """Open a channel to the Modbus port behind an SSH door, as the transport of `protocol`."""
    channel, _ = await connection.create_connection(
        lambda: ChannelAdapter(protocol, lambda _: None), "localhost", MODBUS_PORT
    )
    return channel


def explain(target: str, error: asyncssh.Error) -> TunnelError:
    """Turn what asyncssh raised into our error: not trusted, rejected or unreachable."""
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return NotTrustedError(
            target,
            f"the server's host key is not accepted: {printable(error.reason)}",
            hint="name who you are with --identity DIR, whose known_hosts says which CA signs host keys; "
            "if it does, the host's certificate has expired or does not name this host",
        )
    if isinstance(error, asyncssh.PermissionDenied):
        return RejectedError(
            target,
            "the server does not accept our key or certificate for this login name",
            hint="the login name is the role: is it the certificate's principal, and known to the site's policy?",
        )
    if isinstance(error, asyncssh.ChannelOpenError):
        return RejectedError(target, f"the server refuses the Modbus port: {printable(error.reason)}")
    return UnreachableError(target, f"SSH failed: {printable(error.reason)}", hint="is this port an SSH door?")
