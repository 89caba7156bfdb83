"""A real sshd, Linux users that exist for a test, and keys for both; only root can run these."""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support.api import wait_until
from support.tools import tool

TOOLS = ("ssh", "ssh-keygen", "sshd", "useradd", "userdel")
"""Stock tools that this module needs (conftest.py)."""


def free_port() -> int:
    """Give a port that was free a moment ago: neither ssh nor sshd can be told to choose one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def keygen(file: Path, kind: str = "ed25519", passphrase: str = "") -> str:
    """Make a key, and give its public line."""
    options = ["-q", "-t", kind, "-N", passphrase, "-C", "", "-f", str(file)]
    subprocess.run([tool("ssh-keygen"), *options], check=True, stdin=subprocess.DEVNULL)
    return file.with_suffix(".pub").read_text()


@contextlib.contextmanager
def linux_user(*groups: str) -> Iterator[str]:
    """Make a user that nobody can have made before, with a login shell; gives its name."""
    name = f"fgt-{secrets.token_hex(4)}"
    # the password matches nothing, and unlike the usual "!" locks no account out of sshd
    options = ["--no-create-home", "--home-dir", "/", "--shell", "/bin/sh", "--password", "*"]
    more = ["--groups", ",".join(groups)] if groups else []
    subprocess.run([tool("useradd"), *options, *more, name], check=True)
    try:
        yield name
    finally:
        # by force: a session of sshd's may still be about to end, and the user would stay for ever
        subprocess.run([tool("userdel"), "--force", name], check=False, capture_output=True)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """Give a folder that every user can enter: sshd looks for authorized keys as the user who logs in."""
    with tempfile.TemporaryDirectory(prefix="fieldgate-sshd-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder


@contextlib.contextmanager
def sshd(folder: Path, settings: str) -> Iterator[int]:
    """Run an sshd with these settings and a host key of its own, FOLDER/host-key; gives its port."""
    port = free_port()
    if not (folder / "host-key").exists():
        keygen(folder / "host-key")
    file = folder / "sshd_config"
    # /tmp is everybody's to write
    file.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host-key\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthenticationMethods publickey\nAuthorizedKeysFile {folder}/%u.keys\n{settings}"
    )
    log = folder / "sshd.log"
    command = [tool("sshd"), "-D", "-e", "-f", str(file)]
    with (
        privilege_separation(),
        log.open("w") as stderr,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr) as process,
    ):
        try:
            wait_until(lambda: "Server listening on" in log.read_text() or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield port
        finally:
            process.terminate()


@contextlib.contextmanager
def privilege_separation() -> Iterator[None]:
    """See to the empty folder that sshd insists on, which on Debian its service makes."""
    folder = Path("/run/sshd")
    made = not folder.exists()
    folder.mkdir(mode=0o755, exist_ok=True)
    try:
        yield
    finally:
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def linux_group() -> Iterator[str]:
    """Make a group that nobody can have made before; gives its name."""
    name = f"fgt-{secrets.token_hex(4)}"
    subprocess.run([tool("groupadd"), name], check=True)
    try:
        yield name
    finally:
        subprocess.run([tool("groupdel"), name], check=False, capture_output=True)
