"""What is in a file, what ends soon, and what foreign programs are given; judged by their own tools."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fieldgate_certs import authority, revoking
from fieldgate_certs.choices import TRUST_FORMS
from fieldgate_certs.store import Store
from fieldgate_certs.subjects import Client, Server
from fieldgate_core.credentials import encode_role
from support.in_process import command
from support.mint import Tls, issuing_ca
from support.pki import carried, certs, openssl, refused, write_phrase
from support.site import Pki

TOOLS = ("openssl", "ssh-keygen")
"""Stock tools that these tests need (conftest.py)."""
NOW = datetime.now(UTC)


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    """A PKI with a client that ends in 10 days and a server that ends in 80; its lists end in 20."""
    store = Store.create(tmp_path / "pki", authority.create("plant", NOW - timedelta(days=100)))
    ca = authority.load(store.read)
    ana, box = Client("ana", "operator"), Server("box-1", ("localhost",))
    store.add(ana, ca.issue(ana, 90, NOW - timedelta(days=80)).files)
    store.add(box, ca.issue(box, 90, NOW - timedelta(days=10)).files)
    revoking.publish(store, NOW, days=20)
    return store.folder


def current(pki: Path, holder: str, file: str = "tls-chain.pem") -> Path:
    return pki / "issued" / holder / "current" / file


def checked(days: int, *paths: Path) -> tuple[int, list[str]]:
    done = command("certs", "check", "--days", str(days), "--json", *map(str, paths))
    return done.returncode, [
        f"{Path(one['file']).name}: {one['kind']}" for one in json.loads(done.stdout) if one["soon"]
    ]


def test_check_finds_what_ends_and_its_exit_code_says_so(pki: Path) -> None:
    assert checked(5, pki) == (0, [])
    code, found = checked(15, pki)
    assert code == 1
    assert sorted(found) == ["ssh-key-cert.pub: OpenSSH user certificate", "tls-chain.pem: X.509 client certificate"]
    assert sorted(checked(25, pki)[1]) == [*sorted([*found, "issuing.crl.pem: X.509 CRL"])]
    assert "ssh-host-key-cert.pub: OpenSSH host certificate" in checked(85, pki)[1]
    assert "cert.pem: X.509 issuing CA" in checked(4000, pki)[1]


def test_check_says_it_for_people(pki: Path) -> None:
    done = command("certs", "check", "--days", "15", str(pki))
    assert done.returncode == 1
    assert re.findall(r"^ends (20\d\d-\d\d-\d\d) .* X.509 client certificate ana$", done.stdout, re.MULTILINE)
    assert certs("check", "--days", "5", pki).startswith("nothing of ")


def test_of_an_identitys_generations_only_the_one_in_force_counts(pki: Path) -> None:
    certs("renew", "ana", "--dir", pki)
    assert checked(15, pki) == (0, [])
    old = pki / "issued/client/ana/000001"
    assert checked(15, old)[0] == 1  # it is what was asked for


def test_what_has_ended_already_counts(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "pki", authority.create("plant", NOW - timedelta(days=100)))
    ca, ana = authority.load(store.read), Client("ana", "operator")
    store.add(ana, ca.issue(ana, 30, NOW - timedelta(days=60)).files)
    done = command("certs", "check", "--days", "0", str(store.folder))
    assert (done.returncode, done.stdout.count("ended ")) == (1, 2)


@pytest.mark.parametrize("form", ["PEM", "DER"])
@pytest.mark.parametrize("kind", ["x509", "crl"])
def test_check_and_show_read_pem_and_der(pki: Path, tmp_path: Path, kind: str, form: str) -> None:
    source = current(pki, "client/ana") if kind == "x509" else pki / "published/issuing.crl.pem"
    (tmp_path / "in").mkdir()
    openssl(kind, "-in", source, "-outform", form, "-out", tmp_path / "in/file")
    assert checked(21, tmp_path / "in")[0] == 1
    assert checked(5, tmp_path / "in")[0] == 0
    assert ("CN=plant-issuing-1" if kind == "crl" else "ana") in certs("show", tmp_path / "in/file")


def test_what_cannot_be_looked_into_is_said(pki: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    phrase = write_phrase(tmp_path / "phrase")
    certs("export", "p12", "ana", folder / "ana.p12", "--password-file", phrase, "--dir", pki)
    (folder / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (folder / "notes.txt").write_text("ours\n")
    done = command("certs", "check", str(folder))
    assert done.returncode == 0
    assert "ana.p12: PKCS#12: cannot be looked into without its password" in done.stderr
    assert "broken.pem: certificate: cannot be read" in done.stderr
    assert "notes.txt" not in done.stderr
    (folder / "large.pem").write_text("\n" * (1 << 20) + (pki / "x509/root/cert.pem").read_text())
    assert "large.pem: is larger than 1 MiB" in command("certs", "check", str(folder)).stderr
    assert refused("check", tmp_path / "nowhere").count("No such file") == 1


def test_show_says_who_it_is_and_how_the_trail_calls_it(pki: Path) -> None:
    shown = json.loads(
        certs("show", "--json", current(pki, "client/ana"), current(pki, "client/ana", "ssh-key-cert.pub"))
    )
    leaf, issuing, root, ssh = shown
    fingerprint = openssl(
        "x509", "-in", current(pki, "client/ana"), "-noout", "-fingerprint", "-sha256", "-serial", "-enddate"
    )
    assert f"={leaf['sha256']}\n" in fingerprint
    assert f"serial={leaf['serial']}\n" in fingerprint
    ends = re.findall("notAfter=(.*)", fingerprint)[0]
    assert datetime.strptime(ends, "%b %d %H:%M:%S %Y %Z") == datetime.strptime(leaf["not_after"], "%Y-%m-%dT%H:%M:%SZ")  # noqa: DTZ007
    assert (leaf["kind"], leaf["role"]) == ("X.509 client certificate", "operator")
    assert leaf["identity"] == f"tls:CN=plant-issuing-1/{leaf['serial']}/ana"
    assert (issuing["kind"], issuing["policy issuer"]) == ("X.509 issuing CA", "x509:CN=plant-issuing-1")
    assert root["kind"] == "X.509 root"
    listing = subprocess.run(
        ["ssh-keygen", "-L", "-f", current(pki, "client/ana", "ssh-key-cert.pub")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    ca, serial = re.findall(r"Signing CA: ED25519 (\S+)", listing)[0], re.findall(r"Serial: (\d+)", listing)[0]
    assert ssh["identity"] == f"ssh:{ca}/{serial}/ana"
    assert (ssh["role"], ssh["force-command"]) == ("operator", "/usr/sbin/nologin")


def test_show_gives_no_private_key_and_escapes_what_others_wrote(pki: Path, tmp_path: Path) -> None:
    secret = current(pki, "client/ana", "tls-key.pem")
    shown = certs("show", secret)
    assert "not shown" in shown
    assert not any(line in shown for line in secret.read_text().splitlines()[1:-1])
    openssl(
        "req",
        "-x509",
        "-newkey",
        "ed25519",
        "-nodes",
        "-keyout",
        tmp_path / "k",
        "-out",
        tmp_path / "c",
        "-subj",
        "/CN=a\x1b[31m",
        "-utf8",
    )
    assert "\x1b" not in certs("show", tmp_path / "c")


def test_show_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("ours\n")
    assert "holds nothing that is known here" in refused("show", tmp_path / "notes.txt")


def test_a_foreign_program_opens_the_pkcs12_with_the_password_only(pki: Path, tmp_path: Path) -> None:
    phrase, out = write_phrase(tmp_path / "phrase"), tmp_path / "ana.p12"
    words = ("export", "p12", "ana", out, "--password-file", phrase, "--dir", pki)
    certs(*words)
    assert out.stat().st_mode & 0o777 == 0o600
    opened = openssl("pkcs12", "-in", out, "-passin", f"file:{phrase}", "-nodes")
    assert opened.count("BEGIN CERTIFICATE") == 3
    assert opened.count("PRIVATE KEY-----") == 2
    wrong = subprocess.run(
        ["openssl", "pkcs12", "-in", out, "-passin", "pass:wrong", "-nodes"], capture_output=True, check=False
    )
    assert wrong.returncode != 0
    assert "is there already" in refused(*words)


def test_a_key_that_stayed_on_the_box_is_not_exported(pki: Path, tmp_path: Path) -> None:
    carried(pki, tmp_path / "id", "bob", "--role", "viewer")
    phrase = write_phrase(tmp_path / "phrase")
    words = ("export", "p12", "bob", tmp_path / "bob.p12", "--password-file", phrase, "--dir", pki)
    assert "the private key is not here" in refused(*words)
    assert not (tmp_path / "bob.p12").exists()


@pytest.mark.parametrize("form", TRUST_FORMS)
def test_trust_is_given_in_the_forms_that_others_want(pki: Path, form: str) -> None:
    script: list[str | Path] = [
        sys.executable,
        "-m",
        "fieldgate_core.cli",
        "certs",
        "export",
        "trust",
        form,
        "--role",
        "operator",
        "--dir",
        pki,
    ]
    out = subprocess.run(script, capture_output=True, check=True).stdout
    root, issuing = (
        x509.load_pem_x509_certificate((pki / f"x509/{name}/cert.pem").read_bytes()) for name in ("root", "issuing")
    )
    pem = {"server-ca": [root], "client-ca": [issuing], "client-ca-chain": [issuing, root]}
    if form in pem:
        assert x509.load_pem_x509_certificates(out) == pem[form]
    elif form == "server-ca-der":
        assert out == root.public_bytes(Encoding.DER)
    else:
        ca = "host-ca" if form == "known-hosts" else "user-ca"
        line = (pki / f"ssh/{ca}.pub").read_text()
        targets = ",".join(f'permitopen="{host}:502"' for host in ("127.0.0.1", "localhost", "[::1]"))
        options = (
            f'cert-authority,principals="operator",restrict,port-forwarding,{targets},command="/usr/sbin/nologin" '
        )
        before = {"known-hosts": "@cert-authority * ", "user-ca-keys": "", "authorized-keys": options}[form]
        assert out.decode() == before + line


def test_a_role_adds_no_option_to_authorized_keys(pki: Path) -> None:
    for role in ('x",permitopen="*:22', "operator,root", "operator\nssh-ed25519 AAAA"):
        assert "cannot hold" in refused("export", "trust", "authorized-keys", "--role", role, "--dir", pki)


def test_authorized_keys_need_a_role(pki: Path) -> None:
    assert "it needs the role" in refused("export", "trust", "authorized-keys", "--dir", pki)


def test_a_file_that_cannot_be_opened_is_said_and_the_rest_is_looked_at(pki: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/dangling").symlink_to("nowhere")
    (tmp_path / "in/cert.pem").write_bytes(current(pki, "client/ana").read_bytes())
    assert checked(15, tmp_path / "in")[0] == 1


@pytest.mark.parametrize("form", [Encoding.PEM, Encoding.DER])
def test_show_says_what_is_wrong_with_a_role(site_pki: Pki, tmp_path: Path, form: Encoding) -> None:
    """Of a certificate that a door takes for INVALID it can still be said whose it is, and so be revoked."""
    values: dict[str, tuple[bytes, ...]] = {
        "INVALID: its extensions cannot be read": (encode_role("operator"), encode_role("viewer")),
        "INVALID: the role is not a UTF8String": (b"\x13\x01a",),
        "NULL (it names none)": (),
    }
    for number, (said, roles) in enumerate(values.items()):
        folder = Tls(ca=issuing_ca(site_pki), roles=roles).identity(site_pki, tmp_path / str(number))
        leaf = x509.load_pem_x509_certificates((folder / "tls-chain.pem").read_bytes())[0]
        (tmp_path / "leaf").write_bytes(leaf.public_bytes(form))
        shown = json.loads(certs("show", "--json", tmp_path / "leaf"))
        assert shown[0]["role"] == said
        assert shown[0]["identity"] == f"tls:CN=test-issuing-1/{leaf.serial_number:X}/odd"


@pytest.mark.parametrize("form", ["pem", "der"])
def test_a_certificate_of_a_version_that_is_not_known_ends_no_check(pki: Path, tmp_path: Path, form: str) -> None:
    der = x509.load_pem_x509_certificate((pki / "x509/root/cert.pem").read_bytes()).public_bytes(Encoding.DER)
    odd = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05", 1)
    assert odd != der
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(odd) + b"-----END CERTIFICATE-----\n"
    (tmp_path / "odd").write_bytes(pem if form == "pem" else odd)
    done = command("certs", "check", str(tmp_path / "odd"))
    assert (done.returncode, done.stdout) == (0, "nothing of 0 ends within 14 days\n")
    assert form == "der" or "odd: certificate: cannot be read" in done.stderr
