"""`fieldgate client check`: on a whole site each step is well; on each of twelve broken ones it names the cause."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jsonschema
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from support.box import Box, clean_environment, fieldgate, running_box, running_file
from support.faked_time import FakedTime
from support.mint import Tls, issuing_ca
from support.site import Pki, policy_text

TOOLS = ("faketime", "nft", "ip", "unshare", "openssl")

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "docs/client-check.schema.json").read_text())
)
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
STEPS = {
    "modbus": ["clock", "identity", "name", "route", "tcp", "open", "login", "role", "read"],
    "tls": ["clock", "identity", "name", "route", "tcp", "tls", "login", "role", "read"],
    "ssh": ["clock", "identity", "name", "route", "tcp", "ssh", "login", "role", "read"],
}


class Checked(NamedTuple):
    """What a check said: its exit code, and its steps by name."""

    code: int
    stopped: str | None
    steps: dict[str, dict[str, str]]

    @property
    def cause(self) -> str:
        """The text of the step that it stopped at."""
        assert self.stopped is not None
        return self.steps[self.stopped]["text"]

    @property
    def hint(self) -> str:
        """What it says to try."""
        assert self.stopped is not None
        return self.steps[self.stopped]["hint"]


def check(*args: str, before: tuple[str, ...] = (), **environment: str) -> Checked:
    """Run the command for programs."""
    command = [*before, sys.executable, "-m", "fieldgate_core.cli", "client", "check", *args, "--json"]
    done = subprocess.run(
        command, env=clean_environment(**environment), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    SCHEMA.validate(report)
    assert report["ok"] is (done.returncode == 0)
    return Checked(done.returncode, report["stopped"], {step["name"]: step for step in report["steps"]})


@pytest.mark.parametrize("door", ["modbus", "tls", "ssh"])
def test_on_a_whole_site_each_step_is_well(box: Box, door: str) -> None:
    checked = check(*box.where(door), "--write", "--expiry", "30")
    assert (checked.code, checked.stopped) == (0, None)
    assert list(checked.steps) == [*STEPS[door], "write", "expiry"]
    assert "is 17" in checked.steps["read"]["text"]
    assert not any("handshake failed" in line for line in box.audit_lines()), "a check knocks once"
    assert sum("event=write" in line and "outcome=done" in line for line in box.audit_lines()) == 1


def test_for_people_it_prints_a_line_a_step_and_what_to_try(box: Box) -> None:
    done = fieldgate("client", "check", *box.where("tls", "viewer"), "-a", "9")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines if not line.startswith(" ")] == STEPS["tls"]
    assert lines[-3].startswith("FAILED  role")
    assert "fieldgate server explain --role viewer --unit 9 read holding 0" in lines[-2]
    assert lines[-1].split() == ["-", "read", "not", "tried"]
    assert done.stderr == ""


def test_a_certificate_that_ends_soon_is_said_so(box: Box) -> None:
    for days, code in (("60", 0), ("91", 1)):
        checked = check(*box.where("tls"), "--expiry", days)
        assert (checked.code, checked.stopped) == (code, "expiry" if code else None)
    assert "ends on" in checked.cause


@contextlib.contextmanager
def served(pki: Pki, folder: Path, shown: Tls) -> Iterator[Box]:
    """Run our server with another certificate at its TLS door."""
    identity = shown.identity(pki, folder / "shown")
    shutil.copy(pki.server / "tls-client-ca.pem", identity)
    file = folder / "server.toml"
    file.write_text(
        f'policy = "policy.toml"\n[listen]\nport = 0\n[tls]\nhost = "127.0.0.1"\nport = 0\n'
        f'identity = "{identity}"\n[[unit]]\nid = 1\nholding = {{ initial = 17 }}\n'
    )
    (folder / "policy.toml").write_text(policy_text(pki, "root"))
    with running_file(pki, folder, file) as box:
        yield box


@contextlib.contextmanager
def stock_server(pki: Pki, folder: Path, shown: Tls) -> Iterator[int]:
    """Run `openssl s_server` with a certificate that our server would not start with."""
    identity = shown.identity(pki, folder / "shown")
    command = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", str(identity / "tls-chain.pem")]
    command += ["-key", str(identity / "tls-key.pem"), "-cert_chain", str(identity / "tls-chain.pem")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        accepting = next(line for line in process.stdout if line.startswith("ACCEPT"))
        try:
            yield int(accepting.rpartition(":")[2])
        finally:
            process.kill()


def test_the_servers_certificate_counts_too(site_pki: Pki, tmp_path: Path) -> None:
    soon = Tls(ca=issuing_ca(site_pki), name="box", ends=3 * 86400, purpose=SERVER, hosts=("localhost",))
    with served(site_pki, tmp_path, soon) as box:
        url = f"modbus+tls://localhost:{box.ports['tls']}"
        checked = check(url, "--identity", str(site_pki.client("operator")), "--expiry", "7")
    assert (checked.code, checked.stopped) == (1, "expiry")
    assert checked.cause.startswith("the server's certificate ends on")


# the twelve


def test_1_wrong_host_key(box: Box, other_pki: Pki) -> None:
    checked = check(box.url("ssh"), "--identity", str(other_pki.client("operator")))
    assert (checked.code, checked.stopped) == (3, "ssh")
    assert "host key is not accepted" in checked.cause


def test_2_expired_certificate(box: Box, tmp_path: Path) -> None:
    expired = Tls(ca=issuing_ca(box.pki), starts=-7200, ends=-3600).identity(box.pki, tmp_path / "expired")
    checked = check(box.url("tls"), "--identity", str(expired))
    assert (checked.code, checked.stopped) == (2, "identity")
    assert "the certificate expired on" in checked.cause
    assert checked.steps["tcp"]["outcome"] == "ok", "the way is tried all the same"
    assert checked.steps["tls"]["outcome"] == "skipped"


def test_2_expired_certificate_of_the_server(site_pki: Pki, tmp_path: Path) -> None:
    stale = Tls(ca=issuing_ca(site_pki), name="box", starts=-7200, ends=-3600, purpose=SERVER, hosts=("localhost",))
    with stock_server(site_pki, tmp_path, stale) as port:
        identity = str(site_pki.client("operator"))
        checked = check(f"modbus+tls://localhost:{port}", "--identity", identity)
    assert (checked.code, checked.stopped) == (3, "tls")
    assert "the server's certificate is not accepted: certificate has expired" in checked.cause


def test_3_wrong_role(box: Box) -> None:
    checked = check(*box.where("tls", "stranger"))
    assert (checked.code, checked.stopped) == (1, "role")
    assert "gives the role stranger no right to read holding 0 of unit 1" in checked.cause
    assert "fieldgate server explain --role stranger" in checked.hint


def test_4_firewall_drop(site_pki: Pki) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes a network namespace and a firewall in it")
    # two addresses of one namespace of its own: loopback packets pass the input chain too
    rules = "add table t; add chain t i {type filter hook input priority 0;}; add rule t i tcp dport 8802 drop"
    setup = f"ip link set lo up && nft '{rules}' && exec \"$@\""
    identity = str(site_pki.client("operator"))
    checked = check(
        "modbus+tls://127.0.0.1:8802", "--identity", identity, before=("unshare", "--net", "sh", "-c", setup, "sh")
    )
    assert (checked.code, checked.stopped) == (4, "tcp")
    assert "connecting to 127.0.0.1 port 8802: no answer" in checked.cause
    assert "firewall" in checked.hint


def test_5_dead_server(box: Box) -> None:
    box.process.send_signal(signal.SIGSTOP)
    # at once, since each waits for its deadline
    with ThreadPoolExecutor() as both:
        tls, ssh = both.map(lambda door: check(*box.where(door)), ("tls", "ssh"))
    for door, checked in (("tls", tls), ("ssh", ssh)):
        assert (checked.code, checked.stopped) == (4, door)
        assert "the server hangs" in checked.hint


def test_6_wrong_unit(box: Box) -> None:
    checked = check(*box.where("tls"), "-a", "9")
    assert (checked.code, checked.stopped) == (1, "read")
    assert "exception 0A" in checked.cause
    assert "no such unit" in checked.hint


def test_7_dns_failure(site_pki: Pki) -> None:
    checked = check("modbus+tls://no-such-box.invalid", "--identity", str(site_pki.client("operator")))
    assert (checked.code, checked.stopped) == (3, "name")
    assert "no such host" in checked.cause


def test_8_full_disk(site_pki: Pki, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], check=True)
    try:
        with running_box(site_pki, disk, units="[[unit]]\nid = 1\nholding = { initial = 17 }\n") as box:
            assert check(*box.where("tls"), "--write").code == 0
            with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
                while filler.write(b"\0" * 512):
                    pass
            write_until_refused(box)
            assert check(*box.where("tls")).code == 0, "it goes on reading"
            checked = check(*box.where("tls"), "--write")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    assert (checked.code, checked.stopped) == (1, "write")
    assert "disk full" in checked.hint


def write_until_refused(box: Box) -> None:
    """Use up what the trail's last block has left."""
    with socket.create_connection(("127.0.0.1", box.ports["modbus"])) as plain, plain.makefile("rb") as replies:
        reply = b""
        while reply[7:8] != b"\x86":
            plain.sendall(bytes.fromhex("000100000006010600050011"))
            header = replies.read(6)
            reply = header + replies.read(header[5])
        assert reply[8] == 4


