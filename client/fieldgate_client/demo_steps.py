"""What `fieldgate demo` shows: every step a real command as a process of its own, its outcome compared."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from fieldgate_client.demo_site import (
    AUDIT,
    INPUTS,
    LOG,
    MISLED,
    OPERATOR,
    STRANGER,
    VIEWER,
    Server,
    done,
    fieldgate,
    issuers,
    lasting_user,
    mix_identities,
    serving,
    write_settings,
)
from fieldgate_client.steps import Steps, WrongError, wrapped
from fieldgate_core.errors import EXIT_EXCEPTION_REPLY, EXIT_OK, EXIT_TUNNEL

EXIT_WRONG = 1
COIL = ("-t", "0")
HOLDING = ("-t", "4")
INPUT = ("-t", "3")
AUDIT_DEADLINE = 10.0
"""Seconds until the trail holds what happened: a refused handshake is written after the client knows."""


async def run(*, keep: bool) -> int:
    """Run the demo, a line each step, and clean up in every case. Returns 0 only if every step came out as told."""
    steps = Steps()
    with TemporaryDirectory(prefix="fieldgate-demo-") as name:
        folder = Path(name)
        steps.say(f"fieldgate demo, in {folder}")
        async with AsyncExitStack() as stack:
            user = lasting_user()
            server = await _start(folder, steps, stack, user)
            if server:
                await _show(folder, steps, server.ports, user)
            _tell_outcome(folder, steps)
            if server and keep:
                await _keep(folder, steps, server, user)
    steps.say(f"stopped the server, and removed {folder}")
    return EXIT_WRONG if steps.failed else EXIT_OK


async def _start(folder: Path, steps: Steps, stack: AsyncExitStack, user: str | None) -> Server | None:
    """Make the certificates and start the server; None if one of these steps failed."""
    steps.say("\ncertificates")
    made: list[str] = []
    with steps.step("make a PKI: CAs for the TLS door, and CAs for the SSH door"):
        made = issuers(await done(folder, "certs", "init", "pki"))
    with steps.step("issue to the server, for 127.0.0.1"):
        await done(folder, "certs", "issue", "server", "box", "--ip", "127.0.0.1", "--dir", "pki")
    for name, role in (("ana", "operator"), ("vic", "viewer")):
        with steps.step(f"issue to {name}, role {role}"):
            await done(folder, "certs", "issue", "client", name, "--role", role, "--dir", "pki")
    with steps.step("make another PKI with the same names, and issue to mal, role operator"):
        await done(folder, "certs", "init", "other-pki")
        await done(folder, "certs", "issue", "client", "mal", "--role", "operator", "--dir", "other-pki")
    if steps.failed:
        return None

    steps.say("\nserver")
    write_settings(folder, made, user)
    mix_identities(folder, "other-pki/issued/client/mal/current")
    server = None
    with steps.step("start it") as step:
        server = await stack.enter_async_context(serving(folder))
        step.result = "127.0.0.1, " + ", ".join(f"{door} on port {port}" for door, port in server.ports.items())
    return server


async def _show(folder: Path, steps: Steps, ports: dict[str, int], user: str | None) -> None:
    ssh, tls, local = (
        f"modbus+ssh://operator@127.0.0.1:{ports['ssh']}",
        f"modbus+tls://127.0.0.1:{ports['tls']}",
        f"modbus://127.0.0.1:{ports['modbus']}",
    )
    ask = partial(_Client, folder, steps)
    operators = [ask("SSH: ana", ssh, OPERATOR), ask("TLS: ana", tls, OPERATOR)]
    operators += [ask(f"loopback: {user}", local)] if user else []
    viewers = [ask("SSH: vic", ssh.replace("operator", "viewer"), VIEWER), ask("TLS: vic", tls, VIEWER)]

    steps.say("\nwhat operators may do")
    last: list[int] = []
    for turn, client in enumerate(operators, 1):
        last = [11 * turn, 22 * turn, 33 * turn]
        await client.writes("a coil", COIL, [turn % 2])
        await client.writes("three registers", HOLDING, last)
        await client.reads("three input registers", INPUT, list(INPUTS))
    if not user:
        steps.say("loopback is left out: your uid has no lasting name that a policy could hold")

    steps.say("\nwhat is refused")
    for client in viewers:
        await client.refused(
            "as viewer may not write", EXIT_EXCEPTION_REPLY, "exception 01", "write", "--yes", *HOLDING, "99"
        )
        await client.reads("three registers, as they were", HOLDING, last)
    for who, url, identity, words, says in (
        ("SSH: mal", ssh, STRANGER, "has a certificate of another CA", "server does not accept our key or cert"),
        ("TLS: mal", tls, STRANGER, "has a certificate of another CA", "server does not accept our certificate"),
        ("SSH: ana", ssh, MISLED, "trusts another CA, not this server's", "host key is not accepted"),
        ("TLS: ana", tls, MISLED, "trusts another CA, not this server's", "server's certificate is not accepted"),
    ):
        await ask(who, url, identity).refused(words, EXIT_TUNNEL, says, "read")

    steps.say("\nthe trail")
    doors = ["ssh", "tls", *(["loopback"] if user else [])]
    expected = {rf"event=write .*door={door} .*outcome=done": 2 for door in doors}
    expected |= {rf"event=refused .*role=viewer door={door} .*exception=01": 1 for door in ("ssh", "tls")}
    expected |= {rf"event=refused door={door} ": 2 for door in ("ssh", "tls")}
    with steps.step("it holds the writes through every door, and the refusals"):
        await _trail(folder / AUDIT, expected)
    lines = _lines(folder / AUDIT)
    told = [line for line in lines if "event=session" not in line]
    for line in told:
        steps.say(wrapped(line, 4))
    steps.say(f"    and {len(lines) - len(told)} lines of sessions opened and closed")


class _Client:
    """One client at one door; each thing that it asks for is a step."""

    def __init__(self, folder: Path, steps: Steps, who: str, url: str, identity: str = "") -> None:
        self._folder = folder
        self._steps = steps
        self._who = who
        self._where = (url, "--identity", identity) if identity else (url,)

    async def writes(self, what: str, cells: tuple[str, ...], values: list[int]) -> None:
        with self._steps.step(f"{self._who} writes {what} and reads back") as step:
            await done(self._folder, "client", "write", "--yes", *self._where, *cells, *map(str, values))
            step.result = await self._read(cells, values)

    async def reads(self, what: str, cells: tuple[str, ...], values: list[int]) -> None:
        with self._steps.step(f"{self._who} reads {what}") as step:
            step.result = await self._read(cells, values)

    async def _read(self, cells: tuple[str, ...], values: list[int]) -> str:
        out = await done(self._folder, "client", "read", *self._where, *cells, "-c", str(len(values)))
        found = [int(value) for value in re.findall(r"^\[\d+\]: \t(\d+)", out, re.MULTILINE)]
        if found != values:
            raise WrongError(f"expected {values}, and read {found}")
        return " ".join(map(str, found))

    async def refused(self, words: str, code: int, says: str, verb: str, *rest: str) -> None:
        """Run a client command that must end with `code` and an error that says `says`."""
        with self._steps.step(f"{self._who} {words}") as step:
            ran = await fieldgate(self._folder, "client", verb, *self._where, *rest)
            if ran.code != code or says not in ran.err or ran.out:
                raise WrongError(f"expected exit code {code} and {says!r}\n{ran}")
            step.result = f"refused, exit {code}"


async def _trail(file: Path, expected: dict[str, int]) -> None:
    """Wait until the trail holds as many lines as expected for each pattern. Raises WrongError if it does not."""
    try:
        async with asyncio.timeout(AUDIT_DEADLINE):
            while _missing(file, expected):  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise WrongError("\n".join(f"missing: {pattern}" for pattern in _missing(file, expected))) from None


def _missing(file: Path, expected: dict[str, int]) -> list[str]:
    lines = _lines(file)
    return [pattern for pattern, count in expected.items() if sum(bool(re.search(pattern, x)) for x in lines) < count]


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8", errors="replace").splitlines()


def _tell_outcome(folder: Path, steps: Steps) -> None:
    log = folder / LOG
    if steps.failed and log.exists():
        steps.say("\nthe server's log")
        for line in _lines(log) or ["(empty)"]:
            steps.say(wrapped(line, 4))
    steps.say(f"\n{steps.failed} FAILED" if steps.failed else "\nevery step came out as it should")


async def _keep(folder: Path, steps: Steps, server: Server, user: str | None) -> None:
    """Print commands to try, and leave the server running until Ctrl-C or its own end."""
    installed = Path(sys.executable).with_name("fieldgate")
    command = "fieldgate" if shutil.which("fieldgate") else shlex.quote(str(installed))
    ports = server.ports
    local = f"""
