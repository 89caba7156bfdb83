"""Linux users of one box, directly and through a real sshd with `ssh -L`: each has the rights of its own role."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from support.api import PATIENCE, wait_until
from support.asking import stock_options
from support.site import ALL_RIGHTS, TABLES_OF_THE_VECTORS, Pki, write_files
from support.started import Started, framed, starting
from support.stock_sshd import privilege_separation
from support.tools import tool

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make Linux users and run an sshd for them")

TOOLS = ("ssh", "ssh-keygen", "sshd", "useradd", "userdel", "groupadd", "groupdel")
"""Stock tools that these tests need (conftest.py)."""

TOKEN = f"fgt-{secrets.token_hex(4)}"
"""Begins the names of users and groups, so that nobody else's are touched."""
VIEWERS, OPERATORS, UNNAMED = (f"{TOKEN}-{name}" for name in ("viewers", "operators", "unnamed"))
GROUPS = {VIEWERS: "viewer", OPERATORS: "operator"}
USERS = {
    "operator": [UNNAMED],
    "viewer": [UNNAMED, VIEWERS],
    "torn": [VIEWERS, OPERATORS],
    "clerk": [VIEWERS, OPERATORS],
}
"""The groups of each user, the first its primary one; the policy names operator and clerk themselves."""

READ, READ_COIL, WRITE, WRITE_COIL = "03 00 05 00 01", "01 00 03 00 01", "06 00 05 12 34", "05 00 03 00 00"
REQUESTS = (READ, READ_COIL, WRITE, WRITE_COIL)
BEFORE = ["03 02 00 11", "01 01 01"]
"""What both reads answer before anybody has written."""
REFUSED = ["83 01", "81 01", "86 01", "85 01"]


class Expected(NamedTuple):
    """The role of a user in the trail, the replies to all requests, and what both reads answer afterwards."""

    role: str
    replies: list[str]
    after: list[str]


EXPECTED = {
    "operator": Expected("operator", [*BEFORE, WRITE, WRITE_COIL], ["03 02 12 34", "01 01 00"]),
    "viewer": Expected("viewer", [*BEFORE, *REFUSED[2:]], BEFORE),
    "torn": Expected("INVALID", REFUSED, BEFORE),
    "clerk": Expected("clerk", [BEFORE[0], REFUSED[1], WRITE, REFUSED[3]], ["03 02 12 34", BEFORE[1]]),
}

CLERK = '[{ units = "1", read = "holding 0-9", write = "holding 5" }]'

ASK = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), float(sys.argv[2])) as connection:
    connection.sendall(bytes.fromhex(sys.argv[3]))
    stream = connection.makefile("rb")
    for _ in range(int(sys.argv[4])):
        head = stream.read(7)
        print(stream.read(int.from_bytes(head[4:6], "big") - 1).hex(" "))
"""


def name_of(user: str) -> str:
    """Give the name that a user has on this machine."""
    return f"{TOKEN}-{user}"


def ask_as(uid: int, gid: int, port: int, *pdus: str) -> list[str]:
    """Send requests to unit 1 from a process of a user, and give the replies; PDUs as hexadecimal text."""
    # other users may well not be allowed to run the tests' interpreter
    python = shutil.which("python3", path="/usr/bin:/bin")
    if python is None:
        pytest.skip("other users cannot run this Python, and there is none in /usr/bin")
    frames = b"".join(framed(pdu) for pdu in pdus).hex()
    ended = subprocess.run(
        [python, "-I", "-c", ASK, str(port), str(PATIENCE), frames, str(len(pdus))],
        user=uid,
        group=gid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def removed(command: str, name: str) -> None:
    """Remove a user or group, when its last process is gone."""
    wait_until(lambda: subprocess.run([command, name], capture_output=True, check=False).returncode == 0)


@pytest.fixture(scope="module")
def users() -> Iterator[None]:
    """Users and groups that are nobody else's, until the last test has ended."""
    with contextlib.ExitStack() as stack:
        for group in (VIEWERS, OPERATORS, UNNAMED):
            subprocess.run(["groupadd", group], check=True)
            stack.callback(removed, "groupdel", group)
        for user, (first, *others) in USERS.items():
            # the password matches nothing, and unlike the usual "!" locks no account out of sshd
            options = ["--no-create-home", "--home-dir", "/", "--shell", "/usr/sbin/nologin", "--password", "*"]
            groups = ["--gid", first, "--groups", ",".join(others)]
            subprocess.run(["useradd", *options, *groups, name_of(user)], check=True)
            stack.callback(removed, "userdel", name_of(user))
        yield


