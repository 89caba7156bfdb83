"""What a door lets happen, and the gate that counts who is not authenticated yet; pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a door lets happen; deadlines in seconds. Handshakes are those of peers not authenticated yet."""

    handshake_deadline: float = 10.0
    handshakes: int = 64
    handshakes_per_address: int = 16
    ssh_connections: int = 256
    ssh_connections_per_key: int = 16


class Gate:
    """Counts the handshakes under way, in all and for each address."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._all = 0
        self._by_address: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Take a place; False if there is none."""
        if self._all >= self._limits.handshakes or self._by_address[address] >= self._limits.handshakes_per_address:
            return False
        self._all += 1
        self._by_address[address] += 1
        return True

    def leave(self, address: str) -> None:
        """Give the place back."""
        self._all -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
