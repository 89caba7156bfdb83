"""A site at the far end of a cable: a server in a network namespace, which can be killed and started again."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from support.box import FIELDGATE, clean_environment
from support.netns import THERE, Net
from support.site import Pki


@dataclass
class Far:
    """The site at the far end of the cable: its server can be killed, and started again on the same ports."""

    net: Net
    pki: Pki
    folder: Path
    process: subprocess.Popen[str] | None = None
    extra: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def identity(self) -> Path:
        return self.pki.folder / "issued/server/far/current"

    def start(self) -> None:
        """Start the server, and wait until it listens."""
        issuers = ", ".join(f'"{issuer}"' for issuer in self.pki.issuers)
        (self.folder / "policy.toml").write_text(
            f'[role.operator]\nissuers = [{issuers}]\ngrants = [{{ units = "all", read = "all", write = "all" }}]\n'
        )
        (self.folder / "server.toml").write_text(
            f'policy = "policy.toml"\naudit = "audit.log"\nmax_sessions = 1000\nmax_sessions_per_identity = 1000\n'
            f'[tls]\nhost = "{THERE}"\nidentity = "{self.identity}"\n[ssh]\nhost = "{THERE}"\n'
            f'identity = "{self.identity}"\n[[unit]]\nid = 1\ndefault = true\nholding = {{ size = 1000 }}\n'
        )
        command = [*FIELDGATE, "server", "run", "--config", str(self.folder / "server.toml"), "--bind-retry", "10"]
        self.process = self.run(*command, until="ready\n")

    def run(self, *command: str, until: str) -> subprocess.Popen[str]:
        """Run a command at the far end, and wait for a line of its output."""
        with (self.folder / "far.log").open("a") as log:
            process = subprocess.Popen(
                [*self.net.inside(self.net.there), *command],
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.extra.append(process)
        assert process.stdout is not None
        while line := process.stdout.readline():
            if line == until:
                return process
        raise AssertionError((self.folder / "far.log").read_text())

    def kill(self) -> None:
        """Kill the server with -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def writes(self, outcome: str) -> dict[int, int]:
        """Count the lines of the trail with this outcome of a write, by register."""
        found: dict[int, int] = {}
        for line in (self.folder / "audit.log").read_text().splitlines():
            if match := re.search(rf'event=write .*outcome={outcome} .*function=6 range="holding (\d+)"', line):
                found[int(match[1])] = found.get(int(match[1]), 0) + 1
        return found

    def stop(self) -> None:
        for process in self.extra:
            process.kill()
            process.wait()
            if process.stdout is not None:
                # not read to its end: a child may hold the other one
                process.stdout.close()
