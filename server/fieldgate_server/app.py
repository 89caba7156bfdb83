"""The running server: the only place where policy, units, trail, sessions and doors are put together."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from asyncio import Future
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from fieldgate_core.credentials import Credentials, LoopbackCredentials, TlsCredentials
from fieldgate_core.errors import ConfigError
from fieldgate_core.logs import printable
from fieldgate_server import configuration, expiry, users
from fieldgate_server.accounts import Account, Accounts, end
from fieldgate_server.audit import Audit, AuditError
from fieldgate_server.changes import Changes
from fieldgate_server.clock_watch import ClockWatch
from fieldgate_server.commands import Commands, Reloaded
from fieldgate_server.configuration import Configuration
from fieldgate_server.counts import Counts
from fieldgate_server.crl_watch import CrlWatch
from fieldgate_server.descriptors import Descriptors
from fieldgate_server.dials import dials_of
from fieldgate_server.expiry import Expiry
from fieldgate_server.guard import Guard
from fieldgate_server.identity import Identity, UserLookup, conclude, invalid, known_to_ssh
from fieldgate_server.lock import Lock
from fieldgate_server.metrics_listener import MetricsListener
from fieldgate_server.policy import Policy
from fieldgate_server.quit_word import QuitWord
from fieldgate_server.rates import Rates
from fieldgate_server.session import Session
from fieldgate_server.settings import Settings
from fieldgate_server.shell import Shell
from fieldgate_server.trail_text import wall_time
from fieldgate_server.units import Units
from fieldgate_tunnel.binding import bind
from fieldgate_tunnel.control import ControlSocket
from fieldgate_tunnel.dialling import staying
from fieldgate_tunnel.limits import Limits
from fieldgate_tunnel.listeners import Listener, SshListener, TlsListener
from fieldgate_tunnel.peer import PeerUsers, is_loopback_peer
from fieldgate_tunnel.ssh import peer_name
from fieldgate_tunnel.ssh_keys import SshProof

log = logging.getLogger("fieldgate.server")

_LOOK = 1.0
"""Seconds between two looks at the open sessions."""
_SHORTEST = 0.01


class App:
    """A server made from its settings. Everything is read and checked here, before a socket opens."""

    def __init__(  # noqa: PLR0913
        self,
        settings: Settings,
        *,
        owner_rights: bool = False,
        load: Callable[[], Settings] | None = None,
        limits: Limits | None = None,
        units: Units | None = None,
        bind_retry: float = 0.0,
        show: Callable[[str], None] | None = None,
        quit_word: bytes | None = None,
    ) -> None:
        """Check and prepare. Raises ConfigError that names the file, setting or option that is wrong.

        `load` gives the settings anew when the server is told to reload; without it they stay, and the files that
        they name are read anew.
        `units` serve in place of those of the settings. `bind_retry` are the seconds for which a taken port is tried
        again; `show` is given the text of every frame; a loopback peer that may do so stops the server with
        `quit_word`.
        """
        self._settings = settings
        self._load = load or (lambda: settings)
        self._owner_rights = owner_rights
        self._limits = limits or settings.limits
        self._settings_limits = settings.limits
        self._bind_retry = bind_retry
        self._show = show
        self._quit_word = quit_word
        self.changes = Changes()
        """Tells of every change of a memory unit's cells."""
        self.asked_to_stop = asyncio.Event()
        """Set when a peer that may do so has asked the server to stop."""
        self.stopped_by = "quit word"
        self.configuration = configuration.read(settings, self._limits, owner_rights=owner_rights)
        """What holds until the next reload."""
        self.policy = self.configuration.policy
        """Its policy at this time."""
        self._judged_at = time.monotonic()
        self.lock = Lock(settings.state)
        self.clock = ClockWatch(settings.state)
        self.clock.know(expiry.own(self.configuration.expiries))
        self._crls = CrlWatch()
        self._descriptors = Descriptors()
        self._counts = Counts()
        self.accounts = Accounts(self._counts)
        self._rates = Rates(settings.max_requests_per_second)
        self._reloading = asyncio.Lock()
        self._commands = Commands(self)
        memory = {unit.id: unit.build(self.changes) for unit in settings.unit}
        self._units = units or Units(memory, settings.default_unit)
        self._simulations = [unit.simulation(memory[unit.id]) for unit in settings.unit if unit.simulate]
        shown = self.configuration.tls
        self._tls = TlsListener(shown, self._session, self._refused, self._limits) if shown else None
        self.dials = dials_of(settings, self._tls)
        """The ways out to hubs."""
        self._ssh: SshListener | None = None
        self._audit = Audit(settings.audit)
        # a clock that was set back while the server was down revives nothing either
        self._judge_by(self.policy, self._audit.latest)
        self._users: PeerUsers | None = None
        self._shell: Shell | None = None
        self.ports: dict[str, int] = {}
        """The ports that are listened on, by door: modbus, tls, ssh; and metrics."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[App]:
        """Open the doors, and close them with all their sessions at the end. Raises ConfigError for a taken port."""
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._audit.close)
            stack.enter_context(self._descriptors.told_here())
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
            doors = self._doors(shell)
            self._look_at_clock()
            for name, host, port, listener in [*doors, *self._metrics(self._users)]:
                await bind(f"{name} {host}:{port}", partial(listener.start, host, port), retry=self._bind_retry)
                stack.push_async_callback(listener.close)
                self.ports[name] = listener.port
            await stack.enter_async_context(staying(self.dials))
            if self._settings.control is not None:
                # after the doors: another server that runs would have their ports
                control = ControlSocket(self._commands.answer, self._commands.entitled, self._refused)
                await stack.enter_async_context(control.listening(self._settings.control))
            watch = asyncio.create_task(self._watch())
            stack.push_async_callback(_cancelled, watch)
            self._line("server", state="started", **self.ports, latest=self._ahead())
            yield self
            self._line("server", state="stopping")
            await self.clock.close()

    def _doors(self, shell: Shell) -> list[tuple[str, str, int, Listener]]:
        doors: list[tuple[str, str, int, Listener]] = []
        if self._tls and self._settings.tls:
            at = self._settings.tls
            doors.append(("tls", at.host, at.port, self._tls))
        shown = self.configuration.ssh
        if shown and self._settings.ssh:
            to = self._settings.ssh
            modbus = frozenset({shell.port, 502})
            self._ssh = SshListener(
                shown.options, self._known, self._session, self._refused, self._limits, modbus, to.banner
            )
            doors.append(("ssh", to.host, to.port, self._ssh))
        return doors

    def _metrics(self, peers: PeerUsers) -> list[tuple[str, str, int, Listener]]:
        at = self._settings.metrics
        if at is None:
            return []
        # prometheus_client is loaded only where metrics are asked for
        from fieldgate_server.metrics import Metrics, Sources

        doors = {"tls": self._tls, "ssh": self._ssh}
        sources = Sources(
            counts=self._counts,
            sessions=lambda: (account.identity.door for account in self.accounts),
            audit=self._audit,
            gates={name: door.gate for name, door in doors.items() if door is not None},
            certificates=lambda: self.certificates,
            locked=lambda: self.lock.held is not None,
            crls=lambda: self.configuration.crls,
            clock_wrong=lambda: self.clock.seen().wrong is not None,
        )
        return [("metrics", at.host, at.port, MetricsListener(Metrics(sources).text, peers, at.users, self._refused))]

    async def _shutdown(self, shell: Shell) -> None:
        sessions: list[Any] = list(shell.active_connections.values())
        await shell.shutdown()  # type: ignore[no-untyped-call]
        # sessions say goodbye to the trail before it closes
        await asyncio.gather(*(session.wait_closed() for session in sessions))

    @property
    def certificates(self) -> tuple[Expiry, ...]:
        """When the certificates end that are loaded."""
        return (*self.configuration.expiries, *self._audit.expiries)

    def conclude(self, credentials: Credentials, lookup: UserLookup = users.lookup) -> Identity:
        """Conclude who somebody is, as things are now. Never raises."""
        identity = conclude(credentials, self.policy, lookup)
        revoked = self.configuration.revocation(credentials, identity)
        return invalid(identity, revoked) if revoked else identity

    def _known(self, proof: SshProof) -> bool:
        """Answer the SSH door's one question."""
        identity = self.conclude(proof)
        named = identity.revoked_as(self.configuration.revoked)
        if named is not None:
            by = "" if named == identity.name else f": {named} is"
            self._refused("ssh", proof.peer, f"{identity.name} is revoked{by}")
            return False
        return known_to_ssh(proof, self.policy)

    def _session(self, credentials: Credentials) -> Session:
        """Give a door's authenticated stream its session."""
        if self._shell is None:
            raise RuntimeError("a door cannot be open before the server")
        session = Session(lambda _: self._guard(credentials, session), show=self._show)
        return self._shell.register(session)

    def _loopback_session(self) -> Session:
        word = QuitWord(self._quit_word, self.asked_to_stop.set) if self._quit_word else None
        session = Session(lambda below: self._admit_loopback(below, session), show=self._show, quit_word=word)
        return session

    def _admit_loopback(self, transport: asyncio.BaseTransport, session: Session) -> Guard | None:
        """Ask for the user of a loopback peer, once, before a byte is read."""
        connection = transport.get_extra_info("socket")
        peer = peer_name(transport.get_extra_info("peername"))
        if self._users is None or not is_loopback_peer(connection):
            self._refused("loopback", peer, "a peer that is not on loopback")
            return None
        return self._guard(LoopbackCredentials(peer=peer, uid=self._users.uid(connection)), session)

    def _guard(self, credentials: Credentials, session: Session) -> Guard | None:
        """Admit an identity, or say in the trail why not."""
        identity = self.conclude(credentials)
        exclusive = self.policy.exclusive(identity.role)
        fault = None
        if identity.expires is not None and identity.expires <= time.time():
            # OpenSSL does not look at the dates again when a session is resumed
            fault = "a credential that has run out"
        else:
            fault = self.configuration.keeps_out(credentials, identity) or self.accounts.full(
                identity, self.configuration.settings, exclusive=exclusive
            )
        if fault is not None:
            self._line("refused", identity.who, what=fault)
            return None
        why = f": {printable(identity.fault)}" if identity.fault else ""
        log.info(
            "connected: %s from %s as %s%s", printable(identity.name), identity.peer, printable(identity.role), why
        )
        guard = Guard(
            identity,
            self._units,
            self._audit,
            lock=self.lock,
            rate=self._rates.enter(identity.name),
            counts=self._counts,
        )
        account = self.accounts.open(credentials, guard, session)
        guard.leave = partial(self._left, account, identity.name)
        if exclusive:
            self.accounts.end_older(identity)
        return guard

    def _left(self, account: Account, name: str) -> None:
        self.accounts.close(account)
        self._rates.leave(name)
        log.info("disconnected: %s from %s", printable(account.identity.name), account.identity.peer)

    async def reload(self) -> Reloaded:
        """Read everything anew that can change in a running server, and judge every session by it.

        Raises ConfigError for the first thing that is wrong; all stays as it was then.
        """
        async with self._reloading:
            try:
                found, waiting = await asyncio.to_thread(self._read_again)
                if found.ssh is not None and self._ssh is not None:
                    self._ssh.replace(found.ssh.host_keys)
            except ConfigError:
                raise
            except Exception as error:
                log.exception("a reload failed")
                raise ConfigError("reload", f"failed: {error!r}") from None
            if found.tls is not None and self._tls is not None:
                self._tls.replace(found.tls)
            self.configuration = found
            self.clock.know(expiry.own(found.expiries))
            self._look_at_clock()
            self._rates.change(found.settings.max_requests_per_second)
            if found.settings.limits != self._settings_limits:
                self._settings_limits = self._limits = found.settings.limits
                for listener in (self._tls, self._ssh):
                    if listener is not None:
                        listener.limit(self._limits)
            self._judge_by(found.policy)
            return Reloaded(waiting, self._judge_anew())

    def _read_again(self) -> tuple[Configuration, tuple[str, ...]]:
        early = self.clock.seen().wrong is not None
        return configuration.read_again(
            self.configuration, self._load(), self._limits, owner_rights=self._owner_rights, early=early
        )

    def _judge_anew(self) -> int:
        """Judge every session by what holds now, and close the revoked ones; tells how many these were."""
        revoked = self.configuration.revoked
        # each user is looked up once
        lookup = functools.cache(users.lookup)

        def judged(account: Account) -> Identity:
            proven = account.credentials
            identity = self.conclude(proven, lookup)
            if isinstance(proven, TlsCredentials) and self._tls and not self._tls.trusts(proven):
                return invalid(identity, "its issuing CA is not trusted any more")
            return identity

        self.accounts.judge(judged)
        closed = sum(
            end(account, why)
            for account in self.accounts
            if (why := self.configuration.revocation(account.credentials, account.identity))
        )
        self._close_ssh(lambda identity: identity.revoked_as(revoked) is not None)
        return closed

    def kick(self, who: str, by: str) -> int:
        """End all sessions of an identity, or one by its number; tells how many."""
        closed = sum(end(account, f"kicked by {by}") for account in self.accounts.named(who))
        self._close_ssh(lambda identity: identity.name == who)
        return closed

    def _close_ssh(self, wanted: Callable[[Identity], bool]) -> None:
        """End SSH connections by identity: they may have no channel, and so no session."""
        if self._ssh is not None:
            self._ssh.close_where(lambda proof: wanted(conclude(proof, self.policy, users.lookup)))

    async def _watch(self) -> None:
        """Look at what time alone changes: grants that begin or end, sessions that are idle or old."""
        while True:
            again = self.policy.look_again()
            left = _LOOK if again is None else self._judged_at + again - time.monotonic()
            await asyncio.sleep(min(_LOOK, max(_SHORTEST, left)))
            try:
                self._look_at_clock()
                self._crls.look(self.configuration.crls)
                self._descriptors.look()
                self.clock.save_when_due()
                self.accounts.look(self.configuration.settings)
                if again is not None and time.monotonic() >= self._judged_at + again:
                    self._pass_time()
            except Exception:
                log.exception("the sessions could not be looked after")

    def _look_at_clock(self) -> None:
        """Shut the doors that certificates open while the clock can't be right: no date could be judged."""
        wrong = self.clock.look().wrong
        for door in (self._tls, self._ssh):
            if door is not None:
                door.gate.shut = wrong

    def _pass_time(self) -> None:
        """Bring the policy to the present."""
        before = self.policy
        self._judge_by(before)
        changed = [role for role in before.roles if before.rights(role) is not self.policy.rights(role)]
        if changed:
            log.info("by time alone, the rights of these roles have changed: %s", printable(", ".join(changed)))
            self._line("server", state="rights changed by time", roles=", ".join(changed))
            self.accounts.judge(lambda one: one.identity._replace(rights=self.policy.rights(one.identity.role)))

    def _judge_by(self, policy: Policy, latest: float = 0.0) -> None:
        """Judge by a policy as it is now, and by the latest time that was ever seen."""
        self.policy = policy.at(time.time(), latest=max(latest, self.policy.latest))
        self._judged_at = time.monotonic()

    def _ahead(self) -> str | None:
        """Write the latest time that was ever seen, where the clock is behind it: the next start is to know it too."""
        if self.policy.latest <= time.time():
            return None
        latest = wall_time(self.policy.latest)
        log.warning("the clock is behind the trail, which has seen %s: grants that ended before stay ended", latest)
        return latest

    async def hang_up(self) -> None:
        """Reload, as SIGHUP asks; what is wrong is said in the log and the trail. Never raises."""
        await self._commands.hang_up()

    def stop(self, by: str) -> None:
        """Ask the server to stop."""
        self.stopped_by = by
        self.asked_to_stop.set()

    def _refused(self, door: str, peer: str, what: str, proven: Credentials | None = None) -> None:
        if proven is None:
            self._line("refused", door=door, peer=peer, what=what)
        else:
            self._line("refused", self.conclude(proven).who, what=what)

    def _line(self, event: str, who: str = "", /, **facts: object) -> None:
        try:
            self._audit.line(event, who, **facts)
        except AuditError:
            log.error("not in the trail: %s %s", event, facts)

    def record(self, event: str, who: str, **facts: object) -> Future[None] | None:
        """Write a line on what somebody asks of the server itself. Raises AuditError, as `Audit.line` does."""
        return self._audit.line(event, who, **facts)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
