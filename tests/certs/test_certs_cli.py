"""The words of `fieldgate certs`: what is printed, what to do next, and how it fails."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from fieldgate_certs import authority, profiles
from fieldgate_certs.store import Store
from fieldgate_certs.subjects import Client
from fieldgate_certs.validity import Validity
from fieldgate_core import cli
from support.pki import write_phrase

TOOLS = ("openssl", "ssh", "ssh-keygen")
"""Stock tools that these tests need (conftest.py)."""


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def certs(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = cli.main(["certs", *args])
    return code, *capsys.readouterr()


def secrets(folder: Path) -> set[str]:
    """Every line of every private key."""
    private = [path for path in folder.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert private
    return {line for path in private for line in path.read_text().splitlines() if not line.startswith("-")}


def test_init_prints_the_issuers_for_the_policy(at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = certs(capsys, "init", "pki", "--name", "plant")
    assert code == 0
    pasted = re.search(r"^issuers = \[.*?^\]", out, re.MULTILINE | re.DOTALL)
    assert pasted
    fingerprint = subprocess.run(
        ["ssh-keygen", "-l", "-f", "pki/ssh/user-ca.pub"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    assert tomllib.loads(pasted[0]) == {"issuers": ["x509:CN=plant-issuing-1", f"ssh-ca:{fingerprint}"]}
    assert not any(secret in out for secret in secrets(at))


def test_each_next_step_of_init_works_as_printed(at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = certs(capsys, "init", "a b")
    steps = [shlex.split(line)[2:] for line in out.splitlines() if line.startswith("  fieldgate certs")]
    assert [step[:2] for step in steps] == [["issue", "server"], ["issue", "client"]]
    for step in steps:
        code, out, err = certs(capsys, *step)
        assert (code, err) == (0, "")
        assert not any(secret in out for secret in secrets(at))


def test_issue_server_prints_the_settings(at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certs(capsys, "init", "pki")
    code, out, _ = certs(capsys, "issue", "server", "box-1", "--ip", "127.0.0.1", "--dir", "pki")
    assert code == 0
    assert out.startswith("issued pki/issued/server/box-1/000001\n")
    settings = tomllib.loads(out[out.index("[tls]") :])
    identity = str(at / "pki/issued/server/box-1/current")
    assert settings == {"tls": {"identity": identity}, "ssh": {"identity": identity}}


def test_issue_client_prints_both_ways_in(at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certs(capsys, "init", "a b")
    code, out, _ = certs(capsys, "issue", "client", "ana", "--role", "operator", "--dir", "a b")
    assert code == 0
    kit, ssh = (shlex.split(line) for line in out.splitlines() if line.startswith(("  fieldgate", "  ssh")))
    current = "a b/issued/client/ana/current"
    assert kit == ["fieldgate", "client", "read", "modbus+tls://HOST", "--identity", current, "-t", "4", "-r", "1"]
    assert ssh[-1] == "operator@HOST"
    effective = subprocess.run([ssh[0], "-G", *ssh[1:]], capture_output=True, text=True, check=True).stdout
    assert f"userknownhostsfile {current}/known_hosts" in effective.replace('"', "")
    assert f"identityfile {current}/ssh-key" in effective
    assert "localforward 5021 [localhost]:502" in effective


def test_the_current_folder_is_the_default(
    at: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    certs(capsys, "init", "pki")
    code, _, err = certs(capsys, "issue", "client", "ana", "--role", "operator")
    assert code == 2
    assert "holds no PKI" in err
    assert "--dir DIR" in err
    monkeypatch.chdir(at / "pki")
    assert certs(capsys, "issue", "client", "ana", "--role", "operator")[0] == 0
    assert (at / "pki/issued/client/ana/current/tls-key.pem").exists()


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (("client", "ana", "--role", "a,b"), "an SSH login name cannot hold ','"),
        (("client", "ana", "--role", "NULL"), "a reserved word"),
        (("client", "../ana", "--role", "operator"), "a name is 1 to 64"),
        (("client", "ana", "--role", "operator", "--days", "0"), "1 to 825 days"),
        (("client", "ana", "--role", "operator", "--days", "826"), "1 to 825 days"),
        (("server", "box-1"), "1 to 256 hosts, this one has 0"),
        (("server", "box-1", "--dns", "127.0.0.1"), "an address, not a DNS name"),
        (("server", "box-1", "--ip", "localhost"), "not an IP address"),
    ],
)
def test_a_wrong_word_is_refused_before_anything_is_written(
    at: Path, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], problem: str
) -> None:
    certs(capsys, "init", "pki")
    code, out, err = certs(capsys, "issue", *args, "--dir", "pki")
    assert (code, out) == (2, "")
    assert problem in err
    assert "hint: " in err
    assert not (at / "pki/issued").exists()


def test_a_wrong_name_of_a_pki_is_refused_before_anything_is_written(
    at: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = certs(capsys, "init", "pki", "--name", "a,b")
    assert code == 2
    assert "a name is 1 to 54" in err
    assert not (at / "pki").exists()


def test_a_parent_that_is_not_there_is_named(at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = certs(capsys, "init", "no/pki")
    assert (code, err.splitlines()[0]) == (2, "fieldgate: error: no/pki: No such file or directory")


def test_a_leaf_that_ends_with_its_issuing_ca_says_so(at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Store.create(at / "pki", authority.create("plant", datetime.now(UTC) - timedelta(days=3600)))
    args = ("issue", "client", "ana", "--role", "operator", "--dir", "pki")
    assert ", with its issuing CA\n" in certs(capsys, *args)[1]
    assert ", with its issuing CA\n" not in certs(capsys, *args, "--days", "1")[1]


HELP: tuple[tuple[str, ...], ...] = (
    (),
    ("init",),
    ("issuing",),
    ("issue",),
    ("issue", "server"),
    ("issue", "client"),
    ("request",),
    ("sign",),
    ("install",),
    ("renew",),
    ("check",),
    ("show",),
    ("export",),
    ("export", "p12"),
    ("export", "trust"),
    ("revoke",),
    ("crl",),
    ("trust",),
    ("distrust",),
)
"""Every command, in an order in which their examples can be run."""


@pytest.mark.parametrize("args", HELP)
def test_help_has_an_example_and_never_loads_cryptography(args: tuple[str, ...]) -> None:
    code = (
        "import sys; from fieldgate_core.cli import main\n"
        f"try: main(['certs', *{args!r}, '--help'])\n"
        "finally: assert 'cryptography' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "\nexample:\n  fieldgate certs " in shown
    assert args == () or "\nexit codes: 0 " in shown


def test_the_list_of_commands_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["certs", "--help"])
    listed = re.findall(r"^    ([a-z]+) ", capsys.readouterr().out, re.MULTILINE)
    assert set(listed) == {args[0] for args in HELP if args}


def test_every_example_in_the_help_works(
    at: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_phrase(at / "phrase")
    (at / "inventory.toml").write_text('[server.box-1]\ndns = ["box-1.example.com"]\n')
    # whom nobody is asked for here: the password of the PKCS#12 file
    monkeypatch.setattr("fieldgate_certs.passphrase.ask", lambda _what: b"a password for export")
    run = 0
    for args in HELP:
        with pytest.raises(SystemExit):
            cli.main(["certs", *args, "--help"])
        # a long one goes on in the next line, as in a shell
        text = capsys.readouterr().out.replace("\\\n", " ")
        for example in re.findall(r"^  fieldgate certs (.*)", text, re.MULTILINE):
            before(at, example, capsys)
            code, _, err = certs(capsys, *shlex.split(example))
            assert (code, err) == (0, ""), example
            run += 1
    assert run >= 25


def before(at: Path, example: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Put in place what an example speaks of and another machine, or another day, has made."""
    for name in ("box-1", "ana"):
        request = at / name / "pending" / f"{name}.request"
        if example.startswith("sign ") and not (at / f"{name}.request").exists():
            certs(capsys, "request", name, "--dir", name)
            shutil.copy(request, at)
    if example.startswith("sign box-1"):
        (at / "box-1.answer").unlink(missing_ok=True)
    if example.startswith("install"):
        shutil.rmtree(at / "identity")
        (at / "box-1").rename(at / "identity")
    if example.startswith("show"):
        shutil.copy(at / "pki/issued/client/ana/current/tls-chain.pem", at / "chain.pem")
    if example.startswith("renew ana"):
        certs(capsys, "issue", "client", "ana", "--role", "operator", "--dir", "pki")
    if example.startswith("revoke 4F2A90B1"):
        (at / "pki/issued/client/old/000001").mkdir(parents=True)
        (at / "pki/issued/client/old/current").symlink_to("000001")
        (at / "pki/issued/client/old/000001/tls-chain.pem").write_bytes(with_serial(at / "pki", 0x4F2A90B1))
    if example.startswith("trust"):
        certs(capsys, "init", "new-pki", "--name", "new")
    if example.startswith("distrust"):
        certs(capsys, "init", "old-pki", "--name", "old")
        certs(capsys, "trust", "old-pki", "--dir", "new-pki")


def with_serial(pki: Path, serial: int) -> bytes:
    """A chain whose certificate has this serial number."""
    ca = authority.load(lambda file: (pki / file.path).read_bytes())
    now = datetime.now(UTC)
    life = Validity(now - timedelta(hours=1), now + timedelta(days=1))
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = profiles.client(Client("old", "operator"), key.public_key(), ca.issuing, life)
    return authority.pem(leaf.serial_number(serial).sign(ca.issuing_key, SHA256()), ca.issuing, ca.root)