def test_9_missing_key(box: Box, tmp_path: Path) -> None:
    folder = tmp_path / "ana"
    shutil.copytree(box.pki.client("operator"), folder)
    (folder / "tls-key.pem").unlink()
    checked = check(box.url("tls"), "--identity", str(folder))
    assert (checked.code, checked.stopped) == (2, "identity")
    assert checked.cause == f"{folder / 'tls-key.pem'}: no such file or folder"


@pytest.mark.parametrize(("door", "key"), [("tls", "tls-key.pem"), ("ssh", "ssh-key")])
def test_10_bad_permissions(box: Box, tmp_path: Path, door: str, key: str) -> None:
    folder = tmp_path / "ana"
    shutil.copytree(box.pki.client("operator"), folder)
    (folder / key).chmod(0o644)
    checked = check(box.url(door), "--identity", str(folder))
    assert (checked.code, checked.stopped) == (2, "identity")
    assert checked.cause.endswith("others can read this private key")
    assert checked.hint == f"chmod 600 {folder / key}"


def test_11_clock_off(box: Box, tmp_path: Path) -> None:
    clock = FakedTime(tmp_path, "@1970-01-02 00:00:00")
    checked = check(*box.where("tls"), before=(), **clock.environment)
    assert (checked.code, checked.stopped) == (2, "clock")
    assert "the clock looks wrong: it says 1970-01-02" in checked.cause


