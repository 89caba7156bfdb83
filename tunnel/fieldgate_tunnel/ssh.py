"""SSH with asyncssh: pinned algorithms, the door's server side, and the client's tunnel with host keys verified."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import asyncssh

from fieldgate_core import identity_folder as names
from fieldgate_core.errors import ConfigError
from fieldgate_core.logs import printable
from fieldgate_core.modbus import MODBUS_PORT
from fieldgate_core.url import SSH_PORT, Scheme, SiteUrl
from fieldgate_tunnel import identity_files as files
from fieldgate_tunnel import tcp
from fieldgate_tunnel.hub_names import socket_of
from fieldgate_tunnel.ssh_keys import only_principal
from fieldgate_tunnel.ssh_user import (
    CONFIG,
    MOST_JUMPS,
    Hop,
    HostBlock,
    KnownHosts,
    agent_keys,
    host_block,
    private_keys,
)
from fieldgate_tunnel.tcp import Reached

# what ssh-audit calls good and OpenSSH 8.5 or newer has; aes-gcm first, it is the fast one in asyncssh
KEX = ("mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org")
# without chacha20 there is nothing for Terrapin, whatever the peer says of strict key exchange (CVE-2023-48795); and
# a stock ssh, which would choose it, takes the one that is fast in asyncssh
DOOR_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
CIPHERS = (*DOOR_CIPHERS, "chacha20-poly1305@openssh.com")
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com")
SIGNATURES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "rsa-sha2-256", "rsa-sha2-512")

JUMP_PORT = 22
KEEPALIVE_INTERVAL = 15.0
KEEPALIVE_COUNT = 3
HUB_PORT = 22
"""Where a hub is, if neither the URL nor `~/.ssh/config` says so: most are a stock sshd."""
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


UnixSession = asyncssh.SSHUNIXSession[bytes]
HostKey = tuple[asyncssh.SSHKey, asyncssh.SSHCertificate] | asyncssh.SSHKey


def host_keys(folder: Path, *, early: bool = False) -> tuple[HostKey, ...]:
    """Read the host keys and certificates of an identity folder. Raises ConfigError as `server_options` does."""
    return tuple(_host_key(folder, *names, early=early) for names in files.host_keys(folder))


def _host_key(folder: Path, key_name: str, certificate_name: str, *, early: bool) -> HostKey:
    key = files.private(folder, key_name)
    certificate = files.file(folder, certificate_name) if certificate_name else None
    if certificate is not None:
        files.check_ssh_certificate(certificate, early=early)
    try:
        read = asyncssh.read_private_key(key)
        return read if certificate is None else (read, asyncssh.read_certificate(certificate))
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError, OSError) as error:
        raise _unusable(key, error) from None


def _unusable(key: Path, error: Exception) -> ConfigError:
    return ConfigError(str(key), f"cannot be used as host key: {printable(str(error))}")


def server_options(
    folder: Path, *, login_deadline: float, shown: tuple[HostKey, ...] = ()
) -> asyncssh.SSHServerConnectionOptions:
    """Build the SSH door's options from an identity folder: public keys only, no shell, agent, pty or X11.

    `shown` are its `host_keys` where these have been read already: of each kind the first is shown, and all are told
    to clients that are in (hostkeys-00@openssh.com). Raises ConfigError for a missing or group-readable key, or a
    certificate that does not fit or has expired.
    """
    try:
        return asyncssh.SSHServerConnectionOptions(
            config=None,
            server_host_keys=list(shown or host_keys(folder)),
            send_server_host_keys=True,
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
            **_algorithms() | {"encryption_algs": list(DOOR_CIPHERS)},
        )
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError, OSError) as error:
        raise _unusable(folder / names.SSH_HOST_KEY, error) from None


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


async def connect(
    url: SiteUrl,
    folder: Path | None,
    reached: Reached = Reached(),  # noqa: B008
    client: Callable[[], asyncssh.SSHClient] = asyncssh.SSHClient,
) -> asyncssh.SSHClientConnection:
    """Connect to a site's SSH door, or to its hub, host key verified, with the identity of a folder.

    `~/.ssh/config` says how to get there; without a folder it says who we are and whom we trust as well, with the
    agent, the user's keys and `known_hosts`. `reached` is a TCP connection to `first_stop`, or how to make one. Raises
    ConfigError for what is wrong in these files, and what asyncssh and sockets raise (`dialers` explains these), as
    JumpError where a host on the way raises it.
    """
    hop = Hop(url.host, url.port, url.user)
    port = HUB_PORT if url.scheme is Scheme.HUB else SSH_PORT
    return await _connect(hop, (), folder=folder, default_port=port, reached=reached, client=client)


class JumpError(Exception):
    """A host on the way failed: `hop`, and what it raised as the cause."""

    def __init__(self, hop: Hop) -> None:
        super().__init__(str(hop))
        self.hop = hop


async def _connect(  # noqa: PLR0913
    hop: Hop,
    jumps: tuple[Hop, ...],
    *,
    folder: Path | None,
    default_port: int,
    depth: int = 0,
    reached: Reached = Reached(),  # noqa: B008
    client: Callable[[], asyncssh.SSHClient] = asyncssh.SSHClient,
) -> asyncssh.SSHClientConnection:
    """Connect to a host through `jumps`, or those that `~/.ssh/config` names for it."""
    block = host_block(hop)
    options = _algorithms() | {
        "preferred_auth": "publickey",
        "password": None,
        "gss_host": None,
        "config": [str(block.config)] if block.config else None,
        "port": block.port or default_port,
    }
    options |= _users_own(block) if folder is None else _of_folder(folder)
    if hop.user is not None:
        options["username"] = hop.user
    way = jumps or block.jumps_to(hop)
    tunnel = await _last(way, depth, reached)
    try:
        straight = tunnel is None and block.command is None
        sock = await _reach(hop, block, options, reached) if straight else None
        connection = await asyncssh.connect(hop.host, tunnel=tunnel, sock=sock, client_factory=client, **options)
    except BaseException as error:
        if tunnel is not None:
            tunnel.abort()
        if isinstance(error, ValueError) and not isinstance(error, UnicodeError):
            # so asyncssh calls a key that is damaged or locked, and a certificate of another key
            where = folder / names.SSH_KEY if folder is not None else Path("~/.ssh")
            raise ConfigError(str(where), f"cannot be used: {printable(str(error))}") from None
        if isinstance(error, asyncssh.ChannelOpenError):
            raise JumpError(way[-1]) from error
        raise
    if tunnel is not None:
        connection.set_tunnel(tunnel)
    return connection


async def _reach(hop: Hop, block: HostBlock, options: dict[str, Any], reached: Reached) -> socket.socket:
    """Connect to the host itself: asyncssh would wait for each address as long as the kernel does."""
    if reached.connected is not None:
        return reached.connected
    # what is wrong with keys and certificates is said before anything is sent
    asyncssh.SSHClientConnectionOptions(host=hop.host, **options)
    return await tcp.connect(await tcp.look_up(block.host, options["port"], block.family), reached.patience)


async def _last(jumps: tuple[Hop, ...], depth: int, reached: Reached) -> asyncssh.SSHClientConnection | None:
    """Connect to the last host on the way, with the user's own keys and `known_hosts`; None for no host."""
    if not jumps:
        return None
    hop = jumps[-1]
    if depth == MOST_JUMPS:
        raise ConfigError(str(CONFIG), f"ProxyJump: more than {MOST_JUMPS} hosts on the way, the last is {hop}")
    try:
        return await _connect(hop, jumps[:-1], folder=None, default_port=JUMP_PORT, depth=depth + 1, reached=reached)
    except (OSError, UnicodeError, asyncssh.Error) as error:
        raise JumpError(hop) from error


