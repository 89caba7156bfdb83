"""How each server of the bench is started: one function each, which takes the lab and returns the running server."""

from __future__ import annotations

import dataclasses
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.lab import MODBUS_READY, SSH_FORWARD_READY, SSH_READY, STUNNEL_READY, TLS_READY, BenchError, Lab, Server
from bench.toolchain import HERE, compiled, tool

ISSUER = "x509:CN=fieldgate-issuing-1"  # what `fieldgate certs init` names its issuing CA
PYMODBUS = HERE / "peers/pymodbus_server.py"
FLOOD = HERE / "peers/flood.py"
UNGUARDED = HERE / "peers/unguarded_server.py"
EVERYTHING = '{ units = "all", read = "all", write = "all" }'


def floor(lab: Lab) -> Server:
    """Start a C loop with a canned reply: nothing can be faster."""
    return lab.serve("floor", [compiled("floor.c")])


def libmodbus(lab: Lab) -> Server:
    """Start libmodbus (C), one client after another."""
    program = compiled(
        "peers/libmodbus_server.c", header="modbus/modbus.h", libraries=("modbus",), package="libmodbus-dev"
    )
    return lab.serve("libmodbus", [program])


def pymodbus(lab: Lab) -> Server:
    """Start pymodbus's TCP server as it is, on asyncio."""
    return lab.serve("pymodbus", [sys.executable, PYMODBUS])


def pymodbus_tls(lab: Lab) -> Server:
    """Start pymodbus's TLS server as it is, on asyncio."""
    return lab.serve("pymodbus", [sys.executable, PYMODBUS, lab.pki.server])


def fieldgate(lab: Lab) -> Server:
    """Start fieldgate's loopback listener, with policy and audit on."""
    return configured(lab, "fieldgate", MODBUS_READY)


def fieldgate_with_metrics(lab: Lab) -> Server:
    """Start fieldgate's loopback listener, with policy, audit and metrics on."""
    return configured(lab, "fieldgate-metrics", MODBUS_READY, "[metrics]\nport = 0\n")


def quick_start(lab: Lab) -> Server:
    """Start fieldgate as nobody has configured it: the owner may do everything, no trail file, no metrics."""
    command = (lab.fieldgate, "server", "run", "--port", "0")
    return lab.serve("quick-start", (*command, "--owner-rights") if os.geteuid() == 0 else command)


def unguarded(lab: Lab) -> Server:
    """Start fieldgate's own framing, functions and tables, with policy, audit and counting taken out."""
    return lab.serve("unguarded", [sys.executable, UNGUARDED])


def with_grants(count: int) -> Callable[[Lab], Server]:
    """Give the start of fieldgate with so many grants for the role that asks, none of which can be joined."""

    def start(lab: Lab) -> Server:
        # the first covers what is asked; with a gap behind each, every one is a run of its own
        more = [f'{{ units = "1", read = "holding {12 + 6 * at}-{16 + 6 * at}" }}' for at in range(count - 1)]
        grants = ", ".join(['{ units = "1", read = "holding 0-9" }', *more])
        return configured(lab, f"fieldgate-{count}-grants", MODBUS_READY, grants=grants)

    return start


def fieldgate_tls(lab: Lab) -> Server:
    """Start fieldgate's TLS door, with policy and audit on."""
    return configured(lab, "fieldgate-tls", TLS_READY, _door(lab, "tls"))


def fieldgate_flooded(lab: Lab) -> Server:
    """Start fieldgate's TLS door, and beside it peers that keep it busy and never authenticate."""
    server = configured(lab, "fieldgate-flooded", TLS_READY, _door(lab, "tls"))
    attackers = lab.start("flood", [sys.executable, FLOOD, str(server.port)], cpu=lab.client_cpu)
    attackers.handle.send_signal(signal.SIGSTOP)
    return dataclasses.replace(server, attackers=(attackers,))


