"""`fieldgate tunnel dial` and `hub` as users run them: to a TLS door of its own process, seen by `tunnel status`."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.box import FIELDGATE, Box, clean_environment, fieldgate, running_box
from support.forwarder import forwarding
from support.hubs import BOX, DOMAIN, as_box, box_folder, hub_file, make_hub_pki
from support.site import TABLES_OF_THE_VECTORS, Pki

PATIENCE = 20.0


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_hub_pki(tmp_path_factory.mktemp("dial-pki") / "pki", "127.0.0.1")


class Command:
    """A `fieldgate tunnel` command that runs."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        self.port = 0
        assert process.stdout is not None
        for line in process.stdout:
            if line == "ready\n":
                return
            assert line.startswith("listening: hub "), line
            self.port = int(line.rpartition(":")[2])
        raise AssertionError(log.read_text())

    def wait_log(self, *parts: str) -> None:
        until(lambda: any(all(part in line for part in parts) for line in self.log.read_text().splitlines()))

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE)


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextlib.contextmanager
def tunnel(folder: Path, *words: str) -> Iterator[Command]:
    log = folder / f"{words[0]}.log"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [*FIELDGATE, "tunnel", *words],
            env=clean_environment(XDG_RUNTIME_DIR=str(folder)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        try:
            yield Command(process, log)
        finally:
            process.kill()


def test_a_box_dials_and_is_read_by_the_name_of_the_site_list(pki: Pki, tmp_path: Path) -> None:
    with (
        tunnel(tmp_path, "hub", "--config", str(hub_file(pki, tmp_path))) as hub,
        running_box(as_box(pki, BOX), box_folder(tmp_path, BOX)) as box,
    ):
        url = f"modbus+tls+ssh://127.0.0.1:{hub.port}/{BOX}"
        words = (url.replace("//", f"//{BOX}@"), "--identity", str(pki.client(BOX)))
        with tunnel(tmp_path, "dial", *words, "--to", f"127.0.0.1:{box.ports['tls']}") as dial:
            dial.wait_log("up: the hub knows this box as box-7")
            (tmp_path / "sites.toml").write_text(f'[site.pump]\nurl = "{url}"\ndomain = "{DOMAIN}"\n')
            identity = ("--identity", str(pki.client("operator")))
            sites = {"FIELDGATE_SITES": str(tmp_path / "sites.toml")}
            done = fieldgate("client", "read", "pump", "-1", *identity, **sites)
            assert (done.returncode, "17" in done.stdout) == (0, True), done
            done = fieldgate("client", "check", "pump", *identity, **sites)
            assert done.returncode == 0, done
            assert "CN=box-7" in done.stdout or "box-7" in done.stdout
            done = fieldgate("client", "read", url, "-1", *identity)
            assert (done.returncode, f"{BOX}.DOMAIN" in done.stderr) == (2, True)
            done = fieldgate("client", "read", url.replace(BOX, "box-8"), "-1", *identity)
            assert done.returncode == 2
            local = box_folder(tmp_path, "forward")
            listen = ("--domain", DOMAIN, "--listen", "127.0.0.1:0")
            with forwarding(local, url, *identity, *listen) as forward:
                # up means that a Modbus round trip went through
                forward.wait_log(f"{url}: up")
            check_status(tmp_path, hub, dial)
            assert dial.stop() == 0
        hub.wait_log("event=withdrawn", f"box={BOX}")
        assert hub.stop() == 0


def check_status(folder: Path, hub: Command, dial: Command) -> None:
    """Both commands answer `tunnel status`: the dial as a link, the hub with each box of its policy."""
    done = fieldgate("tunnel", "status", "--json", XDG_RUNTIME_DIR=str(folder))
    assert done.returncode == 3, "box-8 is not there"
    links = {(link["pid"], link["target"]): link for link in json.loads(done.stdout)["links"]}
    (own,) = [link for (pid, _), link in links.items() if pid == dial.process.pid]
    assert (own["state"], own["connects"]) == ("up", 1)
    assert links[hub.process.pid, BOX]["state"] == "up"
    assert links[hub.process.pid, "box-8"]["reason"] == "has not dialled in"
    shown = fieldgate("tunnel", "status", XDG_RUNTIME_DIR=str(folder)).stdout
    assert "box-8: has not dialled in" in shown


def test_nothing_is_led_to_a_port_that_speaks_plain_modbus(pki: Pki, box: Box, tmp_path: Path) -> None:
    """Neither to one that its number gives away, nor to one that shows it when it is asked."""
    url = f"modbus+tls+ssh://{BOX}@127.0.0.1:1/{BOX}"
    words = ("tunnel", "dial", url, "--identity", str(pki.client(BOX)))
    done = fieldgate(*words, "--to", "127.0.0.1:502")
    assert (done.returncode, "plain Modbus" in done.stderr) == (2, True)
    with tunnel(tmp_path, *words[1:], "--to", f"127.0.0.1:{box.ports['modbus']}") as dial:
        dial.wait_log("does not speak TLS", "it is tried rarely")
        assert "connection refused" not in dial.log.read_text()
    with tunnel(tmp_path, *words[1:], "--to", f"127.0.0.1:{box.ports['tls']}") as dial:
        dial.wait_log("down: connection refused", "trying again")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["modbus+tls://127.0.0.1"], "names no hub"),
        (["modbus+tls+ssh://hub"], "no name of a box"),
        (["modbus+tls+ssh://hub/box"], "needs an identity"),
        (["modbus+tls+ssh://hub/box", "--identity", "/nonexistent"], "no such file or folder"),
    ],
)
def test_what_cannot_be_dialled_is_refused_before_anything_is(words: list[str], said: str, tmp_path: Path) -> None:
    more = [] if "identity" in said or "--identity" in words else ["--identity", str(tmp_path)]
    done = fieldgate("tunnel", "dial", *words, *more)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "identity"),
        ('identity = "nowhere"', "no such file or folder"),
        ('identity = "x"\n[[box]]\nname = "Box"\noffered_by = ["a"]', "no name of a box"),
        ('identity = "x"\n[[box]]\nname = "b"\noffered_by = []', "names nobody"),
        ('identity = "x"\n[[box]]\nname = "b"\noffered_by = ["a"]\nshell = true', "shell"),
    ],
)
def test_a_hub_with_wrong_settings_does_not_start(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text(text)
    done = fieldgate("tunnel", "hub", "--config", str(tmp_path / "hub.toml"))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_server_with_a_dial_and_no_tls_does_not_start(pki: Pki, tmp_path: Path) -> None:
    dial = f'[[dial]]\nurl = "modbus+tls+ssh://hub/{BOX}"\nidentity = "{pki.client(BOX)}"\n'
    (tmp_path / "server.toml").write_text(dial)
    done = fieldgate("server", "check", "--config", str(tmp_path / "server.toml"))
    assert done.returncode != 0
    assert "what comes through a hub is TLS" in done.stdout + done.stderr


def test_the_servers_status_shows_its_hubs(pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    identity = pki.client(BOX)
    manage = '{ manage = ["status"] }'
    grants = {"operator": f'[{{ units = "all", read = "all" }}, {manage}]'}
    dial = f'[[dial]]\nurl = "modbus+tls+ssh://{BOX}@127.0.0.1:1/{BOX}"\nidentity = "{identity}"\n'
    extra = 'control = "control"\nstate = "state"'
    with running_box(as_box(pki, BOX), tmp_path, grants=grants, units=TABLES_OF_THE_VECTORS + dial, extra=extra):
        control = ("--control", str(tmp_path / "control"))
        until(lambda: "connection refused" in fieldgate("server", "status", *control).stdout)