def _users_own(block: HostBlock) -> dict[str, Any]:
    options: dict[str, Any] = {
        "client_keys": private_keys(block),
        "client_certs": [str(file) for file in block.certificates],
        "ignore_encrypted": True,
        "known_hosts": KnownHosts(block.known_hosts),
    }
    if block.only:
        options["agent_identities"] = agent_keys(block)
    return options


def _of_folder(folder: Path) -> dict[str, Any]:
    key = files.private(folder, names.SSH_KEY)
    certificate = files.file(folder, names.SSH_CERTIFICATE)
    files.check_ssh_certificate(certificate)
    options: dict[str, Any] = {
        "client_keys": [(str(key), str(certificate))],
        "client_certs": [],
        "known_hosts": KnownHosts((files.file(folder, names.KNOWN_HOSTS),)),
        "agent_path": None,
        "pkcs11_provider": None,
    }
    login = only_principal(certificate.read_bytes())
    return options if login is None else options | {"username": login}


async def open_channel(
    connection: asyncssh.SSHClientConnection, protocol: asyncio.BaseProtocol
) -> asyncssh.SSHTCPChannel[bytes]:
    """Open a channel to the Modbus port behind an SSH door, as the transport of `protocol`."""
    channel, _ = await connection.create_connection(
        lambda: ChannelAdapter(protocol, lambda _: None), "localhost", MODBUS_PORT
    )
    return channel


async def open_box(connection: asyncssh.SSHClientConnection, protocol: asyncio.BaseProtocol, box: str) -> None:
    """Open a channel through a hub to the box of a name, as the transport of `protocol`."""
    await connection.create_unix_connection(lambda: adapted(protocol), socket_of(box), window=WINDOW)


def adapted(protocol: asyncio.BaseProtocol, closed: Callable[[ChannelAdapter], None] = lambda _: None) -> UnixSession:
    """Put a protocol on a channel to or from a Unix socket, which differs from TCP's in type only."""
    return cast("UnixSession", ChannelAdapter(protocol, closed))
