"""`fieldgate server explain` as users run it, and that a live server answers what it says."""

from __future__ import annotations

import getpass
import json
import socket
import struct
from pathlib import Path

import pytest

from fieldgate_core.credentials import encode_role
from support.box import Box, running_box
from support.in_process import Done, command
from support.mint import HOUR, Tls, issuing_ca
from support.site import Pki, write_files

GRANTS = {
    "operator": """[
  { units = "1-4", read = "holding 0-199, coils all" },
  { units = "3", write = "holding 100-119", values = "0..500" },
  { units = "3", write = "holding 120-121", values = "-0.5..50", type = "float32 CDAB" },
  { units = "3", write = "coils 0-7", from = "2020-12-01", until = 2020-12-08 },
  { units = "5", write = "coils all, discrete all, input all" },
  { units = "5", write = "holding 1", values = "0..7" },
  { units = "3", function = "identify" },
  { manage = ["stop"] },
]""",
}
UNITS = """[[unit]]
id = 3
default = true
holding = { size = 200 }
[[unit]]
id = 5
layout = "overlaid"
holding = { size = 10 }
"""


@pytest.fixture
def folder(site_pki: Pki, tmp_path: Path) -> Path:
    """A folder with server.toml and policy.toml."""
    write_files(site_pki, tmp_path, user=getpass.getuser(), grants=GRANTS, units=UNITS, extra="")
    return tmp_path


def explain(folder: Path, *args: str) -> Done:
    return command("server", "explain", "--config", str(folder / "server.toml"), *args)


OPERATOR = ("--role", "operator")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        ("--unit 3 write holding 100-110 --value 500", 0, ["allowed: role operator, unit 3", "by operator[1]"]),
        ("--unit 3 write holding 100-110 --value 600", 1, ["refused: ", "holding 100 would become 600", "0..500"]),
        ("--unit 3 write holding 100-110", 0, ["holding 100-110: operator[1] allows 0..500"]),
        ("--unit 3 write holding 115-125", 1, ["lets it write holding 122-125", "needed: "]),
        ("--unit 3 write holding 100-101 --value 1 501", 1, ["holding 101 would become 501"]),
        ("--unit 0 write holding 100 --value 1", 0, ["unit 3"]),
        ("write holding 100 --value 1", 0, ["unit 3"]),
        ("--unit 3 write coils 0 --value 1", 1, ["operator[3] would, from 2020-12-01"]),
        ("--unit 3 --at 2020-12-02 write coils 0 --value 1", 0, ["by operator[3]"]),
        ("--unit 3 --at 2020-12-08 write coils 0 --value 1", 1, ["operator[3] would"]),
        ("--unit 5 write coils 16-18 --value 1", 0, ["by operator[4]", "by operator[5]"]),
        ("--unit 5 write coils 19 --value 1", 1, ["holding 1 would become 8"]),
        ("--unit 5 write coils 32 --value 1", 1, ["lets it write holding 2"]),
        ("--unit 4 read holding 0-9", 0, ["the settings have no unit 4"]),
        ("--unit 3 read holding 190-205", 1, ["read holding 200-205"]),
        ("--unit 3 read holding 190-199, coils 5", 0, ["by operator[0]"]),
        ("--unit 3 function 43/14", 0, ["by operator[6]"]),
        ("--unit 3 function 8/0A", 1, ['function = "8/0A"']),
        ("manage stop", 0, ["by operator[7]"]),
        ("manage kick", 1, ['manage = ["kick"]']),
        ("--unit 3 write holding 100 --value 70000", 2, ["--value: '70000' is not a whole number"]),
        ("--unit 3 write holding 100 --value -5", 2, ["name their type"]),
        ("--unit 3 write holding 100 --type uint", 2, ["names no type", "float32 CDAB"]),
        ("--unit 3 write registers 100", 2, ["names no cells"]),
        ("--unit 3 function 999", 2, ["names no function"]),
        ("--unit 256 read holding 0", 2, ["is not 0 to 255"]),
        ("--unit 3 --at tomorrow read holding 0", 2, ["is no date"]),
        ("manage everything", 2, ["nothing to manage"]),
        ("read holding 0 --value 5", 2, ["belongs to write"]),
    ],
)
def test_for_a_role(folder: Path, args: str, code: int, said: list[str]) -> None:
    done = explain(folder, *OPERATOR, *args.split())
    assert done.returncode == code, done
    for text in said:
        assert text in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert bool(done.stdout) is (code < 2)


