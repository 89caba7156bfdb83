"""Where the way to a site begins: the host that the first TCP connection goes to; nothing is sent."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, NamedTuple

from fieldgate_core.errors import ConfigError
from fieldgate_core.url import LOOPBACK_PORT, SSH_PORT, TLS_PORT, Scheme, SiteUrl

if TYPE_CHECKING:
    from fieldgate_tunnel.ssh_user import Hop


class Stop(NamedTuple):
    """A host and port; `family` as sockets have it, AF_UNSPEC for any.

    `jump` is the host of ProxyJump that it is, and `command` the ProxyCommand that gets there without a connection of
    ours.
    """

    host: str
    port: int
    family: int = socket.AF_UNSPEC
    jump: str | None = None
    command: str | None = None


def first_stop(url: SiteUrl) -> Stop:
    """Give the first stop on the way to a site, as `open_tunnel` goes. Raises ConfigError for a wrong `~/.ssh`."""
    if url.scheme not in {Scheme.SSH, Scheme.HUB}:
        return Stop(url.host, url.port or (TLS_PORT if url.scheme is Scheme.TLS else LOOPBACK_PORT))
    # asyncssh is worth its import only to SSH
    from fieldgate_tunnel.ssh import HUB_PORT
    from fieldgate_tunnel.ssh_user import Hop

    default = HUB_PORT if url.scheme is Scheme.HUB else SSH_PORT
    return _of_ssh(Hop(url.host, url.port, url.user), default, 0)


def _of_ssh(hop: Hop, default_port: int, depth: int) -> Stop:
    from fieldgate_tunnel.ssh import JUMP_PORT
    from fieldgate_tunnel.ssh_user import CONFIG, MOST_JUMPS, host_block

    block = host_block(hop)
    jumps = block.jumps_to(hop)
    if not jumps:
        return Stop(block.host, block.port or default_port, block.family, str(hop) if depth else None, block.command)
    if depth == MOST_JUMPS:
        raise ConfigError(str(CONFIG), f"ProxyJump: more than {MOST_JUMPS} hosts on the way, the last is {jumps[0]}")
    return _of_ssh(jumps[0], JUMP_PORT, depth + 1)