as the local user {user}, without a tunnel:

  {command} client read modbus://127.0.0.1:{ports["modbus"]} -c 3
  mbpoll -1 -p {ports["modbus"]} 127.0.0.1
"""
    steps.say(f"""
The server is left running until you press Ctrl-C. From another terminal:

  cd {shlex.quote(str(folder))}

  {command} client read modbus+ssh://operator@127.0.0.1:{ports["ssh"]} \\
    --identity {OPERATOR} -c 3
  {command} client write modbus+tls://127.0.0.1:{ports["tls"]} \\
    --identity {OPERATOR} -r 1 42 --yes
  {command} client demo modbus+tls://127.0.0.1:{ports["tls"]} \\
    --identity {OPERATOR}
  {command} client write modbus+tls://127.0.0.1:{ports["tls"]} \\
    --identity {VIEWER} -r 1 43 --yes      # refused

with other programs, through OpenSSH's own tunnel:

  ssh -N -L 15020:localhost:502 -p {ports["ssh"]} \\
    -i {OPERATOR}/ssh-key \\
    -o UserKnownHostsFile={OPERATOR}/known_hosts \\
    operator@127.0.0.1 &
  mbpoll -1 -p 15020 127.0.0.1
{local if user else ""}
and to see who did what:

  tail -f {AUDIT}
""")
    try:
        await server.process.wait()
    except asyncio.CancelledError:
        return  # Ctrl-C, as told
    steps.failed += 1
    steps.say("the server ended by itself")
    _tell_outcome(folder, steps)
