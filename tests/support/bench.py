"""One memory unit behind guards, one for each role, without a socket."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from fieldgate_server.audit import Audit
from fieldgate_server.guard import Guard
from fieldgate_server.identity import Identity
from fieldgate_server.memory import MemoryUnit
from fieldgate_server.policy import Policy, parse
from fieldgate_server.unit_settings import UnitSettings
from fieldgate_server.units import Units

CONTROL = ("8/01", "8/03", "8/04", "8/0A", "8/14")
EVERYTHING = ", ".join(
    [
        '{ units = "all", read = "all", write = "all" }',
        *(f'{{ units = "all", function = "{word}" }}' for word in ("identify", "diagnose", *CONTROL)),
    ]
)


def policy(grants: Mapping[str, str]) -> Policy:
    """Compile the grants of roles, as written between the brackets of `grants = [...]`."""
    text = "".join(f'[role."{role}"]\ngrants = [{written}]\n' for role, written in grants.items())
    return parse(tomllib.loads(text), where="p")


class Bench:
    """Unit 1, which is the default unit; role "all" may do everything there is."""

    def __init__(self, folder: Path, settings: UnitSettings, grants: Mapping[str, str] | None = None) -> None:
        # a trail of its own: a test may have several benches
        self._file = folder / f"audit-{len(list(folder.iterdir()))}.log"
        self._audit = Audit(self._file)
        self.unit: MemoryUnit = settings.build()
        self._units = Units({1: self.unit}, default=1)
        self._policy = policy({"all": EVERYTHING, "nothing": "", **(grants or {})})

    def ask(self, pdu: str, role: str = "all", unit: int = 1) -> str:
        """Ask as a role; request and reply are PDUs as hexadecimal text, "" for no reply."""
        guard = Guard(
            Identity(f"tls:{role}", role, self._policy.rights(role), "tls", "1.2.3.4:5"), self._units, self._audit
        )
        reply = guard.answer(unit, bytes.fromhex(pdu))
        assert isinstance(reply, bytes)
        return reply.hex(" ")

    def trail(self) -> list[str]:
        """Give the lines of the trail so far."""
        return self._file.read_text().splitlines()
