"""The place where a bench runs: start pinned servers, wait until they are ready, load them, and stop them all."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.toolchain import NotInstalledError, compiled

START_SECONDS = 20.0
STOP_SECONDS = 5.0
WARM_UP_SECONDS = 0.3  # of attackers
STALL_SECONDS = 2.0  # of the load generator: no reply for so long ends a run
# What a server prints when it is ready, as a pattern whose group is the port to ask.
MODBUS_READY = r"^listening: modbus 127\.0\.0\.1:(\d+)$.*^ready$"
TLS_READY = r"^listening: tls 127\.0\.0\.1:(\d+)$.*^ready$"
SSH_READY = r"^listening: ssh 127\.0\.0\.1:(\d+)$.*^ready$"
SSH_FORWARD_READY = r"Local forwarding listening on 127\.0\.0\.1 port (\d+)\..*Entering interactive session"
STUNNEL_READY = r"bound to 127\.0\.0\.1:(\d+)$"


class BenchError(Exception):
    """A server did not start, or did not answer as it must; one line, and the end of its log."""


@dataclass(frozen=True)
class Shape:
    """What the load generator does: how many `connections`, requests on the way on each (`depth`), and `tls` or not.

    `anew`: each request has a connection of its own, and its latency begins before that is set up.
    `beside`: the client has a CPU of its own. Otherwise it shares the server's, so that latency is the sum of all CPU
    work and no wake-up of another CPU is in it.
    """

    connections: int = 1
    depth: int = 1
    tls: bool = False
    beside: bool = False
    anew: bool = False


@dataclass(frozen=True)
class Sample:
    """What one run of the load generator gave. `cpu_us` is the servers' CPU time a request, all processes together.

    `complaint` is the first error in words, `tls` the version and cipher suite; empty when there is none.
    """

    sent: int
    answered: int
    errors: int
    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float
    tls: str
    complaint: str


@dataclass(frozen=True)
class Process:
    """A started process, and the file `log` that its output goes to."""

    handle: subprocess.Popen[bytes]
    log: Path

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far by all threads, ended ones included, to the nanosecond."""
        # clock_getcpuclockid(3) as Linux defines it, which Python has for threads only; 2 is CPUCLOCK_SCHED
        return time.clock_gettime(~self.handle.pid << 3 | 2)

    def check(self) -> None:
        """Raise BenchError when the process has ended."""
        if (code := self.handle.poll()) is not None:
            raise BenchError(f"{self.log.stem} ended with code {code}; its last words:\n{_last_lines(self.output())}")

    def output(self) -> str:
        """Return what the process has printed so far."""
        return self.log.read_text(errors="replace")


