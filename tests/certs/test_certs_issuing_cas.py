"""Issuing CAs for a site, judged by OpenSSL: what is not permitted is closed, and the root stays off the machine."""

from __future__ import annotations

import ipaddress
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from fieldgate_certs import authority, layout, profiles
from fieldgate_certs.constraints import Constraints
from fieldgate_certs.subjects import Server
from fieldgate_certs.validity import Validity
from fieldgate_core.errors import PkiError
from support.in_process import command
from support.pki import PASSPHRASE, certs, openssl, openssl_verify, refused, write_phrase

TOOLS = ("openssl", "ssh-keygen")
"""Stock tools that these tests need (conftest.py)."""
NOW = datetime.now(UTC)


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    certs("init", tmp_path / "pki", "--name", "plant")
    return tmp_path / "pki"


def site_ca(pki: Path, *permits: str, name: str = "plant-a") -> Path:
    certs("issuing", name, *permits, "--dir", pki)
    return pki / "x509/issuing" / name


def leaf_with(ca: Path, root: Path, to: Path, *names: x509.GeneralName, common_name: str = "box-1") -> Path:
    """Sign a certificate by a CA's key that its own tool would refuse to sign."""
    cert = x509.load_pem_x509_certificate((ca / "cert.pem").read_bytes())
    ca_key = load_pem_private_key((ca / "key.pem").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    life = Validity(NOW.replace(microsecond=0), NOW.replace(microsecond=0) + timedelta(days=1))
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    builder = profiles._leaf(common_name, key, cert, life, x509.oid.ExtendedKeyUsageOID.SERVER_AUTH)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    leaf = builder.serial_number(1).sign(ca_key, hashes.SHA256())
    to.write_bytes(authority.pem(leaf, cert) + root.read_bytes())
    return to


DNS, IPV4, IPV6 = (
    ("--permit-dns", "plant-a.example"),
    ("--permit-ip", "10.1.0.0/16"),
    ("--permit-ip", "2001:db8:1::/48"),
)


def dns(text: str) -> x509.GeneralName:
    return x509.DNSName(text)


def ip(text: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    ("permits", "name"),
    [
        (DNS, dns("plant-a.example")),
        (DNS, dns("box-1.plant-a.example")),
        (IPV4, ip("10.1.255.255")),
        (IPV6, ip("2001:db8:1::1")),
        (DNS + IPV4 + IPV6, ip("10.1.0.0")),
    ],
)
def test_openssl_takes_what_is_permitted(pki: Path, permits: tuple[str, ...], name: x509.GeneralName) -> None:
    chain = leaf_with(site_ca(pki, *permits), pki / "x509/root/cert.pem", pki / "chain.pem", name)
    assert openssl_verify(chain, pki / "x509/root/cert.pem", "sslserver") == "ok"


@pytest.mark.parametrize(
    ("permits", "name"),
    [
        (DNS, dns("plant-b.example")),
        (DNS, dns("notplant-a.example")),
        (DNS, ip("10.1.0.1")),
        (DNS, ip("2001:db8:1::1")),
        (DNS, x509.UniformResourceIdentifier("https://box-1.plant-a.example/")),
        (DNS, x509.UniformResourceIdentifier("spiffe://plant-a.example/box")),
        (DNS, x509.RFC822Name("ana@plant-a.example")),
        (IPV4, dns("plant-a.example")),
        (IPV4, ip("10.2.0.1")),
        (IPV4, ip("2001:db8:1::1")),
        (IPV6, ip("10.1.0.1")),
        (IPV6, ip("2001:db8:2::1")),
        (IPV4, x509.RFC822Name("ana@plant-a.example")),
    ],
)
def test_openssl_refuses_what_is_not_permitted(pki: Path, permits: tuple[str, ...], name: x509.GeneralName) -> None:
    """A CA whose key is stolen cannot vouch for another site either: the constraint is in its certificate."""
    chain = leaf_with(site_ca(pki, *permits), pki / "x509/root/cert.pem", pki / "chain.pem", name)
    verdict = openssl_verify(chain, pki / "x509/root/cert.pem", "sslserver")
    assert "permitted subtree violation" in verdict or "excluded subtree violation" in verdict


def test_the_constraint_is_critical_and_nothing_but_it_was_added(pki: Path) -> None:
    site_ca(pki, *DNS, *IPV4)
    shown = openssl("x509", "-in", pki / "x509/issuing/plant-a/cert.pem", "-noout", "-text")
    assert "X509v3 Name Constraints: critical" in shown
    assert "IP:10.1.0.0/255.255.0.0" in shown
    assert "Excluded:\n                  IP:0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0\n" in shown
    assert "pathlen:0" in shown


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (("server", "box-1", "--dns", "box-1.plant-b.example"), "box-1.plant-b.example: this issuing CA may not vouch"),
        (("server", "box-1", "--dns", "a.plant-a.example", "--ip", "10.2.0.1"), "10.2.0.1: this issuing CA may not"),
        (("client", "ana.silva", "--role", "operator"), "ana.silva: verifiers take a name with a dot for a host"),
    ],
)
def test_what_a_site_ca_may_not_vouch_for_is_refused_before_it_is_signed(
    pki: Path, args: tuple[str, ...], problem: str
) -> None:
    """And so never reaches a box: the IP outside the constraint among them."""
    site_ca(pki, *DNS, *IPV4)
    assert problem in refused("issue", *args, "--ca", "plant-a", "--dir", pki)
    assert not (pki / "issued").exists()