def ssh_forward(lab: Lab) -> Server:
    """Start stock `ssh -L` to fieldgate's SSH door; its CPU time is that of both."""
    program = tool("ssh", "openssh-client")
    behind = _fieldgate_ssh(lab, "ssh-door")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        # ssh can't be told to choose a free port
        port = probe.getsockname()[1]
    forward = ("-v", "-N", "-L", f"127.0.0.1:{port}:localhost:502", "-p", str(behind.port), "127.0.0.1")
    command = (program, *ssh_options(lab), *forward)
    return _behind(lab.serve("ssh-forward", command, ready=SSH_FORWARD_READY), behind)


def forward_ssh(lab: Lab) -> Server:
    """Start `fieldgate tunnel forward` to fieldgate's SSH door; its CPU time is that of both."""
    behind = _fieldgate_ssh(lab, "forward-ssh-door")
    return _behind(_forward(lab, "forward-ssh", f"modbus+ssh://bench@127.0.0.1:{behind.port}"), behind)


def forward_tls(lab: Lab) -> Server:
    """Start `fieldgate tunnel forward` to fieldgate's TLS door; its CPU time is that of both."""
    behind = configured(lab, "forward-tls-door", TLS_READY, _door(lab, "tls"))
    return _behind(_forward(lab, "forward-tls", f"modbus+tls://127.0.0.1:{behind.port}"), behind)


def _forward(lab: Lab, name: str, url: str) -> Server:
    words = ("tunnel", "forward", url, "--identity", lab.pki.client, "--listen", "127.0.0.1:0")
    return lab.serve(name, (lab.fieldgate, *words))


def _fieldgate_ssh(lab: Lab, name: str) -> Server:
    return configured(lab, name, SSH_READY, _door(lab, "ssh"))


def _behind(front: Server, behind: Server) -> Server:
    return dataclasses.replace(front, processes=front.processes + behind.processes)


def _door(lab: Lab, kind: str) -> str:
    return f'\n[{kind}]\nhost = "127.0.0.1"\nport = 0\nidentity = "{lab.pki.server}"\n'


