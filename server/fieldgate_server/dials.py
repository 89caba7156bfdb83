"""The hubs that a server dials out to: what comes from there ends in its own TLS door, in this process."""

from __future__ import annotations

from fieldgate_core.url import parse
from fieldgate_server.settings import Settings
from fieldgate_tunnel.dial import Dial
from fieldgate_tunnel.dialled import OwnDoor
from fieldgate_tunnel.listeners import TlsListener
from fieldgate_tunnel.teller import Teller


def dials_of(settings: Settings, door: TlsListener | None) -> tuple[Dial, ...]:
    """Prepare them. Raises ConfigError for an identity that cannot be used."""
    if door is None:
        return ()
    return tuple(
        Dial(one, OwnDoor(door.admit_via, parse(one.url).host), tell=Teller(one.url).tell) for one in settings.dial
    )