def test_a_dotted_common_name_that_openssl_would_refuse_is_the_one_we_refuse(pki: Path) -> None:
    ca, root = site_ca(pki, *DNS), pki / "x509/root/cert.pem"
    bad = leaf_with(ca, root, pki / "chain.pem", common_name="ana.silva")
    assert "permitted subtree violation" in openssl_verify(bad, root, "sslserver")
    good = leaf_with(ca, root, pki / "chain.pem", common_name="ana-silva")
    assert openssl_verify(good, root, "sslserver") == "ok"


def test_a_site_ca_issues_at_both_doors_and_says_the_issuers_for_its_policy(pki: Path) -> None:
    said = certs("issuing", "plant-a", *DNS, *IPV4, "--dir", pki)
    certs(
        "issue",
        "server",
        "box-1",
        "--dns",
        "box-1.plant-a.example",
        "--ip",
        "10.1.0.17",
        "--ca",
        "plant-a",
        "--dir",
        pki,
    )
    certs("issue", "client", "ana", "--role", "operator", "--ca", "plant-a", "--dir", pki)
    server, client = pki / "issued/server/box-1/current", pki / "issued/client/ana/current"
    root = pki / "x509/root/cert.pem"
    assert openssl_verify(server / "tls-chain.pem", root, "sslserver") == "ok"
    assert openssl_verify(client / "tls-chain.pem", root, "sslclient") == "ok"
    ca = authority.load(lambda file: (pki / file.path).read_bytes(), "plant-a")
    assert all(f'"{issuer}"' in said for issuer in ca.policy_issuers)
    # the two SSH CAs are the site's own: the other site's users and hosts are strangers here
    assert (server / "ssh-user-ca.pub").read_bytes() == (pki / "ssh/plant-a/user-ca.pub").read_bytes()
    assert (pki / "ssh/plant-a/host-ca.pub").read_bytes() in (client / "known_hosts").read_bytes()
    assert (pki / "ssh/host-ca.pub").read_bytes() not in (client / "known_hosts").read_bytes()


def test_a_site_ca_must_be_permitted_something_and_have_a_name_of_its_own(pki: Path) -> None:
    assert "it has no names to vouch for" in refused("issuing", "plant-a", "--dir", pki)
    assert "not a network" in refused("issuing", "plant-a", "--permit-ip", "10.1.0.1/16", "--dir", pki)
    assert "is called plant-issuing-1 already" in refused("issuing", "issuing-1", *DNS, "--dir", pki)
    site_ca(pki, *DNS)
    assert "already" in refused("issuing", "plant-a", *DNS, "--dir", pki)
    assert "no such issuing CA" in refused("issue", "client", "ana", "--role", "r", "--ca", "plant-b", "--dir", pki)


def test_an_issuing_ca_does_not_outlive_the_root(pki: Path) -> None:
    problem = "it would outlive the root"
    assert problem in refused("issuing", "plant-a", *DNS, "--days", "7301", "--dir", pki)


