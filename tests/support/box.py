"""A field box as users start it: `fieldgate server run` as a process of its own, and the other commands beside it."""

from __future__ import annotations

import contextlib
import getpass
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from support.site import TABLES_OF_THE_VECTORS, Pki, write_files

FIELDGATE = (sys.executable, "-m", "fieldgate_core.cli")


def clean_environment(**extra: str) -> dict[str, str]:
    """Give the environment of a user who has no identity of their own."""
    return {name: value for name, value in os.environ.items() if name != "FIELDGATE_IDENTITY"} | {
        "XDG_CONFIG_HOME": "/nonexistent",
        **extra,
    }


def fieldgate(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a fieldgate command to its end."""
    return subprocess.run(
        [*FIELDGATE, *args],
        env=clean_environment(**environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


class Box:
    """A running server process: its ports by door (modbus, tls, ssh), its PKI, its trail and its log."""

    def __init__(self, process: subprocess.Popen[str], pki: Pki, folder: Path) -> None:
        self.process = process
        self.pki = pki
        self.folder = folder
        self.ports = self._read_ports()

    def _read_ports(self) -> dict[str, int]:
        ports: dict[str, int] = {}
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line == "ready\n":
                return ports
            if not line.startswith("listening: "):
                continue
            _, door, address = line.split()
            ports[door] = int(address.rpartition(":")[2])
        raise AssertionError(f"the server did not start:\n{self.log()}")

    def url(self, door: str, role: str = "operator") -> str:
        """Give the URL of a door, with the login name where it takes one."""
        scheme = {"modbus": "modbus://", "tls": "modbus+tls://", "ssh": f"modbus+ssh://{role}@"}[door]
        return f"{scheme}127.0.0.1:{self.ports[door]}"

    def where(self, door: str, role: str = "operator") -> list[str]:
        """Give the URL of a door and the identity for it, as arguments of a client command."""
        return [self.url(door, role), *([] if door == "modbus" else ["--identity", str(self.pki.client(role))])]

    def identity(self, role: str) -> Path:
        """Give the identity folder of a role's client."""
        return self.pki.client(role)

    def audit_lines(self) -> list[str]:
        """Give the trail's lines so far."""
        return (self.folder / "audit.log").read_text().splitlines()

    def log(self) -> str:
        """Give what the server has logged so far."""
        return (self.folder / "server.log").read_text()

    def stop(self) -> int:
        """Stop the server as a service manager does, and give its exit code."""
        self.process.terminate()
        return self.process.wait()


@contextlib.contextmanager
def running_box(
    pki: Pki,
    folder: Path,
    *,
    grants: dict[str, str] | None = None,
    units: str = TABLES_OF_THE_VECTORS,
    extra: str = "",
    **environment: str,
) -> Iterator[Box]:
    """Run a server until the block ends; `grants` by role, `units` and `extra` are TOML of policy and settings."""
    file = write_files(pki, folder, user=getpass.getuser(), grants=grants, units=units, extra=extra)
    with running_file(pki, folder, file, **environment) as box:
        yield box


@contextlib.contextmanager
def running_file(
    pki: Pki, folder: Path, file: Path, *, program: Sequence[str] = FIELDGATE, **environment: str
) -> Iterator[Box]:
    """Run a server with this settings file until the block ends; `program` is what runs the command."""
    with (
        (folder / "server.log").open("w") as log,
        subprocess.Popen(
            [*program, "server", "run", "--config", str(file)],
            env=clean_environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield Box(process, pki, folder)
        finally:
            process.kill()
