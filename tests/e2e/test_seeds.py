"""What the seeds promise, by their own commands: the first one's tables and demo, the fifth one's options."""

from __future__ import annotations

import getpass
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import PATIENCE
from support.asking import stock_options
from support.box import FIELDGATE, clean_environment, fieldgate
from support.other_user import other_user
from support.site import TABLES_OF_THE_VECTORS, Pki, write_files
from support.started import Started, framed, owner, started, starting

TOOLS = ("mbpoll", "ssh", "openssl")
"""Stock tools that these tests need (conftest.py)."""

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
DAEMON = pwd.getpwnam("daemon").pw_uid
WHEN = r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}"
"""A time as the seed prints it: Fri Jan 02 18:53:36 2009."""


def mbpoll(port: int, *words: str) -> list[str]:
    """Run mbpoll once on unit 1, with addresses from 0, and give its words."""
    command = ["mbpoll", "-m", "tcp", "-0", "-1", "-a", "1", "-p", str(port), *words]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended
    return ended.stdout.split()


def told(port: int, table: str, first: int, count: int) -> list[str]:
    """Read with mbpoll, and give the values."""
    words = mbpoll(port, "-t", table, "-r", str(first), "-c", str(count), "127.0.0.1")
    text = " ".join(words[words.index(f"[{first}]:") :])
    return re.findall(r"\]: (\d+)", text)


# the first seed


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Started]:
    with started(tmp_path, "--port", "0") as server:
        yield server


@pytest.mark.parametrize(
    ("function", "all_zero"), [("01", "01 0d" + " 00" * 13), ("02", "02 0d" + " 00" * 13), ("03", ""), ("04", "")]
)
def test_each_of_the_four_tables_has_100_zeros(quick: Started, function: str, all_zero: str) -> None:
    refusal = f"{int(function, 16) | 0x80:02x} 02"
    replies = quick.ask(f"{function} 00 00 00 64", f"{function} 00 00 00 65", f"{function} 00 64 00 01")
    assert replies == [all_zero or f"{function} c8" + " 00" * 200, refusal, refusal]


def test_the_four_tables_share_nothing(quick: Started) -> None:
    writes = "05 00 11 ff 00", "06 00 02 12 34", "10 00 63 00 01 02 56 78"
    assert quick.ask(*writes) == ["05 00 11 ff 00", "06 00 02 12 34", "10 00 63 00 01"]
    assert quick.ask("01 00 00 00 64", "02 00 00 00 64") == ["01 0d 00 00 02" + " 00" * 10, "02 0d" + " 00" * 13]
    assert quick.ask("03 00 02 00 01", "03 00 63 00 01", "03 00 01 00 01") == [
        "03 02 12 34",
        "03 02 56 78",
        "03 02 00 00",
    ]
    assert quick.ask("04 00 00 00 64") == ["04 c8" + " 00" * 200]


def test_the_demo_runs_on_a_server_without_settings(quick: Started) -> None:
    ended = fieldgate("client", "demo", f"modbus://127.0.0.1:{quick.ports['modbus']}")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "FAILED" not in ended.stdout
    assert len([line for line in ended.stdout.splitlines() if line.startswith("  ok ")]) >= 9
    assert quick.ask("01 00 00 00 64", "03 00 00 00 64") == ["01 0d" + " 00" * 13, "03 c8" + " 00" * 200]


# the fifth seed: overlaid and unified tables


@pytest.fixture
def overlaid(tmp_path: Path) -> Iterator[Started]:
    with started(tmp_path, "-p", "0", "-d", "o") as server:
        yield server


def test_coils_are_packed_into_registers(overlaid: Started) -> None:
    port = overlaid.ports["modbus"]
    mbpoll(port, "-t", "0", "-r", "17", "127.0.0.1", "1")
    assert told(port, "4", 0, 3) == ["0", "2", "0"]
    assert told(port, "3", 1, 1) == ["2"]
    assert told(port, "1", 16, 4) == ["0", "1", "0", "0"]
    mbpoll(port, "-t", "4", "-r", "1", "127.0.0.1", "32769")
    assert told(port, "0", 15, 18) == ["0", "1", *["0"] * 14, "1", "0"]
    assert overlaid.ask("02 00 0f 00 12") == ["02 03 02 00 01"]