@pytest.mark.parametrize("key", ["ecdsa", "rsa"])
def test_a_pki_of_either_kind_of_key_passes_openssl_strictly(tmp_path: Path, key: str) -> None:
    """R-39 wants RSA to exist, R-61 P-256."""
    pki = tmp_path / "pki"
    certs("init", pki, "--key", key)
    certs("issue", "server", "box-1", "--dns", "localhost", "--dir", pki)
    certs("issue", "client", "ana", "--role", "operator", "--dir", pki)
    root = pki / "x509/root/cert.pem"
    for path, purpose in (("server/box-1", "sslserver"), ("client/ana", "sslclient")):
        chain = pki / "issued" / path / "current/tls-chain.pem"
        assert openssl_verify(chain, root, purpose) == "ok"
        kinds = {"ecdsa": ["ASN1 OID: prime256v1"], "rsa": ["Public-Key: (3072 bit)"]}[key]
        for one in x509.load_pem_x509_certificates(chain.read_bytes()):
            shown = openssl("x509", "-noout", "-text", data=one.public_bytes(Encoding.PEM))
            assert all(kind in shown for kind in kinds)


def test_the_roots_key_goes_elsewhere_with_its_passphrase_and_comes_back_for_an_issuing_ca(tmp_path: Path) -> None:
    pki, stick, phrase = tmp_path / "pki", tmp_path / "stick", write_phrase(tmp_path / "phrase")
    said = certs("init", pki, "--root", stick, "--root-passphrase-file", phrase)
    assert f"keep {stick} off this machine" in said
    assert not (pki / layout.ROOT_KEY.path).exists()
    assert stick.stat().st_mode & 0o777 == 0o700
    assert (stick / "key.pem").stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in (stick / "key.pem").read_bytes()
    certs("issue", "client", "ana", "--role", "operator", "--dir", pki)  # never needs it
    assert "the root's key is not here" in refused("issuing", "plant-a", *DNS, "--dir", pki)
    wrong = write_phrase(tmp_path / "wrong", "not the right words")
    with_root = ("--dir", pki, "--root", stick, "--root-passphrase-file")
    assert "the passphrase does not open this key" in refused("issuing", "plant-a", *DNS, *with_root, wrong)
    certs("issuing", "plant-a", *DNS, *with_root, phrase)
    assert openssl_verify(pki / "x509/issuing/plant-a/cert.pem", stick / "cert.pem", "any") == "ok"


def test_a_passphrase_that_is_short_or_that_others_can_read_is_refused(tmp_path: Path) -> None:
    short = write_phrase(tmp_path / "short", "too short")
    args = ("init", tmp_path / "pki", "--root-passphrase-file")
    assert "at least 12 characters" in refused(*args, short)
    long = write_phrase(tmp_path / "long", "x" * 1024)
    assert "at most 1023 bytes" in refused(*args, long)
    open_file = write_phrase(tmp_path / "open")
    open_file.chmod(0o644)
    assert "group or others have rights" in refused(*args, open_file)
    assert not (tmp_path / "pki").exists()


def test_another_pkis_root_is_not_taken_for_this_ones(tmp_path: Path, pki: Path) -> None:
    certs("init", tmp_path / "other", "--root", tmp_path / "stick")
    assert "is not the key of this PKI's root" in refused(
        "issuing", "a", *DNS, "--root", tmp_path / "stick", "--dir", pki
    )


def test_a_pki_that_cannot_be_made_leaves_no_key_on_the_stick(tmp_path: Path) -> None:
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    assert "No such file" in refused("init", tmp_path / "no/pki", "--root", tmp_path / "stick")
    assert "may write here" in refused("init", open_folder, "--root", tmp_path / "stick")
    assert not (tmp_path / "stick").exists()


@pytest.mark.parametrize("days", ["0", "-1", "36501", "99999999999", "\N{SUPERSCRIPT TWO}", "soon"])
def test_a_life_that_no_ca_and_no_list_can_have_is_refused(tmp_path: Path, days: str) -> None:
    certs("init", tmp_path / "pki")
    for words in (("issuing", "plant-a", "--permit-dns", "a.example"), ("crl",)):
        done = command("certs", *words, f"--days={days}", "--dir", str(tmp_path / "pki"))
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{days!r} is not 1 to 36500 days" in done.stderr
    assert not (tmp_path / "pki/x509/issuing/plant-a").exists()
    assert not (tmp_path / "pki/published").exists()


