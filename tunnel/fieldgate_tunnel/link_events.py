"""What a supervised tunnel says of itself: its states, the events that lead there, and its status."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fieldgate_core.errors import FieldgateError, TunnelError


class State(StrEnum):
    """Where a link stands. Requests go through while it is up, or degraded by its default unit alone."""

    CONNECTING = "connecting"
    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True)
class LinkConnecting:
    """A try begins; `attempt` counts from 1 since the link was up."""

    attempt: int


@dataclass(frozen=True)
class LinkUp:
    """A Modbus round trip went through, in `round_trip` seconds."""

    round_trip: float


@dataclass(frozen=True)
class NameTaken:
    """A hub has taken a box's name: who may can reach it now."""

    name: str


@dataclass(frozen=True)
class LinkDegraded:
    """The tunnel stands, and Modbus behind it does not answer as it should."""

    reason: str


@dataclass(frozen=True)
class LinkDown:
    """The tunnel is lost, or could not be opened; another try follows in `retry_in` seconds (None: none follows).

    `hopeless`: time alone can't mend it. `unknown_writes` were sent and never answered.
    """

    error: FieldgateError
    retry_in: float | None
    hopeless: bool = False
    unknown_writes: int = 0

    @property
    def problem(self) -> str:
        """What is wrong, without the target that it is wrong with."""
        return self.error.problem if isinstance(self.error, TunnelError) else str(self.error)


@dataclass(frozen=True)
class BudgetWarning:
    """So many bytes of the day's `cap` are used."""

    used: int
    cap: int


LinkEvent = LinkConnecting | LinkUp | NameTaken | LinkDegraded | LinkDown | BudgetWarning


@dataclass(frozen=True)
class LinkStatus:
    """A link at this moment. `since` and `last_error_at` in seconds since 1970; times in seconds; bytes since start.

    `wire` is what TCP has carried with its headers, where the kernel tells, and `today` what counts for the day.
    """

    target: str
    state: State
    since: float
    reason: str
    last_error: str
    last_error_at: float | None
    round_trip: float | None
    connects: int
    sent: int
    received: int
    wire: int | None
    today: int
    cap: int | None