def test_12_port_closed(site_pki: Pki) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"modbus+tls://127.0.0.1:{closed.getsockname()[1]}"
        checked = check(url, "--identity", str(site_pki.client("operator")))
    assert (checked.code, checked.stopped) == (3, "tcp")
    assert "the port is closed" in checked.cause


# and what else is often wrong


def test_our_certificate_is_of_another_ca(box: Box, other_pki: Pki, tmp_path: Path) -> None:
    folder = tmp_path / "ana"
    shutil.copytree(other_pki.client("operator"), folder)
    shutil.copy(box.pki.client("operator") / "tls-server-ca.pem", folder / "tls-server-ca.pem")
    checked = check(box.url("tls"), "--identity", str(folder))
    assert (checked.code, checked.stopped) == (3, "login")
    assert "does not accept our certificate" in checked.cause


def test_the_ssh_login_is_no_principal(box: Box) -> None:
    checked = check(box.url("ssh", "viewer"), "--identity", str(box.identity("operator")))
    assert (checked.code, checked.stopped) == (3, "login")


def test_what_listens_there_is_no_door(box: Box) -> None:
    # the plain listener takes a ClientHello for a broken frame and closes
    url = f"modbus+tls://127.0.0.1:{box.ports['modbus']}"
    checked = check(url, "--identity", str(box.identity("operator")))
    assert (checked.code, checked.stopped) == (3, "tls")


