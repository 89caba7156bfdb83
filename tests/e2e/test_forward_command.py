"""`fieldgate tunnel forward` and `status` as commands: who may connect, what is answered while the link is down."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.box import FIELDGATE, Box, clean_environment, fieldgate
from support.foreign import ENDINGS
from support.forwarder import Forwarder, forwarding
from support.other_user import other_user

ANY = ("--listen", "127.0.0.1:0")
READ = bytes.fromhex("002a00000006010300000001")
READ_REPLY = bytes.fromhex("002a00000005010302") + b"\0\x11"
WRITE = bytes.fromhex("002b00000006010600000100")
DAEMON = 1


@contextlib.contextmanager
def connected(forward: Forwarder, at: int = 0) -> Iterator[socket.socket]:
    """Give a connection to one of its addresses."""
    address = forward.addresses[at]
    if address.startswith("unix:"):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(address.removeprefix("unix:"))
            yield client
        return
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), 20) as client:
        yield client


def ask(client: socket.socket, request: bytes) -> bytes:
    """Send a request, and give the whole reply; b"" where the connection has ended."""
    client.sendall(request)
    head = b""
    while len(head) < 6:
        more = client.recv(6 - len(head))
        if not more:
            return b""
        head += more
    return head + client.recv(int.from_bytes(head[4:6], "big"), socket.MSG_WAITALL)


def status(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return fieldgate("tunnel", "status", *options, XDG_RUNTIME_DIR=str(folder))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_another_local_user_is_closed_before_a_byte_of_theirs_is_read(box: Box, tmp_path: Path) -> None:
    with forwarding(tmp_path, *box.where("tls"), *ANY) as forward, other_user(DAEMON) as foreign:
        forward.wait_log("up, round trip")
        for ending in ENDINGS:
            foreign.send(("127.0.0.1", forward.port), WRITE, ending, count=10)
        forward.wait_log("closed a connection of", count=40)
        # whose uid is certain is named
        forward.wait_log("uid 1", "allow_users does not name them")
        with connected(forward) as client:
            assert ask(client, READ) == READ_REPLY
    assert not any("function=6" in line for line in box.audit_lines())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_a_user_who_is_named_may_connect(box: Box, tmp_path: Path) -> None:
    options = (*box.where("tls"), *ANY, "--allow-user", "daemon")
    with forwarding(tmp_path, *options) as forward, other_user(DAEMON) as foreign:
        foreign.send(("127.0.0.1", forward.port), WRITE, "stay")
        with connected(forward) as client:
            end = time.monotonic() + 20
            while ask(client, READ)[-2:] != b"\1\0":
                assert time.monotonic() < end
        assert "closed a connection" not in forward.log()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
@pytest.mark.parametrize("named", [True, False])
def test_a_unix_socket_asks_for_the_uid_as_well(box: Box, tmp_path: Path, named: bool) -> None:
    script = (
        "import os, socket, sys; os.setgroups([]); os.setgid(1); os.setuid(1); c = socket.socket(socket.AF_UNIX); "
        "c.connect(sys.argv[1]); c.sendall(bytes.fromhex(sys.argv[2])); print(c.recv(99).hex())"
    )
    # a path that another user can reach
    with contextlib.ExitStack() as stack:
        folder = Path(f"/tmp/fieldgate-test-{os.getpid()}")
        folder.mkdir(mode=0o755)
        stack.callback(shutil.rmtree, folder)
        allowed = ("--allow-user", "daemon") if named else ()
        listen = ("--listen", f"unix:{folder / 'modbus'}")
        forward = stack.enter_context(forwarding(tmp_path, *box.where("tls"), *listen, *allowed))
        with connected(forward) as client:
            assert ask(client, READ) == READ_REPLY
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-S", "-c", script, str(folder / "modbus"), READ.hex()],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        if named:
            assert done.stdout == READ_REPLY.hex() + "\n", done.stderr
        else:
            assert "PermissionError" in done.stderr
        assert forward.stop() == 0
        assert not (folder / "modbus").exists()


@pytest.mark.parametrize("mode", ["wait", "refuse"])
def test_a_request_while_the_link_is_down_is_answered_0a_and_never_hangs(box: Box, tmp_path: Path, mode: str) -> None:
    url = box.where("tls")
    box.stop()
    # who is refused waits for nothing, so its deadline may be an hour
    deadline = {"wait": "0.5", "refuse": "3600"}[mode]
    with forwarding(tmp_path, *url, *ANY, "--while-down", mode, "--deadline", deadline) as forward:
        forward.wait_log("down: connection refused")
        with connected(forward) as client:
            for request in (READ, WRITE):
                assert ask(client, request) == request[:4] + bytes((0, 3, 1, request[7] | 0x80, 0x0A))
        assert "outcome unknown" not in forward.log()


def test_a_link_comes_back_with_its_server_and_says_so(box: Box, tmp_path: Path) -> None:
    with forwarding(tmp_path, *box.where("tls"), *ANY, "--deadline", "20") as forward, connected(forward) as client:
        assert ask(client, READ) == READ_REPLY
        box.process.kill()
        box.process.wait()
        forward.wait_log("down: ")
        down = status(tmp_path)
        assert (down.returncode, "down" in down.stdout) == (3, True)
        # the request waits, and the server comes back on its old ports
        client.sendall(READ)
        file = box.folder / "server.toml"
        text = file.read_text().replace("\nport = 0\nid", f"\nport = {box.ports['tls']}\nid", 1)
        file.write_text(text)
        command = [*FIELDGATE, "server", "run", "--config", str(file)]
        with subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE) as again:
            try:
                assert client.recv(99) == READ_REPLY
                up = status(tmp_path, "--json")
                [link] = json.loads(up.stdout)["links"]
                assert (up.returncode, link["state"], link["connects"]) == (0, "up", 2)
            finally:
                again.kill()


def test_status_tells_links_states_errors_bytes_and_times(box: Box, tmp_path: Path) -> None:
    assert status(tmp_path).returncode == 3
    (tmp_path / "forward.toml").write_text(
        f'[[forward]]\nurl = "{box.url("tls")}"\nidentity = "{box.identity("viewer")}"\nlisten = ["127.0.0.1:0"]\n'
        f'bytes_per_day = 10000000\n[[forward]]\nurl = "{box.url("ssh")}"\nidentity = "{box.identity("operator")}"\n'
        'listen = ["127.0.0.1:0", "[::1]:0", "unix:plc"]\n[[forward]]\nurl = "modbus://127.0.0.1:1"\n'
        'listen = ["unix:nobody"]\n'
    )
    with forwarding(tmp_path, "--file", str(tmp_path / "forward.toml")) as forward:
        forward.wait_log("up, round trip", count=2)
        forward.wait_log("modbus://127.0.0.1:1: down: connection refused")
        assert len(forward.addresses) == 5
        for at in range(4):
            with connected(forward, at) as client:
                assert ask(client, READ) == READ_REPLY
        told = status(tmp_path, "--json")
        tls, ssh, none = json.loads(told.stdout)["links"]
        assert told.returncode == 3
        assert [link["state"] for link in (tls, ssh)] == ["up", "up"]
        assert (tls["target"], tls["cap"], tls["listen"]) == (box.url("tls"), 10_000_000, forward.addresses[:1])
        assert none["state"] in {"down", "connecting"}
        assert none["last_error"] == "connection refused"
        for link in (tls, ssh):
            assert link["wire"] > link["sent"] + link["received"] > 0
            assert link["round_trip"] > 0
            assert abs(link["since"] - time.time()) < 60
        shown = status(tmp_path).stdout
        assert f"{box.url('tls')}  " in shown
        assert "modbus://127.0.0.1:1: connection refused" in shown
        [sock] = (tmp_path / "fieldgate").iterdir()
        assert sock.stat().st_mode & 0o777 == 0o600
        assert sock.parent.stat().st_mode & 0o777 == 0o700
        forward.process.kill()
        forward.process.wait()
    # what a killed process has left is cleared away
    assert status(tmp_path).returncode == 3
    assert list((tmp_path / "fieldgate").iterdir()) == []


def test_a_spent_budget_is_said_before_it_holds_the_link_down(box: Box, tmp_path: Path) -> None:
    with forwarding(tmp_path, *box.where("tls"), *ANY, "--bytes-per-day", "30000") as forward:
        with connected(forward) as client:
            while ask(client, READ)[7] == 3:
                pass
            assert ask(client, READ)[7:] == b"\x83\x0a"
        forward.wait_log("of today's 30000 bytes are used")
        forward.wait_log("down: the 30000 bytes of today are spent: held down until 00:00 UTC or a new start")
        [link] = json.loads(status(tmp_path, "--json").stdout)["links"]
        assert link["today"] >= link["cap"] == 30000


def test_it_ends_cleanly_and_in_time_though_clients_wait(box: Box, tmp_path: Path) -> None:
    with forwarding(tmp_path, *box.where("ssh"), *ANY) as forward, connected(forward) as client:
        forward.wait_log("up, round trip")
        box.process.send_signal(19)  # SIGSTOP: nothing answers any more
        client.sendall(WRITE)
        end = time.monotonic()
        assert forward.stop() == 0
        assert time.monotonic() - end < 20
        assert "fault" not in forward.log()
        box.process.send_signal(18)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "names no site"),
        (("modbus://127.0.0.1", "--listen", "0.0.0.0:5020"), "loopback or a Unix socket only"),
        (("modbus://127.0.0.1", "--listen", "127.0.0.1"), "is no address to listen on"),
        (("modbus://127.0.0.1", "--listen", "127.0.0.1:1x"), "is no address to listen on"),
        (("modbus://127.0.0.1", "--listen", "127.0.0.1:7000", "--listen", "localhost:7000"), "stands twice"),
        (("modbus://127.0.0.1", "--listen", "unix:/nonexistent/x"), "there is no such folder"),
        (("modbus://127.0.0.1", "--allow-user", "nobody-of-that-name"), "there is no user"),
        (("modbus://127.0.0.1", "--deadline", "0"), "is not 0.1 to 3600 seconds"),
        (("modbus://192.0.2.1",), "plain Modbus is spoken on loopback only"),
        (("modbus+tls://192.0.2.1",), "asks for a certificate"),
        (("modbus+ssh://192.0.2.1", "--identity", "/nonexistent"), "no such file or folder"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_opened(options: tuple[str, ...], says: str) -> None:
    done = fieldgate("tunnel", "forward", *options)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "forwards nothing"),
        ('[[forward]]\nurl = "modbus://127.0.0.1"\nwhile_down = "hang"\n', "while_down 'hang' is none of wait, refuse"),
        ('[[forward]]\nurl = "modbus://127.0.0.1"\nlisten = []\n', "listen names no address"),
        ('[[forward]]\nurl = "modbus://127.0.0.1"\nprobe_unit = 256\n', "probe_unit 256 is not 0 to 255"),
        ('[[forward]]\nurl = "modbus://127.0.0.1"\nlive = true\n', "unknown key"),
    ],
)
def test_a_wrong_file_is_told_by_its_key(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "forward.toml").write_text(text)
    done = fieldgate("tunnel", "forward", "--file", str(tmp_path / "forward.toml"))
    assert done.returncode == 2
    assert says in done.stderr
    with_url = fieldgate("tunnel", "forward", "modbus://127.0.0.1", "--file", str(tmp_path / "forward.toml"))
    assert "says it all, and url is given too" in with_url.stderr


def test_a_port_in_use_has_its_own_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = fieldgate("tunnel", "forward", "modbus://127.0.0.1", "--listen", f"127.0.0.1:{port}")
    assert done.returncode == 2
    assert f"listen 127.0.0.1:{port}: cannot listen: address already in use" in done.stderr
    assert "another program holds the port" in done.stderr