@pytest.mark.parametrize(
    ("values", "code"), [(("12.5",), 0), (("50",), 0), (("50.001",), 1), (("-0.5",), 0), (("-1",), 1)]
)
def test_values_of_a_type(folder: Path, values: tuple[str, ...], code: int) -> None:
    done = explain(
        folder, *OPERATOR, "--unit", "3", "write", "holding", "120-121", "--value", *values, "--type", "float32 CDAB"
    )
    assert done.returncode == code, done


def test_for_programs(folder: Path) -> None:
    done = explain(folder, *OPERATOR, "--json", "write", "holding", "100-119", "--value", "9")
    facts = json.loads(done.stdout)
    assert facts["allowed"] is True
    assert facts["grants"] == ["operator[1]"]
    assert facts["unit"] == 3
    refused = json.loads(explain(folder, *OPERATOR, "--json", "write", "holding", "99-119").stdout)
    assert refused["allowed"] is False
    assert refused["short"]["cells"] == "holding 99"
    assert refused["short"]["needed"] == '{ units = "3", write = "holding 99" }'


def test_what_nobody_declared(folder: Path) -> None:
    done = explain(folder, "--role", "operater", "manage", "stop")
    assert done.returncode == 2
    assert "declared: operator, viewer" in done.stderr


def test_a_policy_alone_knows_no_units(folder: Path) -> None:
    policy = ("--policy", str(folder / "policy.toml"))
    done = command("server", "explain", *policy, *OPERATOR, "--unit", "5", "write", "coils", "32", "--value", "1")
    assert done.returncode == 0, "separate tables are assumed"
    assert "tables are taken for separate" in done.stdout
    done = command("server", "explain", *policy, *OPERATOR, "--unit", "0", "write", "coils", "32")
    assert done.returncode == 2
    both = command("server", "explain", *policy, "--config", "x", *OPERATOR, "manage", "stop")
    assert both.returncode == 2


def test_for_a_user_of_this_machine(folder: Path) -> None:
    mine = explain(folder, "--user", getpass.getuser(), "write", "holding", "100", "--value", "5")
    assert mine.returncode == 0
    assert f"unix:{getpass.getuser()} as role operator" in mine.stdout
    daemon = explain(folder, "--user", "daemon", "write", "holding", "100", "--value", "5")
    assert daemon.returncode == 1
    assert "role viewer" in daemon.stdout
    other = explain(folder, "--user", "bin", "read", "holding", "0")
    assert other.returncode == 1
    assert "the policy gives this user no role" in other.stdout
    nobody = explain(folder, "--user", "no-such-user", "read", "holding", "0")
    assert nobody.returncode == 2
    assert "no such user" in nobody.stderr


@pytest.mark.requirement("R-29")
def test_for_a_certificate(folder: Path, site_pki: Pki, other_pki: Pki, tmp_path: Path) -> None:
    asked = ("write", "holding", "100", "--value", "5")

    def ask(identity: Path) -> tuple[int, str]:
        done = explain(folder, "--cert", str(identity / "tls-chain.pem"), *asked)
        return done.returncode, done.stdout + done.stderr

    code, said = ask(site_pki.client("operator"))
    assert code == 0, said
    assert "/operator as role operator" in said
    assert ask(site_pki.client("viewer"))[0] == 1
    code, said = ask(site_pki.client("stranger"))
    assert code == 1
    assert "may not give role 'stranger'" in said
    code, said = ask(other_pki.client("operator"))
    assert code == 1
    assert "none of the CAs" in said
    ca = issuing_ca(site_pki)
    code, said = ask(Tls(ca, roles=()).identity(site_pki, tmp_path / "null"))
    assert code == 1
    assert "role NULL" in said
    code, said = ask(Tls(ca, roles=(encode_role("operator"), b"")).identity(site_pki, tmp_path / "two"))
    assert code == 1
    assert "role INVALID" in said
    code, said = ask(Tls(ca, starts=-2 * HOUR, ends=-HOUR).identity(site_pki, tmp_path / "old"))
    assert code == 1
    assert "not in force" in said
    (tmp_path / "empty.pem").write_text("nothing")
    done = explain(folder, "--cert", str(tmp_path / "empty.pem"), *asked)
    assert done.returncode == 2
    assert "no certificate" in done.stderr


