"""Put together what a terminal needs: history, what draws, and the prompt."""

from __future__ import annotations

from collections.abc import Sequence

from fieldgate_client.points import Point
from fieldgate_client.read_command import can_draw
from fieldgate_client.shell import history
from fieldgate_client.shell.session import Session
from fieldgate_client.shell.terminal import Terminal
from fieldgate_core.errors import ConfigError


def terminal(session: Session, points: Sequence[Point]) -> Terminal:
    """Give the shell at this terminal; a history that cannot be kept is told, and does without."""
    if can_draw():
        from fieldgate_client.live import live

        session.live = live
    try:
        kept = history.load(history.default_file())
    except ConfigError as error:
        session.voice.tell(f"warning: {error}")
        kept = history.forgotten()
    return Terminal(session, kept, points)