def test_a_roots_key_is_never_overwritten(tmp_path: Path) -> None:
    certs("init", tmp_path / "one", "--root", tmp_path / "stick")
    before = (tmp_path / "stick/key.pem").read_bytes()
    assert "is there already" in refused("init", tmp_path / "two", "--root", tmp_path / "stick")
    assert (tmp_path / "stick/key.pem").read_bytes() == before
    assert not list((tmp_path / "two").iterdir())


@pytest.mark.parametrize("again", [PASSPHRASE, "something else here"])
def test_a_passphrase_is_asked_twice_on_the_terminal(tmp_path: Path, again: str) -> None:
    terminal, child_end = pty.openpty()
    command = [sys.executable, "-m", "fieldgate_core.cli", "certs", "init", "pki", "--root-passphrase"]
    child = subprocess.Popen(["setsid", "-c", "-w", *command], cwd=tmp_path, stdin=child_end, stdout=child_end)
    os.close(child_end)
    shown = b""
    for text in (PASSPHRASE, again):
        while not shown.endswith(b": "):
            shown += os.read(terminal, 1024)
        os.write(terminal, f"{text}\n".encode())
        shown += b"\n"
    code = child.wait()
    os.close(terminal)
    assert PASSPHRASE.encode() not in shown
    if again != PASSPHRASE:
        assert code == 2
        assert not (tmp_path / "pki").exists()
        return
    assert code == 0
    assert load_pem_private_key((tmp_path / "pki/x509/root/key.pem").read_bytes(), PASSPHRASE.encode())


def test_without_a_terminal_nothing_waits_for_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fieldgate_core.cli", "certs", "init", "pki", "--root-passphrase"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "there is no terminal to ask at" in done.stderr


def test_a_constraint_is_read_back_from_the_certificate_as_it_was_said(pki: Path) -> None:
    for name, permits in (("a", DNS), ("b", IPV4), ("c", DNS + IPV4 + IPV6)):
        ca = site_ca(pki, *permits, name=name)
        found = Constraints.of(x509.load_pem_x509_certificate((ca / "cert.pem").read_bytes()))
        assert found is not None
        assert str(found) == ", ".join(permits[1::2])
    assert Constraints.of(x509.load_pem_x509_certificate((pki / "x509/issuing/cert.pem").read_bytes())) is None
    with pytest.raises(PkiError, match="may not vouch"):
        Constraints.parse(["plant-a.example"], []).check(Server.parse("box", [], ["10.1.0.1"]))


def test_a_site_ca_whose_key_was_destroyed_is_replaced_and_both_are_trusted(pki: Path) -> None:
    lost = site_ca(pki, *DNS)
    certs("issue", "server", "box-1", "--dns", "box-1.plant-a.example", "--ca", "plant-a", "--dir", pki)
    (lost / "key.pem").unlink()
    assert "key.pem" in refused("renew", "box-1", "--dir", pki)
    site_ca(pki, *DNS, name="plant-a-2")
    certs("trust", pki, "--other-ca", "plant-a", "--ca", "plant-a-2", "--dir", pki)
    certs("renew", "--all", "--ca", "plant-a", "--to", "plant-a-2", "--dir", pki)
    box = pki / "issued/server/box-1/current"
    assert openssl_verify(box / "tls-chain.pem", pki / "x509/root/cert.pem", "sslserver") == "ok"
    trusted = x509.load_pem_x509_certificates((box / "tls-client-ca.pem").read_bytes())
    assert [one.subject.rfc4514_string() for one in trusted] == ["CN=plant-plant-a-2", "CN=plant-plant-a"]
    assert (box / "ssh-user-ca.pub").read_text().count("ssh-ed25519 ") == 2
    certs("issue", "client", "ana", "--role", "operator", "--ca", "plant-a-2", "--dir", pki)
    ana = pki / "issued/client/ana/current"
    # the root is the same one, and stands there once
    assert (ana / "tls-server-ca.pem").read_bytes() == (pki / "x509/root/cert.pem").read_bytes()
    assert (ana / "known_hosts").read_text().count("@cert-authority * ") == 2
    certs("crl", "--dir", pki)  # the lists of the others do not wait for it