def test_a_name_of_the_site_list_brings_its_identity_and_unit(box: Box, tmp_path: Path) -> None:
    (tmp_path / "sites.toml").write_text(
        f'[site.pump-7]\nurl = "{box.url("tls")}"\nunit = 9\nidentity = "{box.identity("viewer")}"\n'
    )
    checked = check("pump-7", FIELDGATE_SITES=str(tmp_path / "sites.toml"))
    assert (checked.code, checked.stopped) == (1, "role")
    assert "gives the role viewer no right to read holding 0 of unit 9" in checked.cause


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Make an empty `~/.ssh/config`."""
    file = tmp_path / "home/.ssh/config"
    file.parent.mkdir(mode=0o700, parents=True)
    file.touch()
    return file


def check_as(config: Path, box: Box, host: str) -> Checked:
    url, identity = f"modbus+ssh://operator@{host}", str(box.identity("operator"))
    return check(url, "--identity", identity, HOME=str(config.parent.parent))


def test_an_alias_of_ssh_is_walked_to_the_host_that_it_means(box: Box, config: Path) -> None:
    config.write_text(f"Host pump\n HostName localhost\n AddressFamily inet\n Port {box.ports['ssh']}\n")
    checked = check_as(config, box, "pump")
    assert (checked.code, checked.stopped) == (0, None)
    assert checked.steps["name"]["text"] == "pump is localhost by ~/.ssh/config; localhost is 127.0.0.1"
    assert checked.steps["tcp"]["text"] == f"127.0.0.1 port {box.ports['ssh']} answers"


def test_where_the_way_begins_at_a_jump_host_that_one_is_looked_for(box: Box, config: Path) -> None:
    config.write_text("Host pump\n HostName 127.0.0.1\n ProxyJump no-such-bastion.invalid\n")
    checked = check_as(config, box, "pump")
    assert (checked.code, checked.stopped) == (3, "name")
    assert checked.cause.startswith("no-such-bastion.invalid: no such host")


def test_what_a_proxy_command_does_is_left_to_it(box: Box, config: Path) -> None:
    line = "bash -c 'exec 3<>/dev/tcp/%h/%p; cat <&3 & exec cat >&3'"
    where = f"Host pump\n HostName 127.0.0.1\n Port {box.ports['ssh']}\n ProxyCommand "
    config.write_text(where + line)
    checked = check_as(config, box, "pump")
    assert (checked.code, checked.stopped) == (0, None)
    assert "bash -c" in checked.steps["name"]["text"]
    assert [checked.steps[name]["outcome"] for name in ("route", "tcp", "read")] == ["skipped", "skipped", "ok"]
    config.write_text(where + "/no/such/program %h %p")
    checked = check_as(config, box, "pump")
    assert (checked.code, checked.stopped) == (3, "ssh")
    assert "/no/such/program: no such file or directory" in checked.cause
    assert "ProxyCommand" in checked.hint


def test_a_wrong_ssh_configuration_is_named(box: Box, config: Path) -> None:
    config.write_text("Host pump\n Port many\n")
    checked = check_as(config, box, "pump")
    assert (checked.code, checked.stopped) == (2, "name")
    assert "~/.ssh/config: cannot be used" in checked.cause


def test_another_programs_port_and_a_mute_one_are_told_apart() -> None:
    for answer, code, hint in ((b"HTTP/1.1 400 Bad Request\r\n\r\n", 3, "ss -ltnp"), (None, 4, "listen-only")):
        with socket.create_server(("127.0.0.1", 0)) as other, ThreadPoolExecutor() as beside:
            asked = beside.submit(check, f"modbus://127.0.0.1:{other.getsockname()[1]}", "-o", "0.2")
            peer, _ = other.accept()
            with peer:
                assert len(peer.recv(12)) == 12
                if answer is not None:
                    peer.sendall(answer)
                checked = asked.result()
        assert (checked.code, checked.stopped) == (code, "login")
        assert hint in checked.hint


def test_ssh_says_what_it_cannot_see_the_end_of(box: Box) -> None:
    checked = check(*box.where("ssh"), "--expiry", "0")
    assert "the host certificate's end is not shown to SSH clients" in checked.steps["expiry"]["text"]


def test_read_only_cells_are_not_written_back(site_pki: Pki) -> None:
    done = fieldgate("client", "check", "modbus://127.0.0.1", "-t", "3", "--write")
    assert done.returncode == 2
    assert "read only" in done.stderr