def both_doors(lab: Lab, sessions: int) -> tuple[int, int]:
    """Start fieldgate with room for so many sessions, and give the ports of its TLS and its SSH door."""
    top = f"max_sessions = {sessions}\nmax_sessions_per_identity = {sessions}\n"
    room = f"[limits]\nssh_connections = {sessions}\nssh_connections_per_key = {sessions}\n"
    server = configured(lab, "both-doors", TLS_READY, _door(lab, "tls") + _door(lab, "ssh") + room, top=top)
    found = re.search(SSH_READY, server.processes[0].output(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return server.port, int(found[1])


def ssh_options(lab: Lab) -> list[str]:
    """Give the options of a stock ssh that knows the bench's identity and nothing else."""
    options = ("IdentitiesOnly=yes", "IdentityAgent=none", "GlobalKnownHostsFile=/dev/null", "BatchMode=yes")
    words = [word for option in options for word in ("-o", option)]
    words += ["-o", f"UserKnownHostsFile={lab.pki.client / 'known_hosts'}", "-i", str(lab.pki.client / "ssh-key")]
    return ["-F", "none", *words, "-l", "bench"]


def configured(  # noqa: PLR0913
    lab: Lab, name: str, ready: str, door: str = "", grants: str = EVERYTHING, top: str = ""
) -> Server:
    """Start fieldgate with a settings file of its own: policy and audit on, `door` beside the loopback listener."""
    issuers = f'"{ISSUER}", "{lab.pki.ssh_issuer}"' if "[ssh]" in door else f'"{ISSUER}"'
    user = pwd.getpwuid(os.geteuid()).pw_name
    policy = f"""
[role.bench]
issuers = [{issuers}]
grants = [{grants}]

[identity]
"unix:{user}" = "bench"
"""
    settings = f"""
policy = "policy.toml"
audit = "audit.log"
{top}
[listen]
host = "127.0.0.1"
port = 0
{door}
[[unit]]
id = 1
default = true
holding = {{ size = 1000, initial = 17 }}
"""
    folder = lab.folder / name
    folder.mkdir(mode=0o700)
    _write(folder / "policy.toml", policy)
    config = _write(folder / "server.toml", settings)
    return lab.serve(name, (lab.fieldgate, "server", "run", "--config", config), ready=ready)


def stunnel(lab: Lab) -> Server:
    """Start stunnel in front of the floor; its CPU time is that of both."""
    program = tool("stunnel", "stunnel4")
    behind = floor(lab)
    settings = f"""
foreground = yes
pid =
syslog = no
debug = info
[modbus]
accept = 127.0.0.1:0
connect = 127.0.0.1:{behind.port}
cert = {lab.pki.server / "tls-chain.pem"}
key = {lab.pki.server / "tls-key.pem"}
CAfile = {lab.pki.root}
verifyChain = yes
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
"""
    config = _write(lab.folder / "stunnel.conf", settings)
    front = lab.serve("stunnel", (program, config), ready=STUNNEL_READY)
    return _behind(front, behind)


def haproxy(lab: Lab) -> Server:
    """Start HAProxy in front of the floor; its CPU time is that of both."""
    program = tool("haproxy", "haproxy")
    behind = floor(lab)
    # HAProxy finds the key beside the chain, by this name
    (lab.folder / "site.pem").symlink_to(lab.pki.server / "tls-chain.pem")
    (lab.folder / "site.pem.key").symlink_to(lab.pki.server / "tls-key.pem")
    with socket.create_server(("127.0.0.1", 0)) as door:
        settings = f"""
global
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen modbus
    bind fd@{door.fileno()} ssl crt {lab.folder / "site.pem"} ca-file {lab.pki.root} verify required
    server floor 127.0.0.1:{behind.port}
"""
        config = _write(lab.folder / "haproxy.conf", settings)
        # it cannot take port 0 itself, so it inherits a socket that listens already
        process = lab.start("haproxy", (program, "-f", config), inherit=(door.fileno(),))
        return Server(door.getsockname()[1], (process, *behind.processes))


def python_itself(lab: Lab) -> Server:
    """Start nothing: what is timed is Python, which does nothing."""
    return _command(sys.executable, "-c", "pass")


def help_text(lab: Lab) -> Server:
    """Start nothing: what is timed is `fieldgate --help`."""
    return _command(str(lab.fieldgate), "--help")


def client_read(lab: Lab) -> Server:
    """Time `fieldgate client read` through a tunnel of its own to fieldgate's SSH door."""
    server = _fieldgate_ssh(lab, "fieldgate-ssh")
    url = f"modbus+ssh://bench@127.0.0.1:{server.port}"
    command = _command(str(lab.fieldgate), "client", "read", url, "--identity", str(lab.pki.client))
    return dataclasses.replace(server, ask=command.ask)


def mbpoll_through_ssh(lab: Lab) -> Server:
    """Time OpenSSH's tunnel to the same door, opened anew, and mbpoll through it."""
    mbpoll, ssh = str(tool("mbpoll", "mbpoll")), str(tool("ssh", "openssh-client"))
    server = _fieldgate_ssh(lab, "fieldgate-ssh-mbpoll")
    key = lab.pki.client / "ssh-key"
    options = [f"UserKnownHostsFile={lab.pki.client / 'known_hosts'}", f"CertificateFile={key}-cert.pub"]
    options += ["IdentitiesOnly=yes", "BatchMode=yes", "GlobalKnownHostsFile=/dev/null"]

    def ask() -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        command = [ssh, "-v", "-F", "none", "-N", "-L", f"127.0.0.1:{port}:localhost:502", "-i", str(key)]
        command += [*(word for option in options for word in ("-o", option)), "-p", str(server.port), "bench@127.0.0.1"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as tunnel:
            try:
                if tunnel.stderr is None or not any(b"Entering interactive" in line for line in tunnel.stderr):
                    raise BenchError("ssh opened no tunnel")
                _run(mbpoll, "-1", "-p", port, "127.0.0.1")
            finally:
                tunnel.terminate()

    return dataclasses.replace(server, ask=ask)


def _command(*words: str) -> Server:
    return Server(0, (), ask=lambda: _run(*words))


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise BenchError(f"{words[0]} ended with code {done.returncode}: {done.stderr.strip()}")


def _write(file: Path, text: str) -> Path:
    file.write_text(text.lstrip())
    return file
