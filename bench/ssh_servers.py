"""The two ends of the SSH row: stock `ssh -L` to fieldgate's door, and to sshd in front of fieldgate's loopback."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
from pathlib import Path

from bench.lab import MODBUS_READY, BenchError, Lab, Server
from bench.servers import configured
from bench.toolchain import tool

DOOR_READY = r"^listening: ssh 127\.0\.0\.1:(\d+)$.*^ready$"
SSHD_READY = r"^Server listening on 127\.0\.0\.1 port (\d+)\."
FORWARD_READY = r"Local forwarding listening on 127\.0\.0\.1 port (\d+)\..*Entering interactive session"


def fieldgate_ssh(lab: Lab) -> Server:
    """Start fieldgate's SSH door, with policy and audit on, and a stock `ssh -L` to it."""
    door = f'[ssh]\nhost = "127.0.0.1"\nport = 0\nidentity = "{lab.pki.server}"\n'
    server = configured(lab, "fieldgate-ssh", DOOR_READY, door)
    return _forward(lab, "ssh-to-fieldgate", server, "bench", "localhost:502", lab.pki.client)


def sshd(lab: Lab) -> Server:
    """Start a stock sshd in front of fieldgate's loopback listener, and a stock `ssh -L` to it."""
    program = tool("sshd", "openssh-server")
    behind = configured(lab, "fieldgate-behind", MODBUS_READY)
    folder = lab.folder / "sshd"
    folder.mkdir(mode=0o700)
    for name in ("host-key", "ssh-key"):
        _run(tool("ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    (folder / "known_hosts").write_text(f"* {(folder / 'host-key.pub').read_text()}")
    port = _free_port()
    config = folder / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host-key\nAuthorizedKeysFile {folder}/ssh-key.pub\n"
        f"PidFile none\nUsePAM no\nStrictModes no\nPermitOpen 127.0.0.1:{behind.port}\n"
    )
    if os.geteuid() == 0:
        # Debian's service makes it, and sshd insists on it
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    front = lab.serve("sshd", (program, "-D", "-e", "-f", config), ready=SSHD_READY)
    user = pwd.getpwuid(os.geteuid()).pw_name
    server = Server(front.port, front.processes + behind.processes)
    return _forward(lab, "ssh-to-sshd", server, user, f"127.0.0.1:{behind.port}", folder)


def _forward(lab: Lab, name: str, server: Server, login: str, target: str, identity: Path) -> Server:  # noqa: PLR0913
    """Start `ssh -L` with the key, certificate and known_hosts of a folder; gives its local port."""
    options = {
        "IdentityFile": identity / "ssh-key",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": identity / "known_hosts",
        "BatchMode": "yes",
        "ExitOnForwardFailure": "yes",
    }
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    where = ["-L", f"127.0.0.1:{_free_port()}:{target}", "-p", str(server.port), "-l", login, "127.0.0.1"]
    command = (tool("ssh", "openssh-client"), "-F", "none", "-v", "-N", *words, *where)
    front = lab.serve(name, command, ready=FORWARD_READY)
    return Server(front.port, front.processes + server.processes)


def _free_port() -> int:
    """Give a port that was free a moment ago: neither ssh nor sshd can choose one and say which."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise BenchError(f"{command[0]} failed: {done.stderr.strip()}")
    return done.stdout
