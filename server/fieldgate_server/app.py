"""The running server: the only place where policy, units, trail, sessions and doors are put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from fieldgate_core.credentials import Credentials, LoopbackCredentials
from fieldgate_core.errors import ConfigError
from fieldgate_core.logs import printable
from fieldgate_server import policy as policies
from fieldgate_server import users
from fieldgate_server.audit import Audit, AuditError
from fieldgate_server.binding import bind
from fieldgate_server.changes import Changes
from fieldgate_server.guard import Guard
from fieldgate_server.identity import Identity, conclude, known_to_ssh
from fieldgate_server.policy import OwnerPolicy, Policy
from fieldgate_server.quit_word import QuitWord
from fieldgate_server.session import Session
from fieldgate_server.settings import Settings
from fieldgate_server.shell import Shell
from fieldgate_server.units import Units
from fieldgate_tunnel import ssh
from fieldgate_tunnel.limits import Limits
from fieldgate_tunnel.listeners import Listener, SshListener, TlsListener
from fieldgate_tunnel.peer import PeerUsers, is_loopback_peer
from fieldgate_tunnel.ssh import peer_name
from fieldgate_tunnel.ssh_keys import SshProof

log = logging.getLogger("fieldgate.server")


class App:
    """A server made from its settings. Everything is read and checked here, before a socket opens."""

    def __init__(  # noqa: PLR0913
        self,
        settings: Settings,
        *,
        owner_rights: bool = False,
        limits: Limits | None = None,
        units: Units | None = None,
        bind_retry: float = 0.0,
        show: Callable[[str], None] | None = None,
        quit_word: bytes | None = None,
    ) -> None:
        """Check and prepare. Raises ConfigError that names the file, setting or option that is wrong.

        `units` serve in place of those of the settings. `bind_retry` are the seconds for which a taken port is tried
        again; `show` is given the text of every frame; a loopback peer that may do so stops the server with
        `quit_word`.
        """
        self._settings = settings
        self._limits = limits or Limits()
        self._bind_retry = bind_retry
        self._show = show
        self._quit_word = quit_word
        self.changes = Changes()
        """Tells of every change of a memory unit's cells."""
        self.asked_to_stop = asyncio.Event()
        """Set when a peer that may do so has asked the server to stop."""
        self._policy = _policy(settings, owner_rights=owner_rights)
        memory = {unit.id: unit.build(self.changes) for unit in settings.unit}
        self._units = units or Units(memory, settings.default_unit)
        self._simulations = [unit.simulation(memory[unit.id]) for unit in settings.unit if unit.simulate]
        self._tls = (
            TlsListener(settings.tls.identity, self._session, self._refused, self._limits) if settings.tls else None
        )
        self._ssh = (
            ssh.server_options(settings.ssh.identity, login_deadline=self._limits.handshake_deadline)
            if settings.ssh
            else None
        )
        self._audit = Audit(settings.audit)
        self._users: PeerUsers | None = None
        self._shell: Shell | None = None
        self._sessions: Counter[str] = Counter()
        self.ports: dict[str, int] = {}
        """The ports that are listened on, by door: modbus, tls, ssh."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[App]:
        """Open the doors, and close them with all their sessions at the end. Raises ConfigError for a taken port."""
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._audit.close)
            self._users = PeerUsers()
            stack.callback(self._users.close)
            for simulation in self._simulations:
                await stack.enter_async_context(simulation.running())
            listen = self._settings.listen
            self._shell = shell = Shell(listen.host, listen.port, self._loopback_session)
            stack.push_async_callback(self._shutdown, shell)
            serve = partial(shell.serve_forever, background=True)
            await bind(f"listen {listen.host}:{listen.port}", serve, retry=self._bind_retry)
            self.ports["modbus"] = shell.port
            for name, host, port, listener in self._doors(shell):
                await bind(f"{name} {host}:{port}", partial(listener.start, host, port), retry=self._bind_retry)
                stack.push_async_callback(listener.close)
                self.ports[name] = listener.port
            self._line("server", state="started", **{door: str(port) for door, port in self.ports.items()})
            yield self
            self._line("server", state="stopping")

    def _doors(self, shell: Shell) -> list[tuple[str, str, int, Listener]]:
        doors: list[tuple[str, str, int, Listener]] = []
        if self._tls and self._settings.tls:
            at = self._settings.tls
            doors.append(("tls", at.host, at.port, self._tls))
        if self._ssh and self._settings.ssh:
            to = self._settings.ssh
            modbus = frozenset({shell.port, 502})
            listener = SshListener(self._ssh, self._known, self._session, self._refused, self._limits, modbus)
            doors.append(("ssh", to.host, to.port, listener))
        return doors

    async def _shutdown(self, shell: Shell) -> None:
        sessions: list[Any] = list(shell.active_connections.values())
        await shell.shutdown()  # type: ignore[no-untyped-call]
        # sessions say goodbye to the trail before it closes
        await asyncio.gather(*(session.wait_closed() for session in sessions))

    def _known(self, proof: SshProof) -> bool:
        return known_to_ssh(proof, self._policy)

    def _session(self, credentials: Credentials) -> Session:
        """Give a door's authenticated stream its session."""
        if self._shell is None:
            raise RuntimeError("a door cannot be open before the server")
        return self._shell.register(Session(lambda _: self._guard(credentials), show=self._show))

    def _loopback_session(self) -> Session:
        word = QuitWord(self._quit_word, self.asked_to_stop.set) if self._quit_word else None
        return Session(self._admit_loopback, show=self._show, quit_word=word)

    def _admit_loopback(self, transport: asyncio.BaseTransport) -> Guard | None:
        """Ask for the user of a loopback peer, once, before a byte is read."""
        connection = transport.get_extra_info("socket")
        peer = peer_name(transport.get_extra_info("peername"))
        if self._users is None or not is_loopback_peer(connection):
            self._refused("loopback", peer, "a peer that is not on loopback")
            return None
        return self._guard(LoopbackCredentials(peer=peer, uid=self._users.uid(connection)))

    def _guard(self, credentials: Credentials) -> Guard | None:
        """Admit an identity, or say in the trail why not."""
        identity = conclude(credentials, self._policy, users.lookup)
        most = (
            self._settings.max_sessions_without_rights if identity.fault else self._settings.max_sessions_per_identity
        )
        fault = None
        if identity.expires is not None and identity.expires <= time.time():
            # OpenSSL does not look at the dates again when a session is resumed
            fault = "a credential that has run out"
        elif self._sessions.total() >= self._settings.max_sessions:
            fault = f"more than {self._settings.max_sessions} sessions"
        elif self._sessions[identity.name] >= most:
            fault = f"more than {most} sessions of {identity.name}"
        if fault is not None:
            self._refused(identity.door, identity.peer, fault)
            return None
        self._sessions[identity.name] += 1
        log.info("connected: %s from %s as %s", printable(identity.name), identity.peer, printable(identity.role))
        return Guard(identity, self._units, self._audit, partial(self._left, identity))

    def _left(self, identity: Identity) -> None:
        self._sessions[identity.name] -= 1
        if not self._sessions[identity.name]:
            del self._sessions[identity.name]
        log.info("disconnected: %s from %s", printable(identity.name), identity.peer)

    def _refused(self, door: str, peer: str, what: str) -> None:
        self._line("refused", door=door, peer=peer, what=what)

    def _line(self, event: str, **facts: str) -> None:
        try:
            self._audit.line(event, **facts)
        except AuditError:
            log.error("not in the trail: %s %s", event, facts)


def _policy(settings: Settings, *, owner_rights: bool) -> Policy:
    if settings.policy is not None:
        if owner_rights:
            raise ConfigError("--owner-rights", "is for a start without a policy, and the settings name one")
        return policies.load(settings.policy)
    holds = owner_rights or (os.geteuid() != 0 and os.environ.get("SYSTEMD_EXEC_PID") != str(os.getpid()))
    if holds:
        log.warning(
            "no policy: user %s may do everything on loopback, and nobody else anything; "
            "to change that write a policy file and name it in the settings (policy = FILE)",
            os.geteuid(),
        )
        return OwnerPolicy(os.geteuid())
    log.warning(
        "no policy, so nobody has any right: write a policy file and name it in the settings (policy = FILE), "
        "or start with --owner-rights for a trial as root"
    )
    return OwnerPolicy(None)
