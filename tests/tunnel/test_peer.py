"""Who is at the other end of a loopback connection, asked of the real kernel about real sockets."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fieldgate_core.errors import ConfigError
from fieldgate_tunnel.peer import PeerUsers, is_loopback_peer, require_whole_host
from support.other_user import other_user
from support.tools import tool

FAMILIES = {
    "IPv4": ("127.0.0.1", "127.0.0.1"),
    "IPv6": ("::1", "::1"),
    "IPv4 asked by an IPv6 socket": ("127.0.0.1", "::ffff:127.0.0.1"),
    "IPv4 at an IPv6 listener": ("::ffff:127.0.0.1", "127.0.0.1"),
    "IPv4 in IPv6 at both ends": ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
}
"""Where is listened, and where a client connects to."""
each_family = pytest.mark.parametrize(("listening", "asked"), FAMILIES.values(), ids=FAMILIES)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def listen(address: str) -> socket.socket:
    dual = address.startswith("::ffff:")
    return socket.create_server((address, 0), family=family(address), dualstack_ipv6=dual)


@contextlib.contextmanager
def connected(listening: str, asked: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give our end of a connection, and the peer's, which is this process too."""
    with listen(listening) as listener, socket.socket(family(asked)) as peer:
        peer.connect((asked, listener.getsockname()[1]))
        connection, _ = listener.accept()
        with connection:
            yield connection, peer


@pytest.fixture
def users() -> Iterator[PeerUsers]:
    it = PeerUsers()
    yield it
    it.close()


@each_family
def test_an_own_connection_has_the_own_uid(users: PeerUsers, listening: str, asked: str) -> None:
    with connected(listening, asked) as (connection, _):
        assert users.uid(connection) == os.geteuid()


@needs_root
@each_family
@pytest.mark.parametrize("uid", [pwd.getpwnam("daemon").pw_uid, 4242])
def test_another_users_connection_has_their_uid(users: PeerUsers, listening: str, asked: str, uid: int) -> None:
    with listen(listening) as listener, other_user(uid) as other:
        other.send((asked, listener.getsockname()[1]), b"", "stay")
        connection, _ = listener.accept()
        with connection:
            assert users.uid(connection) == uid


@each_family
def test_many_connections_are_told_apart(users: PeerUsers, listening: str, asked: str) -> None:
    """The answers belong to the questions, and a peer that has gone does not make others unknown."""
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(connected(listening, asked)) for _ in range(50)]
        for _, peer in pairs[::2]:
            peer.close()
        assert [users.uid(connection) for connection, _ in pairs] == [None, os.geteuid()] * 25


def test_an_answer_that_nobody_took_is_not_the_next_ones(users: PeerUsers) -> None:
    with connected("127.0.0.1", "127.0.0.1") as (connection, _):
        # an nlmsghdr without its request: the kernel answers with an error
        users._socket.send(struct.pack("=IHHII", 16, 20, 1, 7, 0))
        assert users.uid(connection) == os.geteuid()


def close(peer: socket.socket) -> None:
    peer.close()


def half_close(peer: socket.socket) -> None:
    peer.shutdown(socket.SHUT_WR)


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


@each_family
@pytest.mark.parametrize("leave", [close, half_close, reset])
def test_a_peer_that_has_gone_is_unknown_although_its_bytes_can_be_read(
    users: PeerUsers, listening: str, asked: str, leave: Callable[[socket.socket], None]
) -> None:
    """The kernel says uid 0 of a peer that has closed."""
    with connected(listening, asked) as (connection, peer):
        peer.sendall(b"write")
        leave(peer)
        assert users.uid(connection) is None
        assert connection.recv(5) == b"write"


@pytest.mark.parametrize("leave", [close, half_close, reset])
@needs_root
def test_another_user_who_has_gone_is_unknown(users: PeerUsers, leave: Callable[[socket.socket], None]) -> None:
    with listen("127.0.0.1") as listener, other_user(4242) as other:
        other.send(listener.getsockname(), b"write", leave.__name__.replace("_", "-"), count=20)
        for _ in range(20):
            connection, _ = listener.accept()
            with connection:
                assert users.uid(connection) is None


@pytest.mark.parametrize("when", ["before the question", "while it is asked"])
def test_who_takes_the_ports_of_a_connection_that_was_reset_does_not_inherit_it(
    users: PeerUsers, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    with listen("127.0.0.1") as listener, socket.socket() as first, socket.socket() as second:
        # an address that nobody else uses: its ports are free, and in no TIME-WAIT
        first.bind(("127.77.77.77", 0))
        first.connect(listener.getsockname())
        mine = first.getsockname()
        old, _ = listener.accept()

        def take_over() -> None:
            reset(first)
            second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            second.bind(mine)
            second.connect(listener.getsockname())

        ask = users._ask

        def late(*question: Any) -> int | None:
            take_over()
            uid = ask(*question)
            assert uid == os.geteuid()
            return uid

        if when == "before the question":
            take_over()
        else:
            monkeypatch.setattr(users, "_ask", late)
        with old:
            assert users.uid(old) is None
        monkeypatch.undo()
        new, address = listener.accept()
        with new:
            assert address == mine
            assert users.uid(new) == os.geteuid()


def test_a_peer_that_belongs_to_no_process_is_unknown(users: PeerUsers) -> None:
    """The kernel says uid 0 of it: here of the end that nobody has accepted yet."""
    with listen("127.0.0.1") as listener, socket.create_connection(listener.getsockname()) as connection:
        assert users.uid(connection) is None
        accepted, _ = listener.accept()
        with accepted:
            assert users.uid(connection) == os.geteuid()


def test_a_socket_that_is_not_connected_has_no_user(users: PeerUsers) -> None:
    with socket.socket() as alone:
        assert users.uid(alone) is None
        assert not is_loopback_peer(alone)
    assert users.uid(alone) is None
    assert not is_loopback_peer(alone)


@pytest.mark.parametrize("options", [["--user"], ["--user", "--map-root-user"]])
def test_a_user_namespace_is_refused(options: list[str]) -> None:
    """Every foreign user looks like the overflow user there."""
    unshare = [tool("unshare"), *options]
    probe = subprocess.run([*unshare, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"no user namespaces here: {probe.stderr.strip()}")
    code = "from fieldgate_tunnel.peer import PeerUsers\nPeerUsers()"
    finished = subprocess.run([*unshare, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1] == (
        f"{ConfigError.__module__}.ConfigError: listen: "
        "this process runs in a user namespace that does not map all users, so local users cannot be told apart"
    )


def test_the_whole_host_is_accepted() -> None:
    require_whole_host()


@each_family
def test_a_loopback_peer_is_one(listening: str, asked: str) -> None:
    with connected(listening, asked) as (connection, _):
        assert is_loopback_peer(connection)


@pytest.mark.parametrize("source", ["", "127.0.0.1"])
def test_a_peer_is_not_on_loopback_if_one_end_is_not(source: str) -> None:
    address = own_address()
    with listen(address) as listener, socket.socket() as peer:
        peer.bind((source, 0))
        peer.connect(listener.getsockname())
        connection, _ = listener.accept()
        with connection:
            assert connection.getpeername()[0] == (source or address)
            assert not is_loopback_peer(connection)


def own_address() -> str:
    """Give an address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # nothing is sent: it only asks for the route to a documentation address (RFC 5737)
            probe.connect(("192.0.2.1", 9))
        except OSError as error:
            pytest.skip(f"this machine has no network: {error.strerror}")
        return str(probe.getsockname()[0])
