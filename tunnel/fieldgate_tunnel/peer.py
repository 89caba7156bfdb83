"""The Unix user at the other end of a loopback connection, by netlink sock_diag (sock_diag(7))."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from pathlib import Path
from struct import Struct, error

from fieldgate_core.errors import ConfigError

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_ALL_STATES = 0xFFFFFFFF
_ESTABLISHED = 1
_NO_COOKIE = b"\xff" * 8

# struct nlmsghdr, inet_diag_req_v2, inet_diag_sockid and inet_diag_msg of linux/netlink.h and linux/inet_diag.h
_HEADER = Struct("=IHHII")
_REQUEST = Struct("=BBBBI")
_SOCKET_ID = Struct("!HH16s16s4s8s")
_MESSAGE = Struct("=BBBB48sIIIII")


def require_whole_host() -> None:
    """Check that uids mean what they mean on the host. Raises ConfigError in a user namespace that maps fewer users.

    In such a namespace every foreign user looks like the overflow user, so uids decide nothing.
    """
    mapping = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
    if mapping != ["0", "0", "4294967295"]:
        raise ConfigError(
            "listen",
            "this process runs in a user namespace that does not map all users, so local users cannot be told apart",
            hint="run it outside, with PrivateUsers=no in its unit",
        )


class PeerUsers:
    """Asks the kernel who owns the other end of a connection; one netlink socket serves all questions."""

    def __init__(self) -> None:
        """Open the netlink socket. Raises ConfigError where the kernel or a sandbox does not allow it."""
        require_whole_host()
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
        except OSError as failure:
            raise ConfigError(
                "listen",
                f"cannot ask the kernel for the users of local peers: {failure.strerror}",
                hint="a systemd unit needs AF_NETLINK in RestrictAddressFamilies=",
            ) from None
        # the kernel answers within send(): what is not there at once will not come
        self._socket.setblocking(False)
        self._sequence = 0

    def close(self) -> None:
        """Close the netlink socket."""
        self._socket.close()

    def uid(self, connection: socket.socket) -> int | None:
        """Tell the uid of the peer of an accepted TCP connection; None if it is not certain.

        It is certain only if the kernel finds the peer's socket by the full 4-tuple, established and with an inode,
        and if our own end is still established after the answer: of a peer that has closed, the kernel says uid 0.
        """
        try:
            ours = connection.getsockname()
            theirs = connection.getpeername()
            found = self._ask(connection.family, theirs[:2], ours[:2])
            state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        except (OSError, error, ValueError):
            return None
        return found if state == _ESTABLISHED else None

    def _ask(self, family: int, peer: tuple[str, int], own: tuple[str, int]) -> int | None:
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        wanted = _SOCKET_ID.pack(peer[1], own[1], _raw(peer[0]), _raw(own[0]), b"\0" * 4, _NO_COOKIE)
        request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, _ALL_STATES) + wanted
        self._drain()
        self._socket.send(
            _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, self._sequence, 0) + request
        )
        answer = self._socket.recv(8192)
        length, kind, _, sequence, _ = _HEADER.unpack_from(answer)
        if kind != _SOCK_DIAG_BY_FAMILY or sequence != self._sequence or length > len(answer):
            return None
        _, state, _, _, identity, _, _, _, uid, inode = _MESSAGE.unpack_from(answer, _HEADER.size)
        source_port, target_port, source, target, _, _ = _SOCKET_ID.unpack(identity)
        same = (source_port, target_port) == (peer[1], own[1])
        same = same and _address(source, answer) == _plain(peer[0]) and _address(target, answer) == _plain(own[0])
        return int(uid) if same and state == _ESTABLISHED and inode != 0 else None

    def _drain(self) -> None:
        """Throw away what an earlier question may have left, so that it cannot be taken for this one's answer."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(8192)


def is_loopback_peer(connection: socket.socket) -> bool:
    """Tell whether both ends of a connection are on this machine's loopback."""
    try:
        ends = connection.getsockname(), connection.getpeername()
    except OSError:
        return False
    return all(_plain(end[0]).is_loopback for end in ends)


def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Read an address; one that IPv6 maps from IPv4 counts as the IPv4 address."""
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _raw(text: str) -> bytes:
    return ipaddress.ip_address(text).packed.ljust(16, b"\0")


def _address(raw: bytes, answer: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    family = answer[_HEADER.size]
    if family == socket.AF_INET:
        return ipaddress.IPv4Address(raw[:4])
    return _plain(str(ipaddress.IPv6Address(raw)))
