"""A box behind masquerading NAT, and a hub outside: reached by name, over restarts of the hub and stale sessions."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.box import FIELDGATE, clean_environment
from support.hubs import BOX, DOMAIN, POLICY, hub_file, identity_of, make_hub_pki
from support.netns import INSIDE, THERE, Behind, behind_nat, two_namespaces
from support.site import TABLES_OF_THE_VECTORS, Pki, policy_text

TOOLS = ("ip", "nft", "ss")
PORT = 2222
PATIENCE = 20.0
QUICK = """
import sys
from fieldgate_core.cli import main
from fieldgate_tunnel.keepalive import PRESETS, Keepalive
PRESETS["normal"] = Keepalive(0.3, 2, 0.5)
sys.exit(main(sys.argv[1:]))
"""
"""The real command, with a pulse that a test can wait for."""
REACH = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 1.0)
except TimeoutError:
    sys.exit(7)
"""


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


class Place:
    """A hub outside and a box inside, each a process that can be killed and started again."""

    def __init__(self, net: Behind, pki: Pki, folder: Path) -> None:
        self.net = net
        self.pki = pki
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []
        hub_file(pki, folder, POLICY, host=THERE)
        settings = (folder / "hub.toml").read_text().replace("port = 0", f"port = {PORT}")
        (folder / "hub.toml").write_text(settings)
        (folder / "policy.toml").write_text(policy_text(pki, "root"))
        url = f"modbus+tls+ssh://{BOX}@{THERE}:{PORT}/{BOX}"
        (folder / "box.toml").write_text(
            'policy = "policy.toml"\naudit = "audit.log"\n'
            f'[tls]\nhost = "{INSIDE}"\nidentity = "{identity_of(pki, BOX)}"\n'
            f'[[dial]]\nurl = "{url}"\nidentity = "{pki.client(BOX)}"\n{TABLES_OF_THE_VECTORS}'
        )
        (folder / "sites.toml").write_text(f'[site.pump]\nurl = "{url.replace(f"{BOX}@", "")}"\ndomain = "{DOMAIN}"\n')

    def start(self, name: str, namespace: str, *words: str) -> subprocess.Popen[str]:
        with (self.folder / f"{name}.log").open("a") as log:
            process = subprocess.Popen(
                [*self.net.net.inside(namespace), sys.executable, "-c", QUICK, *words],
                env=clean_environment(XDG_RUNTIME_DIR=str(self.folder)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.processes.append(process)
        assert process.stdout is not None
        while line := process.stdout.readline():
            if line == "ready\n":
                return process
        raise AssertionError(self.log(name))

    def start_hub(self) -> subprocess.Popen[str]:
        return self.start("hub", self.net.net.there, "tunnel", "hub", "--config", str(self.folder / "hub.toml"))

    def start_box(self) -> subprocess.Popen[str]:
        return self.start("box", self.net.inside, "server", "run", "--config", str(self.folder / "box.toml"))

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def offers(self) -> int:
        return self.log("hub").count("event=offered")

    def read(self) -> subprocess.CompletedProcess[str]:
        words = ["client", "read", "pump", "-1", "-r", "1", "--identity", str(self.pki.client("operator"))]
        return subprocess.run(
            [*self.net.net.inside(self.net.net.there), *FIELDGATE, *words],
            env=clean_environment(FIELDGATE_SITES=str(self.folder / "sites.toml")),
            capture_output=True,
            text=True,
            check=False,
        )

    def check_served(self) -> None:
        done = self.read()
        assert done.returncode == 0, (done, self.log("hub"), self.log("box"))
        assert "17" in done.stdout

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture(scope="module")
def nat_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_hub_pki(tmp_path_factory.mktemp("nat-pki") / "pki", THERE)


@pytest.fixture
def place(nat_pki: Pki, tmp_path: Path) -> Iterator[Place]:
    with two_namespaces() as net, behind_nat(net) as inside:
        made = Place(inside, nat_pki, tmp_path)
        try:
            yield made
        finally:
            made.stop()


def test_a_box_behind_nat_is_reached_by_name_and_survives_the_death_of_the_hub(place: Place) -> None:
    hub = place.start_hub()
    place.start_box()
    until(lambda: place.offers() == 1)
    place.check_served()
    direct = [*place.net.net.inside(place.net.net.there), sys.executable, "-c", REACH, INSIDE, "802"]
    assert subprocess.run(direct, check=False).returncode == 7
    hub.kill()
    hub.wait()
    until(lambda: "down: " in place.log("box"))
    assert place.read().returncode == 3
    place.start_hub()
    until(lambda: place.offers() == 2)
    place.check_served()


def test_a_stale_session_of_a_box_is_taken_over(place: Place) -> None:
    """The hub learns nothing of the box's end: the router loses what that sends."""
    place.start_hub()
    box = place.start_box()
    until(lambda: place.offers() == 1)
    (port,) = place.net.ports_to(PORT)
    place.net.blackhole(port)
    box.kill()
    box.wait()
    assert "event=withdrawn" not in place.log("hub")
    place.start_box()
    until(lambda: "taken-over-from=" in place.log("hub"))
    place.check_served()
    assert place.log("hub").count("event=withdrawn") == 0


def test_a_box_whose_session_the_network_loses_dials_anew_by_itself(place: Place) -> None:
    place.start_hub()
    place.start_box()
    until(lambda: place.offers() == 1)
    (port,) = place.net.ports_to(PORT)
    place.net.blackhole(port)
    until(lambda: place.offers() == 2)
    assert "taken-over-from=" in place.log("hub")
    place.check_served()
