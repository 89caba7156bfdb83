"""What an operator may ask of the running server: who may, what is done, and the lines that it leaves in the trail."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from fieldgate_core.cli import VERSION
from fieldgate_core.credentials import LoopbackCredentials
from fieldgate_core.errors import EXIT_CONFIG, ConfigError
from fieldgate_core.logs import printable
from fieldgate_server.audit import AuditError, facts_text
from fieldgate_server.grants import KICK, LOCK, RELOAD, STATUS, STOP

if TYPE_CHECKING:
    from fieldgate_server.app import App

log = logging.getLogger("fieldgate.control")

UNLOCK = "unlock"
WORDS = {STATUS: STATUS, RELOAD: RELOAD, LOCK: LOCK, UNLOCK: LOCK, KICK: KICK, STOP: STOP}
"""The commands, and the word of `manage` that each takes."""
_TAKES_AWAY = frozenset({LOCK, KICK})
"""Commands that are carried out though the trail can't be written: they only take away."""
EXIT_REFUSED = 1

Answer = dict[str, object]
"""What is answered: `ok`, and the facts; or `error`, `hint`, and the exit code of the command that asked."""


class Reloaded(NamedTuple):
    """What a reload has done: keys of the settings that wait for the next start, and revoked sessions it closed."""

    waiting: tuple[str, ...]
    closed: int


class Commands:
    """Carries out the commands of one server."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._started = time.time()
        self._began = time.monotonic()

    def entitled(self, uid: int) -> bool:
        """Tell whether the policy lets a local user manage anything at all."""
        return bool(self._app.conclude(LoopbackCredentials(peer="control", uid=uid)).rights.manage)

    async def answer(self, asked: dict[str, object], uid: int, pid: int) -> Answer:
        """Answer a command of a local user. Never raises for what is asked."""
        command = asked.get("command")
        if not isinstance(command, str) or command not in WORDS:
            return _refused(f"there is no such command; known are {', '.join(WORDS)}", code=EXIT_CONFIG)
        target = asked.get("who") if command == KICK else None
        if set(asked) - {"command"} != ({"who"} if command == KICK else set()) or not isinstance(target, str | None):
            return _refused(f"{command} takes {'who, a text' if command == KICK else 'nothing'}", code=EXIT_CONFIG)
        identity = self._app.conclude(LoopbackCredentials(peer=f"pid:{pid}", uid=uid))
        who = identity._replace(door="control").who
        grant = identity.rights.manage.get(WORDS[command])
        if grant is None:
            why = identity.fault or f'role {identity.role!r} has no grant with manage = ["{WORDS[command]}"]'
            await self._write("refused", who, {"manage": command, "why": why})
            return _refused(f"{identity.name} may not {command}: {why}", code=EXIT_REFUSED)
        if command == STATUS:
            return {"ok": True, **self.status()}
        return await self._carry_out(command, target, who, identity.name, grant)

    async def hang_up(self) -> None:
        """Reload for SIGHUP, which does not say who sent it."""
        await self._carry_out(RELOAD, None, "identity=signal:HUP door=signal ", "SIGHUP", None)

    async def _carry_out(self, command: str, target: str | None, who: str, by: str, grant: str | None) -> Answer:
        facts: dict[str, object] = {"manage": command, "target": target, "grant": grant}
        written = await self._write("control", who, {"outcome": "intent", **facts}, wait=command not in _TAKES_AWAY)
        if not written and command not in _TAKES_AWAY:
            return _refused("the trail cannot be written, so nothing was done", code=EXIT_REFUSED)
        try:
            done = await self._do(command, target, by)
        except ConfigError as error:
            log.error("%s by %s failed: %s", command, printable(by), printable(str(error), 2000))
            await self._write("control", who, {"outcome": "failed", **facts, "what": error})
            return _refused(str(error), hint=error.hint, code=EXIT_CONFIG)
        log.warning("%s by %s%s", command, printable(by), f": {facts_text(done)}" if done else "")
        told = {name: value if isinstance(value, int) else ", ".join(value) or None for name, value in done.items()}
        await self._write("control", who, {"outcome": "done", **facts, **told})
        return {"ok": True, **done}

    async def _do(self, command: str, target: str | None, by: str) -> dict[str, int | tuple[str, ...]]:
        app = self._app
        if command == RELOAD:
            return (await app.reload())._asdict()
        if command == KICK:
            return {"closed": app.kick(target or "", by)}
        if command == LOCK:
            await app.lock.take(by)
        elif command == UNLOCK:
            await app.lock.release()
        else:
            app.stop(by)
        return {}

    async def _write(self, event: str, who: str, facts: Mapping[str, object], *, wait: bool = True) -> bool:
        """Write a line, and wait for the disk if asked to; False if it is not in the trail."""
        try:
            durable = self._app.record(event, who, **facts)
            if durable is not None and wait:
                await durable
        except AuditError:
            log.error("not in the trail: event=%s %s%s", event, who, facts_text(facts))
            return False
        return True

    def status(self) -> Answer:
        """Say what the server is and who is connected; times in seconds since 1970, others in seconds."""
        app, now = self._app, time.monotonic()
        configuration, held = app.configuration, app.lock.held
        policy = configuration.settings.policy
        return {
            "server": {
                "version": VERSION,
                "pid": os.getpid(),
                "started": self._started,
                "uptime": now - self._began,
                "ports": app.ports,
            },
            "lock": held._asdict() if held else None,
            "policy": {"file": str(policy) if policy else None, "loaded": configuration.loaded},
            "certificates": [expiry._asdict() for expiry in app.certificates],
            "crls": [
                {"issuer": crl.issuer, "begins": crl.begins, "ends": crl.ends, "revoked": len(crl.revoked)}
                for crl in configuration.crls
            ],
            "clock": {**app.clock.seen()._asdict(), "after": app.clock.floor.at},
            "hubs": [dataclasses.asdict(dial.status()) for dial in app.dials],
            "sessions": [
                {
                    "number": account.number,
                    "identity": account.identity.name,
                    "role": account.identity.role,
                    "fault": account.identity.fault,
                    "door": account.identity.door,
                    "peer": account.identity.peer,
                    "since": account.since,
                    "idle": now - account.active,
                    "reads": account.guard.reads,
                    "writes": account.guard.writes,
                    "refusals": account.guard.refusals,
                    "rate": account.rate,
                }
                for account in app.accounts
            ],
        }


def _refused(error: str, *, code: int, hint: str = "") -> Answer:
    return {"ok": False, "error": error, "hint": hint, "code": code}
