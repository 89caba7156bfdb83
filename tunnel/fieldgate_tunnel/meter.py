"""The bytes of one link over all its tunnels: its own, those on the wire, and what the day's budget says to them."""

from __future__ import annotations

import time
from collections.abc import Callable

from fieldgate_tunnel.budget import Budget, Level
from fieldgate_tunnel.tcp_socket import TcpSocket


class Meter:
    """Counts bytes; those on the wire count for the day where the kernel tells them, else the link's own."""

    def __init__(self, cap: int | None, warn: Callable[[int, int], None]) -> None:
        """`cap` in bytes a day; `warn` is told what is used of it, once a day, when it gets short."""
        self.budget = Budget(cap)
        self.level = Level.FINE
        self.sent = self.received = 0
        self.wire: int | None = None
        self._warn = warn
        self._tcp: TcpSocket | None = None
        self._counted = self._counted_own = 0

    def attach(self, tcp: TcpSocket) -> None:
        """Begin to count a fresh tunnel."""
        self._tcp = tcp
        self._counted, self._counted_own = 0, self.sent + self.received

    def detach(self) -> None:
        """Count a tunnel for the last time."""
        self.count()
        self._tcp = None

    def count(self) -> None:
        """Count what has gone since the last time."""
        spent = 0
        if self._tcp is not None:
            own, total = self.sent + self.received, self._tcp.wire_bytes()
            spent = own - self._counted_own if total is None else total - self._counted
            if total is not None:
                self.wire = (self.wire or 0) + spent
                self._counted = total
            self._counted_own = own
        before, self.level = self.level, self.budget.spend(spent, time.time())
        if self.level is not Level.FINE and before is Level.FINE and self.budget.cap is not None:
            self._warn(self.budget.used, self.budget.cap)