def test_the_last_packed_register_is_4095(overlaid: Started) -> None:
    asked = {
        "05 ff ff ff 00": "05 ff ff ff 00",
        "03 0f ff 00 02": "03 04 80 00 00 00",
        "10 0f ff 00 02 04 00 01 ff ff": "10 0f ff 00 02",
        "01 ff f0 00 10": "01 02 01 00",
        "02 ff ff 00 01": "02 01 00",
        "01 ff ff 00 02": "81 02",
        "0f ff ff 00 02 01 03": "8f 02",
        "06 10 00 12 34": "06 10 00 12 34",
        "04 0f ff 00 02": "04 04 00 01 12 34",
        "06 ff ff be ef": "06 ff ff be ef",
        "04 ff ff 00 01": "04 02 be ef",
        "03 ff ff 00 02": "83 02",
        "16 0f ff 00 00 80 00": "16 0f ff 00 00 80 00",
        "01 ff e0 00 20": "01 04 00 00 00 80",
    }
    assert overlaid.ask(*asked) == list(asked.values())


@pytest.mark.parametrize("options", [["-p", "0", "-d", "s"], ["-p", "0"], ["--port", "0", "-d", "s"]])
def test_unified_tables_are_two_kinds_with_two_names_each(tmp_path: Path, options: list[str]) -> None:
    with started(tmp_path, *options) as server:
        port = server.ports["modbus"]
        mbpoll(port, "-t", "0", "-r", "17", "127.0.0.1", "1")
        mbpoll(port, "-t", "4", "-r", "17", "127.0.0.1", "4660")
        assert [told(port, "0", 17, 1), told(port, "1", 17, 1)] == [["1"], ["1"]]
        assert [told(port, "4", 17, 1), told(port, "3", 17, 1)] == [["4660"], ["4660"]]
        # coils are no registers here, and there are 65,536 of all
        assert server.ask("03 00 01 00 01", "01 01 10 00 10") == ["03 02 00 00", "01 02 00 00"]
        assert server.ask("0f ff ff 00 01 01 01", "02 ff fe 00 02", "06 ff ff 00 07", "04 ff ff 00 01") == [
            *("0f ff ff 00 01", "02 01 02"),
            *("06 ff ff 00 07", "04 02 00 07"),
        ]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["-p", "0", "--port", "0"], "-p: and --port are the same"),
        (["-d", "o", "--config", "server.toml"], "-d: the settings file says how tables are laid out"),
        (["-p", "70000"], "70000 is not 0 to 65535"),
        (["-d", "x"], "invalid choice: 'x'"),
        (["--bind-retry", "-1"], "--bind-retry"),
        (["--bind-retry", "nan"], "--bind-retry"),
        (["-q", "end"], "-q: a quit word has at least 4 printable ASCII characters"),
        (["-q", ""], "-q: a quit word"),
        (["-q", "été!"], "-q: a quit word"),
    ],
)
def test_options_that_make_no_sense_are_told_with_2(options: list[str], problem: str) -> None:
    ended = fieldgate("server", "run", *options)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert problem in ended.stderr
    assert "Traceback" not in ended.stderr


# its start and stop lines, and what it logs


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_when_it_starts_and_who_stops_it(quick: Started, number: signal.Signals) -> None:
    port = quick.ports["modbus"]
    first, *others = quick.lines
    assert re.fullmatch(rf"starting server on port 0\. {WHEN}", first)
    assert others == [f"listening: modbus 127.0.0.1:{port}", "server running", "ready"]
    quick.process.send_signal(number)
    code, [last] = quick.wait_end()
    assert code == 0
    assert re.fullmatch(rf"operator terminated server at {WHEN}", last)


def test_it_logs_who_connects_and_who_leaves(quick: Started) -> None:
    # without a policy the owner is a number, and needs no name
    who = f"unix:{os.getuid()}"
    with quick.connected() as one, quick.connected() as other:
        peers = [f"{host}:{port}" for host, port in (one.getsockname(), other.getsockname())]
        for peer in peers:
            assert quick.wait_log("connected: ", peer).endswith(f"connected: {who} from {peer} as owner")
        assert "disconnected" not in quick.log()
        one.close()
        assert quick.wait_log("disconnected: ").endswith(f"disconnected: {who} from {peers[0]}")
        assert quick.log().count("disconnected") == 1
    quick.wait_log("disconnected: ", peers[1])


# its remote shutdown

REQUEST = framed("03 00 00 00 01")
REPLY = framed("03 02 00 00")


@pytest.fixture
def quitting(tmp_path: Path) -> Iterator[Started]:
    with started(tmp_path, "-p", "0", "-q", "quit") as server:
        yield server


def check_serves(server: Started) -> None:
    assert server.ask("03 00 00 00 01") == ["03 02 00 00"]