def test_who_is_revoked_may_nothing(folder: Path, site_pki: Pki) -> None:
    settings = (folder / "server.toml").read_text()
    (folder / "server.toml").write_text(f'revoked = "revoked"\n{settings}')
    chain = str(site_pki.client("operator") / "tls-chain.pem")
    (folder / "revoked").write_text("unix:daemon\n")
    asked = ("--json", "write", "holding", "100", "--value", "5")
    allowed = explain(folder, "--cert", chain, *asked)
    assert allowed.returncode == 0
    (folder / "revoked").write_text(f"unix:{getpass.getuser()}\n{json.loads(allowed.stdout)['identity']}\n")
    for who in (("--cert", chain), ("--user", getpass.getuser())):
        refused = explain(folder, *who, *asked)
        assert refused.returncode == 1
        assert "is revoked" in refused.stdout


def test_the_quick_start_has_its_owner(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text("[[unit]]\nid = 1\n")
    assert explain(tmp_path, "--user", getpass.getuser(), "write", "holding", "0", "--value", "1").returncode == 0
    assert explain(tmp_path, "--role", "owner", "manage", "kick").returncode == 0
    refused = explain(tmp_path, "--user", "daemon", "read", "holding", "0")
    assert refused.returncode == 1
    assert "only the user who started the server" in refused.stdout


WRITES = [
    (3, "holding", first, values)
    for first, values in (
        (99, [1]),
        (100, [500]),
        (100, [501]),
        (119, [1]),
        (118, [1, 2]),
        (119, [1, 0, 0x4148]),
        (120, [0, 0x4148]),
        (120, [1, 0x4248]),
        (120, [0]),
        (121, [0x4148]),
        (122, [1]),
        (199, [1, 1]),
    )
] + [
    (5, "coils", first, values)
    for first, values in ((16, [1]), (16, [1, 1, 1, 1]), (19, [1]), (31, [0, 1]), (15, [1]), (32, [1]), (159, [1, 1]))
]


def test_a_live_server_answers_what_is_explained(site_pki: Pki, tmp_path: Path) -> None:
    with running_box(site_pki, tmp_path, grants=GRANTS, units=UNITS) as box:
        for unit, table, first, values in WRITES:
            cells = f"{first}-{first + len(values) - 1}"
            args = ("--unit", str(unit), "write", table, cells, "--value", *map(str, values))
            done = explain(tmp_path, *OPERATOR, *args)
            assert (done.returncode == 1) is (_asked(box, unit, table, first, values) == 1), (args, done.stdout)


def _asked(box: Box, unit: int, table: str, first: int, values: list[int]) -> int:
    """Write through the loopback listener; gives the exception code, 0 for none."""
    if table == "coils":
        data = sum(value << at for at, value in enumerate(values)).to_bytes((len(values) + 7) // 8, "little")
        pdu = struct.pack(">BHHB", 15, first, len(values), len(data)) + data
    else:
        pdu = struct.pack(f">BHHB{len(values)}H", 16, first, len(values), 2 * len(values), *values)
    with socket.create_connection(("127.0.0.1", box.ports["modbus"]), timeout=10) as connection:
        connection.sendall(struct.pack(">HHHB", 1, 0, 1 + len(pdu), unit) + pdu)
        reply = connection.recv(260)
    return reply[8] if reply[7] & 0x80 else 0