@pytest.fixture
def server(users: None, site_pki: Pki, tmp_path: Path) -> Iterator[Started]:
    """A server where root is an operator too, so that who only reaches it through root's process would be."""
    grants = {"operator": ALL_RIGHTS, "viewer": '[{ units = "all", read = "all" }]', "clerk": CLERK}
    file = write_files(site_pki, tmp_path, user="root", grants=grants, units=TABLES_OF_THE_VECTORS, extra="")
    with (tmp_path / "policy.toml").open("a") as policy:
        policy.write("".join(f'"group:{group}" = "{role}"\n' for group, role in GROUPS.items()))
        policy.write("".join(f'"unix:{name_of(user)}" = "{user}"\n' for user in ("operator", "clerk")))
    with starting(tmp_path, "--config", str(file)) as running:
        running.wait_ready()
        yield running


def free_port() -> int:
    """Give a port that was free a moment ago: neither ssh nor sshd can be told to choose one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def keygen(file: Path) -> str:
    """Make a key, and give its public line."""
    subprocess.run([tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(file)], check=True)
    return file.with_suffix(".pub").read_text()


@contextlib.contextmanager
def saying(command: list[str], text: str, log: Path) -> Iterator[None]:
    """Run a tool until the block ends, which begins when it has said this on its standard error."""
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr) as process,
    ):
        try:
            wait_until(lambda: text in log.read_text() or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()


@contextlib.contextmanager
def sshd(folder: Path, modbus: int) -> Iterator[int]:
    """Run a stock sshd that forwards to the server's plain port and does nothing else; gives its port."""
    port = free_port()
    file = folder / "sshd_config"
    host_key = keygen(folder / "host-key")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    file.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host-key\nPidFile none\nUsePAM no\n"
        # /tmp is everybody's to write
        f"StrictModes no\nAuthorizedKeysFile {folder}/%u.pub\nAuthenticationMethods publickey\n"
        f"AllowTcpForwarding no\nMatch User {TOKEN}-*\n"
        f"AllowTcpForwarding local\nPermitOpen 127.0.0.1:{modbus} localhost:{modbus} [::1]:{modbus}\n"
        "AllowStreamLocalForwarding no\nMaxSessions 0\nAllowAgentForwarding no\nX11Forwarding no\n"
        "PermitTunnel no\nPermitTTY no\n"
    )
    command = [tool("sshd"), "-D", "-e", "-f", str(file)]
    with privilege_separation(), saying(command, "Server listening on", folder / "sshd.log"):
        yield port


@contextlib.contextmanager
def forwarded(user: str, modbus: int) -> Iterator[int]:
    """Give the port of an `ssh -L` that has logged in as a user."""
    with tempfile.TemporaryDirectory(prefix="fieldgate-sshd-") as made:
        folder = Path(made)
        # sshd looks for authorized keys as the user
        folder.chmod(0o755)
        login = name_of(user)
        public = keygen(folder / "ssh-key")
        (folder / f"{login}.pub").write_text(f"restrict,port-forwarding {public}")
        with sshd(folder, modbus) as door:
            port = free_port()
            forward = ["-v", "-N", "-L", f"127.0.0.1:{port}:127.0.0.1:{modbus}"]
            where = ["-p", str(door), "-l", login, "127.0.0.1"]
            command = [tool("ssh"), *stock_options(folder), *forward, *where]
            with saying(command, "Entering interactive session", folder / "ssh.log"):
                yield port


def replies_of(user: str, way: str, server: Started) -> list[str]:
    """Send all requests as a user: from a process of its own, or from one of root's through its login."""
    modbus = server.ports["modbus"]
    if way == "directly":
        entry = pwd.getpwnam(name_of(user))
        return ask_as(entry.pw_uid, entry.pw_gid, modbus, *REQUESTS)
    with forwarded(user, modbus) as port:
        return ask_as(0, 0, port, *REQUESTS)


@pytest.mark.parametrize("way", ["directly", "through sshd"])
@pytest.mark.parametrize("user", USERS)
def test_each_user_has_the_rights_of_its_own_role(user: str, way: str, server: Started, tmp_path: Path) -> None:
    expected = EXPECTED[user]
    assert replies_of(user, way, server) == expected.replies
    who = f"identity=unix:{name_of(user)} role={expected.role} door=loopback "
    server.wait_log(f"disconnected: unix:{name_of(user)} ")
    # nobody else has asked anything, root included
    lines = [line for line in (tmp_path / "audit.log").read_text().splitlines() if "identity=" in line]
    assert [line for line in lines if who not in line] == []
    assert server.ask(READ, READ_COIL) == expected.after
    refused = [line for line in lines if "event=refused" in line]
    assert len(refused) == sum(reply.endswith(" 01") and reply[0] == "8" for reply in expected.replies)
    assert all("exception=01" in line for line in refused)
    if user == "torn":
        assert all('why="its groups have different roles: operator, viewer"' in line for line in refused)
    done = [line for line in lines if "event=write" in line and "outcome=done" in line]
    assert len(done) == sum(request in expected.replies for request in (WRITE, WRITE_COIL))