def send_pieces(server: Started, connection: socket.socket, honest: socket.socket, pieces: list[bytes]) -> None:
    """Send each piece when the server has read the one before: it has answered later requests in two turns since."""
    server.wait_log("connected: ", f":{connection.getsockname()[1]} ")
    for piece in pieces:
        for _ in range(2):
            honest.sendall(REQUEST)
            assert honest.recv(100) == REPLY
        connection.sendall(piece)


@pytest.mark.parametrize("pieces", [[b"quit"], [b"q", b"u", b"i", b"t"], [b"qui", b"t"], [b"quit\r\n"], [b"quitting"]])
def test_the_quit_word_stops_the_server(quitting: Started, pieces: list[bytes]) -> None:
    with quitting.connected() as honest, quitting.connected() as connection:
        send_pieces(quitting, connection, honest, pieces)
        code, [last] = quitting.wait_end()
    assert code == 0
    assert re.fullmatch(rf"quit word terminated server at {WHEN}", last)
    assert "Traceback" not in quitting.log()
    assert "manage=stop" in quitting.wait_log("event=control")


@pytest.mark.parametrize("said", [b"stop", b"qui", b"QUIT", b"\x00quit", REQUEST + b"quit"])
def test_other_words_stop_nothing(quitting: Started, said: bytes) -> None:
    with quitting.connected() as connection:
        # it has been asked who it is, and may stop the server
        quitting.wait_log("connected: ", " as owner")
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("rb").read() == (REPLY if said.startswith(REQUEST) else b"")
    quitting.wait_log("state=closed")
    check_serves(quitting)
    assert "manage=stop" not in quitting.log()


def test_without_the_option_the_word_stops_nothing(quick: Started) -> None:
    with quick.connected() as connection:
        quick.wait_log("connected: ", " as owner")
        connection.sendall(b"quit")
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("rb").read() == b""
    check_serves(quick)


def test_normal_clients_are_served_while_the_word_is_awaited(quitting: Started) -> None:
    # a transaction may begin as the word does
    alike, answer = b"qu" + REQUEST[2:], b"qu" + REPLY[2:]
    for cut in (0, 1, 2, 5):
        with quitting.connected() as honest, quitting.connected() as connection:
            send_pieces(quitting, connection, honest, [alike[:cut], alike[cut:]])
            assert connection.recv(100) == answer
            connection.sendall(alike)
            assert connection.recv(100) == answer
    url = f"modbus://127.0.0.1:{quitting.ports['modbus']}"
    assert fieldgate("client", "demo", url).returncode == 0


@only_root
def test_another_user_cannot_stop_the_server_with_the_word(quitting: Started) -> None:
    with other_user(DAEMON) as stranger:
        # who has left is nobody, so this one stays
        stranger.send(("127.0.0.1", quitting.ports["modbus"]), b"quit", "stay")
        quitting.wait_log("event=refused", f"identity=unix:{DAEMON} ", "manage=stop")
    check_serves(quitting)


def by_policy(pki: Pki, folder: Path) -> Path:
    """Write settings with a policy where the tests' user may stop the server, and user daemon may read."""
    may_stop = '[{ units = "all", read = "all" }, { manage = ["stop"] }]'
    return write_files(
        pki, folder, user=getpass.getuser(), grants={"operator": may_stop}, units=TABLES_OF_THE_VECTORS, extra=""
    )


@only_root
def test_only_whom_the_policy_lets_stop_the_server_stops_it(site_pki: Pki, tmp_path: Path) -> None:
    with starting(tmp_path, "--config", str(by_policy(site_pki, tmp_path)), "-q", "quit") as server:
        server.wait_ready()
        trail = tmp_path / "audit.log"
        with other_user(DAEMON) as reader:
            reader.send(("127.0.0.1", server.ports["modbus"]), b"quit", "stay")
            server.wait_log("disconnected: unix:daemon")
        [refused] = [line for line in trail.read_text().splitlines() if "manage=stop" in line]
        assert "event=refused identity=unix:daemon role=viewer" in refused
        assert server.ask("03 00 00 00 01") == ["03 02 00 11"]
        with server.connected() as connection:
            connection.sendall(b"quit")
            assert server.wait_end()[0] == 0
        asked = [line for line in trail.read_text().splitlines() if "event=control" in line]
        for line, outcome in zip(asked, ("intent", "done"), strict=True):
            assert line.endswith(f" manage=stop outcome={outcome} grant=operator[1]"), line


