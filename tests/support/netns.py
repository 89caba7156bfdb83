"""Two network namespaces of the test's own, joined by a cable that can drop everything, be pulled, or lose a socket."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator

import pytest

from support.tools import tool

HERE, THERE = "192.0.2.1", "192.0.2.2"
INSIDE, GATEWAY = "198.51.100.2", "198.51.100.1"
_NUMBERS = itertools.count()
_DROP = """
table inet cut {
  chain in { type filter hook input priority 0; policy drop; iif lo accept; }
  chain out { type filter hook output priority 0; policy drop; oif lo accept; }
}
"""


_NAT = """
table ip router {
  set stale { type inet_service; }
  chain out { type nat hook postrouting priority 100; oif cable masquerade; }
  chain through {
    type filter hook forward priority 0; policy drop;
    tcp sport @stale drop
    tcp dport @stale drop
    ct state established,related accept
    iif inside accept
  }
}
"""


class Net:
    """The cable, with a namespace at each end: `here` has address HERE, `there` THERE."""

    def __init__(self, here: str, there: str) -> None:
        self.here = here
        self.there = there

    def inside(self, namespace: str) -> list[str]:
        """Give the words that run a command in a namespace."""
        return [tool("ip"), "netns", "exec", namespace]

    def drop(self) -> None:
        """Lose every packet, both ways, without a word."""
        run(*self.inside(self.here), tool("nft"), "-f", "-", given=_DROP)

    def carry(self) -> None:
        """Carry packets again."""
        run(*self.inside(self.here), tool("nft"), "flush", "ruleset")

    def unplug(self) -> None:
        """Pull the cable at the far end: the near one loses its carrier."""
        run(tool("ip"), "-n", self.there, "link", "set", "cable", "down")

    def plug(self) -> None:
        """Put it back."""
        run(tool("ip"), "-n", self.there, "link", "set", "cable", "up")

    def kill_sockets(self) -> None:
        """Have the near end's kernel end its TCP connections to the far end."""
        run(*self.inside(self.here), tool("ss"), "-K", "dst", THERE)


def run(*command: str, given: str = "") -> None:
    """Run a command to its end; one that fails fails the test."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)


@contextlib.contextmanager
def two_namespaces() -> Iterator[Net]:
    """Make them, and take them away with the block; only root can."""
    if os.geteuid() != 0:
        pytest.skip("only root can make network namespaces")
    ip = tool("ip")
    names = [f"fieldgate-{os.getpid()}-{next(_NUMBERS)}-{end}" for end in ("here", "there")]
    if subprocess.run([ip, "netns", "add", names[0]], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no network namespaces")
    try:
        run(ip, "netns", "add", names[1])
        run(ip, "-n", names[0], "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", names[1])
        for name, address in zip(names, (HERE, THERE), strict=True):
            run(ip, "-n", name, "address", "add", f"{address}/24", "dev", "cable")
            run(ip, "-n", name, "link", "set", "cable", "up")
            run(ip, "-n", name, "link", "set", "lo", "up")
        yield Net(names[0], names[1])
    finally:
        for name in names:
            subprocess.run([ip, "netns", "delete", name], capture_output=True, check=False)


class Behind:
    """A namespace behind a router that masquerades it: it reaches THERE, and nobody reaches it at INSIDE."""

    def __init__(self, net: Net, inside: str) -> None:
        self.net = net
        self.inside = inside

    def ports_to(self, port: int) -> list[str]:
        """Give the ports from which the inside has connections to a port of THERE."""
        words = [*self.net.inside(self.inside), tool("ss"), "-Htn", "state", "established", f"dport = :{port}"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        return [line.split()[2].rpartition(":")[2] for line in done.stdout.splitlines()]

    def blackhole(self, port: str) -> None:
        """Lose every packet from and to a port of the inside, without a word."""
        rule = f"add element ip router stale {{ {port} }}"
        run(*self.net.inside(self.net.here), tool("nft"), rule)


@contextlib.contextmanager
def behind_nat(net: Net) -> Iterator[Behind]:
    """Make a namespace behind `here`, and take it away with the block."""
    ip = tool("ip")
    name = f"fieldgate-{os.getpid()}-{next(_NUMBERS)}-inside"
    run(ip, "netns", "add", name)
    try:
        run(ip, "-n", net.here, "link", "add", "inside", "type", "veth", "peer", "name", "out", "netns", name)
        for where, link, address in ((net.here, "inside", GATEWAY), (name, "out", INSIDE)):
            run(ip, "-n", where, "address", "add", f"{address}/24", "dev", link)
            run(ip, "-n", where, "link", "set", link, "up")
        run(ip, "-n", name, "link", "set", "lo", "up")
        run(ip, "-n", name, "route", "add", "default", "via", GATEWAY)
        # so that it is the router which lets nobody in, and not the want of a route
        run(ip, "-n", net.there, "route", "add", f"{INSIDE}/32", "via", HERE)
        run(*net.inside(net.here), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        run(*net.inside(net.here), tool("nft"), "-f", "-", given=_NAT)
        yield Behind(net, name)
    finally:
        subprocess.run([ip, "netns", "delete", name], capture_output=True, check=False)