@dataclass(frozen=True)
class Server:
    """A running server: the `port` to ask, and the `processes` whose CPU time it costs.

    `attackers` are processes that are at it only while this server is loaded.
    """

    port: int
    processes: tuple[Process, ...]
    attackers: tuple[Process, ...] = ()
    ask: Callable[[], None] | None = None
    """A command that is timed from its start to its end, in place of the load generator; raises BenchError."""

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far. Raises BenchError when a process has ended."""
        for process in self.processes:
            process.check()
        return sum(process.cpu_seconds() for process in self.processes)


@dataclass(frozen=True)
class Pki:
    """Identity folders: the `server`'s and the `client`'s."""

    server: Path
    client: Path

    @property
    def root(self) -> Path:
        """The root CA, for a peer that cannot trust an issuing CA alone, as `tls-client-ca.pem` asks."""
        return self.client / "tls-server-ca.pem"

    @property
    def ssh_issuer(self) -> str:
        """The CA of SSH users, as a policy names it."""
        # the folder that `fieldgate certs` has made: issued/client/NAME/current is in it
        key = (self.client.parents[3] / "ssh/user-ca.pub").read_text().split()[1]
        digest = base64.b64encode(hashlib.sha256(base64.b64decode(key)).digest()).decode().rstrip("=")
        return f"ssh-ca:SHA256:{digest}"


class Lab:
    """Owns the processes of one bench, and `folder`, where they keep their files; leaving it stops them all.

    Raises NotInstalledError when the load generator cannot be built here.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        cpus = sorted(os.sched_getaffinity(0))
        self.server_cpu, self.client_cpu = cpus[-1], cpus[0]
        self.generator = compiled("load.c", header="openssl/ssl.h", libraries=("ssl", "crypto"), package="libssl-dev")
        self._running: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop what runs, the last started first; what does not end in time is killed."""
        while self._running:
            process = self._running[-1].handle
            process.terminate()
            # an attacker stands still, and would not notice
            process.send_signal(signal.SIGCONT)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._running.pop()

    def start(
        self, name: str, command: Sequence[str | Path], *, inherit: tuple[int, ...] = (), cpu: int | None = None
    ) -> Process:
        """Start a process, with the file descriptors `inherit`; its output goes to NAME.log.

        It runs on the servers' CPU, or on `cpu`.
        """
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            handle = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                pass_fds=inherit,
                start_new_session=True,
                preexec_fn=_pinned(self.server_cpu if cpu is None else cpu),
            )
        process = Process(handle, log)
        self._running.append(process)
        return process

    def serve(self, name: str, command: Sequence[str | Path], *, ready: str = MODBUS_READY) -> Server:
        """Start a server, and wait until its output matches `ready`, whose group is the port.

        Raises BenchError when it ends before, or is not ready within 20 s.
        """
        process = self.start(name, command)
        deadline = time.monotonic() + START_SECONDS
        while not (found := re.search(ready, process.output(), re.MULTILINE | re.DOTALL)):
            process.check()
            if time.monotonic() > deadline:
                words = _last_lines(process.output())
                raise BenchError(f"{name} was not ready within {START_SECONDS:g} s; its last words:\n{words}")
            time.sleep(0.01)
        return Server(int(found[1]), (process,))

    def load(self, server: Server, shape: Shape, *, seconds: float = 0, requests: int = 0) -> Sample:
        """Run the load generator for `seconds`, or for so many `requests`. Raises BenchError when it cannot start."""
        if server.ask is not None:
            return _timed(server.ask, seconds, requests)
        bound = ["--requests", str(requests)] if requests else ["--seconds", str(seconds)]
        command = [str(self.generator), "--port", str(server.port), "--timeout", str(STALL_SECONDS), *bound]
        command += ["--connections", str(shape.connections), "--depth", str(shape.depth)]
        if shape.tls:
            folder = self.pki.client
            command += ["--cert", str(folder / "tls-chain.pem"), "--key", str(folder / "tls-key.pem")]
            command += ["--ca", str(folder / "tls-server-ca.pem")]
        if shape.anew:
            command.append("--anew")
        cpu = self.client_cpu if shape.beside else self.server_cpu
        before = server.cpu_seconds()
        with _at_it(server.attackers):
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, start_new_session=True, preexec_fn=_pinned(cpu)
            )
        used = server.cpu_seconds() - before
        if not done.stdout:
            raise BenchError(done.stderr.strip() or f"load ended with code {done.returncode}")
        said = json.loads(done.stdout)
        answered = int(said["requests"])
        return Sample(
            sent=int(said["sent"]),
            answered=answered,
            errors=int(said["errors"]),
            per_second=float(said["per_second"]),
            p50_us=float(said["p50_us"] or 0),
            p99_us=float(said["p99_us"] or 0),
            cpu_us=used / max(answered, 1) * 1e6,
            tls=str(said["tls"] or ""),
            complaint=done.stderr.strip(),
        )

    @property
    def fieldgate(self) -> Path:
        """The `fieldgate` command of this Python. Raises NotInstalledError."""
        command = Path(sys.executable).with_name("fieldgate")
        if not command.exists():
            raise NotInstalledError(f"{command} is not there: {sys.executable} -m pip install -e .")
        return command

    @cached_property
    def pki(self) -> Pki:
        """A throw-away PKI made by `fieldgate certs`. Raises BenchError."""
        folder = self.folder / "pki"
        server = ("issue", "server", "bench", "--ip", "127.0.0.1", "--dns", "localhost", "--dir", str(folder))
        client = ("issue", "client", "bench", "--role", "bench", "--dir", str(folder))
        for words in (("init", str(folder)), server, client):
            command = [str(self.fieldgate), "certs", *words]
            done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
            if done.returncode:
                raise BenchError(f"fieldgate certs {words[0]} failed:\n{_last_lines(done.stderr)}")
        return Pki(folder / "issued/server/bench/current", folder / "issued/client/bench/current")


@contextlib.contextmanager
def _at_it(attackers: Sequence[Process]) -> Iterator[None]:
    """Let attackers attack for the block, and for a moment before; they stand still otherwise."""
    for attacker in attackers:
        attacker.check()
        attacker.handle.send_signal(signal.SIGCONT)
    if attackers:
        time.sleep(WARM_UP_SECONDS)
    try:
        yield
    finally:
        for attacker in attackers:
            attacker.check()
            attacker.handle.send_signal(signal.SIGSTOP)


def _timed(ask: Callable[[], None], seconds: float, requests: int) -> Sample:
    """Run a command again and again, for `seconds` or so many times; it costs no server any CPU time that counts."""
    took: list[float] = []
    end = time.monotonic() + seconds
    while len(took) < max(requests, 1) or (not requests and time.monotonic() < end):
        start = time.perf_counter()
        ask()
        took.append(time.perf_counter() - start)
    took.sort()
    middle, late = took[len(took) // 2], took[-1]
    return Sample(len(took), len(took), 0, len(took) / sum(took), middle * 1e6, late * 1e6, 0.0, "", "")


def _pinned(cpu: int) -> Callable[[], None]:
    """Return what a child does before it runs: stay on `cpu`, and die with this process even when that is killed."""
    prctl = ctypes.CDLL(None).prctl
    set_parent_death_signal = 1

    def prepare() -> None:
        os.sched_setaffinity(0, {cpu})
        prctl(set_parent_death_signal, signal.SIGKILL)

    return prepare


def _last_lines(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-5:])