@pytest.mark.parametrize("door", ["ssh", "tls"])
def test_the_word_means_nothing_through_a_door(site_pki: Pki, tmp_path: Path, door: str) -> None:
    """Not even for a role that may stop the server, and whose user would be heard on loopback."""
    identity = site_pki.client("operator")
    with starting(tmp_path, "--config", str(by_policy(site_pki, tmp_path)), "-q", "quit") as server:
        server.wait_ready()
        if door == "ssh":
            ssh = ["ssh", *stock_options(identity), "-p", str(server.ports["ssh"]), "-l", "operator"]
            command = [*ssh, "-W", "localhost:502", "127.0.0.1"]
        else:
            openssl = ["openssl", "s_client", "-quiet", "-no_ign_eof", "-connect", f"127.0.0.1:{server.ports['tls']}"]
            command = [*openssl, "-cert", str(identity / "tls-chain.pem"), "-key", str(identity / "tls-key.pem")]
        assert subprocess.run(command, input=b"quit", capture_output=True, check=False, timeout=30).stdout == b""
        server.wait_log("disconnected: ")
        assert server.ask("03 00 00 00 01") == ["03 02 00 11"]
        trail = (tmp_path / "audit.log").read_text()
        assert f"door={door}" in trail
        assert "manage=stop" not in trail


# a port that is taken


def test_a_taken_port_is_an_error_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for retry in ([], ["--bind-retry", "0"]):
            ended = fieldgate("server", "run", "-p", port, *retry)
            assert ended.returncode == 2
            assert f"listen 127.0.0.1:{port}: cannot listen: address already in use" in ended.stderr
            assert "trying again" not in ended.stderr
            assert "ready" not in ended.stdout


def test_a_port_that_stays_taken_is_an_error_in_the_end(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = fieldgate("server", "run", "-p", str(taken.getsockname()[1]), "--bind-retry", "0.2")
    assert ended.returncode == 2
    assert "the port is taken; trying again" in ended.stderr
    assert "cannot listen: address already in use" in ended.stderr


def test_a_taken_port_is_had_when_it_is_released(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with starting(tmp_path, "-p", str(port), "--bind-retry", "10") as server:
            server.wait_log(f"listen 127.0.0.1:{port}: the port is taken; trying again")
            assert server.process.poll() is None
            taken.close()
            server.wait_ready()
            assert server.ports == {"modbus": port}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_waits_for_a_port_is_stopped_at_once(tmp_path: Path, number: signal.Signals) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        starting(tmp_path, "-p", str(taken.getsockname()[1]), "--bind-retry", "3600") as server,
    ):
        server.wait_log("the port is taken; trying again")
        server.process.send_signal(number)
        code, lines = server.wait_end()
    assert code == 0
    assert "operator terminated server" in lines[-1]
    assert "Traceback" not in server.log()


# every frame


def test_a_trace_shows_every_request_and_its_reply(tmp_path: Path) -> None:
    with started(tmp_path, "-p", "0", "--trace") as server:
        with server.connected() as connection:
            peer = f"127.0.0.1:{connection.getsockname()[1]}"
            connection.sendall(framed("06 00 05 12 34") + framed("03 ff ff 00 02"))
            server.wait_log("reply: ", "83 02")
        shown = [line for line in server.log().splitlines() if re.search("(request|reply): ", line)]
        assert shown == [
            f"{peer} request: {framed('06 00 05 12 34').hex(' ')}",
            f"{peer} reply: {framed('06 00 05 12 34').hex(' ')}",
            f"{peer} request: {framed('03 ff ff 00 02').hex(' ')}",
            f"{peer} reply: {framed('83 02').hex(' ')}",
        ]
        assert "illegal data address" in server.log()


def test_without_it_no_frame_is_shown(quick: Started) -> None:
    check_serves(quick)
    quick.wait_log("disconnected: ")
    assert not re.search("(request|reply): ", quick.log())


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("reader", ["true", "sleep 3600"])
def test_a_reader_of_the_trace_that_stops_reading_holds_nobody_up(tmp_path: Path, reader: str) -> None:
    """One that has gone, and one that leaves the pipe full."""
    server = [*FIELDGATE, "server", "run", "-p", "0", "--trace", *owner()]
    command = ["bash", "-c", f'"$@" 2> >(exec {reader})', "bash", *server]
    with subprocess.Popen(
        command, env=clean_environment(), stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            port = next(int(line.rpartition(":")[2]) for line in process.stdout if line.startswith("listening: "))
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
                stream = connection.makefile("rb")
                for _ in range(200):
                    connection.sendall(framed("03 00 00 00 64"))
                    assert stream.read(209)[7:9] == b"\x03\xc8"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
