"""One list of revoked names, and what is made of it: CRLs for OpenSSL and a KRL for OpenSSH, judged by these."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldgate_certs import krl, revoking
from fieldgate_certs.choices import REASONS
from fieldgate_certs.openssh import blob_fingerprint
from fieldgate_certs.store import Store
from fieldgate_core import revocation
from support.pki import carried, certs, openssl, openssl_verify, refused, write_phrase

TOOLS = ("openssl", "ssh-keygen")
"""Stock tools that these tests need (conftest.py)."""
NOW = datetime.now(UTC)


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    certs("init", tmp_path / "pki", "--name", "plant")
    for name in ("ana", "bob"):
        certs("issue", "client", name, "--role", "operator", "--dir", tmp_path / "pki")
    certs("issue", "server", "box-1", "--dns", "localhost", "--dir", tmp_path / "pki")
    return tmp_path / "pki"


def current(pki: Path, holder: str, file: str = "tls-chain.pem") -> Path:
    return pki / "issued" / holder / "current" / file


def verdict(pki: Path, holder: str) -> str:
    """What OpenSSL says of a holder's certificate, with our list."""
    purpose = "sslserver" if holder.startswith("server") else "sslclient"
    crl = ("-crl_check", "-CRLfile", pki / "published/issuing.crl.pem")
    return openssl_verify(current(pki, holder), pki / "x509/root/cert.pem", purpose, *crl)


def in_krl(pki: Path, file: Path) -> bool:
    """What ssh-keygen says of a key or certificate, with our list."""
    done = subprocess.run(
        ["ssh-keygen", "-Q", "-f", pki / "published/revoked.krl", file], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done
    return "REVOKED" in done.stdout


def crl_of(pki: Path, name: str = "issuing") -> x509.CertificateRevocationList:
    return x509.load_pem_x509_crl((pki / f"published/{name}.crl.pem").read_bytes())


def test_who_is_revoked_is_refused_by_openssl_and_openssh_and_nobody_else(pki: Path) -> None:
    said = certs("revoke", "ana", "--reason", "key-compromise", "--dir", pki)
    assert "fieldgate server reload" in said
    assert "certificate revoked" in verdict(pki, "client/ana")
    assert in_krl(pki, current(pki, "client/ana", "ssh-key-cert.pub"))
    for holder, ssh in (("client/bob", "ssh-key-cert.pub"), ("server/box-1", "ssh-host-key-cert.pub")):
        assert verdict(pki, holder) == "ok"
        assert not in_krl(pki, current(pki, holder, ssh))
    # her plain key is nobody's certificate: the list revokes what was issued
    assert not in_krl(pki, current(pki, "client/ana", "ssh-key.pub"))


def test_the_list_is_the_servers_own_and_names_what_it_would_name(pki: Path) -> None:
    certs("revoke", "ana", "--dir", pki)
    for path in (pki / "revoked", pki / "published/revoked"):
        names = revocation.parse(path.read_text(), where=str(path))
        for file in ("tls-chain.pem", "ssh-key-cert.pub"):
            shown = json.loads(certs("show", "--json", current(pki, "client/ana", file)))
            assert shown[0]["identity"] in names
        other = json.loads(certs("show", "--json", current(pki, "client/bob", "tls-chain.pem")))
        assert other[0]["identity"] not in names


def test_every_living_generation_of_a_name_is_revoked(pki: Path) -> None:
    certs("renew", "ana", "--dir", pki)
    certs("revoke", "ana", "--dir", pki)
    both = [
        x509.load_pem_x509_certificate(path.read_bytes()) for path in pki.glob("issued/client/ana/0*/tls-chain.pem")
    ]
    assert {one.serial_number for one in crl_of(pki)} == {one.serial_number for one in both}
    assert len(both) == 2


@pytest.mark.parametrize("how", ["x509", "colons", "ssh", "x509 file", "ssh file"])
def test_one_certificate_is_revoked_by_its_serial_or_its_file(pki: Path, tmp_path: Path, how: str) -> None:
    tls, ssh = (current(pki, "client/ana", name) for name in ("tls-chain.pem", "ssh-key-cert.pub"))
    serial = openssl("x509", "-in", tls, "-noout", "-serial").strip().removeprefix("serial=")
    listing = subprocess.run(["ssh-keygen", "-L", "-f", ssh], capture_output=True, text=True, check=True).stdout
    number = re.findall(r"Serial: (\d+)", listing)[0]
    words: tuple[str | Path, ...] = {
        "x509": (serial.lower(),),
        "colons": (":".join(re.findall("..", serial)),),
        "ssh": (number,),
        "x509 file": ("--file", tls),
        "ssh file": ("--file", ssh),
    }[how]
    certs("revoke", *words, "--dir", pki)
    at_ssh = how.startswith("ssh")
    assert ("revoked" in verdict(pki, "client/ana")) is not at_ssh
    assert in_krl(pki, ssh) is at_ssh


def test_of_a_file_with_key_and_chain_no_ca_is_revoked(pki: Path, tmp_path: Path) -> None:
    """As HAProxy and stunnel want it; a first certificate that cannot be read stands for nothing behind it either."""
    chain = current(pki, "client/ana").read_text()
    combined = tmp_path / "combined.pem"
    combined.write_text(current(pki, "client/ana", "tls-key.pem").read_text() + chain)
    certs("revoke", "--file", combined, "--dir", pki)
    assert "revoked" in verdict(pki, "client/ana")
    assert "tls:CN=plant-root-1/" not in (pki / "revoked").read_text()
    damaged = chain.replace(chain.split("\n")[1], "AAAA", 1)
    combined.write_text(damaged)
    assert "holds no certificate" in refused("revoke", "--file", combined, "--dir", pki)
    assert "tls:CN=plant-root-1/" not in (pki / "revoked").read_text()


def test_a_plain_key_is_revoked_by_its_file(pki: Path) -> None:
    key = current(pki, "client/ana", "ssh-key.pub")
    certs("revoke", "--file", key, "--dir", pki)
    assert in_krl(pki, key)
    assert not in_krl(pki, current(pki, "client/bob", "ssh-key.pub"))


def test_what_is_not_of_this_pki_is_not_guessed(pki: Path, tmp_path: Path) -> None:
    assert "no holder and no serial number of this PKI" in refused("revoke", "carl", "--dir", pki)
    assert "no holder and no serial number of this PKI" in refused("revoke", "DEAD", "--dir", pki)
    (tmp_path / "empty").touch()
    assert "holds no certificate" in refused("revoke", "--file", tmp_path / "empty", "--dir", pki)
    assert not (pki / "revoked").exists()


@pytest.mark.parametrize("reason", REASONS)
def test_the_crl_says_why(pki: Path, reason: str) -> None:
    certs("revoke", "ana", "--reason", reason, "--dir", pki)
    text = openssl("crl", "-in", pki / "published/issuing.crl.pem", "-noout", "-text")
    said = re.findall(r"X509v3 CRL Reason Code: \n\s+(.*)", text)
    names = {"unspecified": [], "cessation": ["Cessation Of Operation"], "ca-compromise": ["CA Compromise"]}
    assert said == names.get(reason, [reason.replace("-", " ").title()])


def test_dates_and_reasons_stay_and_numbers_grow(pki: Path) -> None:
    certs("revoke", "ana", "--reason", "superseded", "--dir", pki)
    first = crl_of(pki)
    store = Store(pki)
    later = NOW + timedelta(days=20)
    revoking.publish(store, later)
    second = crl_of(pki)
    assert second.next_update_utc is not None
    assert second.next_update_utc.date() == (later + timedelta(days=30)).date()
    assert [(one.serial_number, one.revocation_date_utc) for one in first] == [
        (one.serial_number, one.revocation_date_utc) for one in second
    ]
    numbers = [one.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for one in (first, second)]
    assert numbers[0] < numbers[1]
    # a clock that is set back gives no smaller number
    revoking.publish(store, NOW - timedelta(days=300))
    assert crl_of(pki).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == numbers[1] + 1


def test_a_change_by_hand_reaches_the_lists_and_a_wrong_one_leaves_them(pki: Path) -> None:
    certs("crl", "--dir", pki)
    assert verdict(pki, "client/ana") == "ok"
    leaf = x509.load_pem_x509_certificate(current(pki, "client/ana").read_bytes())
    (pki / "revoked").write_text(f"# by hand\ntls:CN=plant-issuing-1/00{leaf.serial_number:x}\n")
    certs("crl", "--dir", pki)
    assert "revoked" in verdict(pki, "client/ana")
    before = (pki / "published/issuing.crl.pem").read_bytes()
    (pki / "revoked").write_text("nobody\n")
    assert "is no typed name" in refused("crl", "--dir", pki)
    assert (pki / "published/issuing.crl.pem").read_bytes() == before


def test_a_list_of_a_stranger_in_its_place_is_refused(pki: Path, tmp_path: Path) -> None:
    """Its dates and reasons would be taken over."""
    certs("init", tmp_path / "other", "--name", "plant")
    certs("crl", "--dir", tmp_path / "other")
    certs("crl", "--dir", pki)
    (pki / "published/issuing.crl.pem").write_bytes((tmp_path / "other/published/issuing.crl.pem").read_bytes())
    assert "is not a CRL of this CA" in refused("crl", "--dir", pki)


def test_each_issuing_ca_has_a_list_of_its_own(pki: Path) -> None:
    certs("issuing", "site", "--permit-dns", "site.example", "--dir", pki)
    certs("issue", "client", "eve", "--role", "r", "--ca", "site", "--dir", pki)
    certs("revoke", "eve", "--dir", pki)
    assert (len(crl_of(pki)), len(crl_of(pki, "site"))) == (0, 1)
    assert in_krl(pki, current(pki, "client/eve", "ssh-key-cert.pub"))


def test_an_issuing_ca_is_revoked_by_the_root_when_its_key_is_at_hand(tmp_path: Path) -> None:
    pki, stick, phrase = tmp_path / "pki", tmp_path / "stick", write_phrase(tmp_path / "phrase")
    root = ("--root", stick, "--root-passphrase-file", phrase)
    certs("init", pki, *root)
    certs("issue", "client", "ana", "--role", "r", "--dir", pki)
    ca = pki / "x509/issuing/cert.pem"
    assert "the root's key is not here" in refused("revoke", "--file", ca, "--dir", pki)
    assert not (pki / "revoked").exists()
    certs("revoke", "--file", ca, "--reason", "ca-compromise", "--dir", pki, *root)
    lists = tmp_path / "lists.pem"
    lists.write_bytes(b"".join(path.read_bytes() for path in (pki / "published").glob("*.crl.pem")))
    check = ("-crl_check_all", "-CRLfile", lists)
    chain = current(pki, "client/ana")
    assert "certificate revoked" in openssl_verify(chain, stick / "cert.pem", "sslclient", *check)


def test_a_certificate_that_was_carried_is_revoked_like_any_other(pki: Path, tmp_path: Path) -> None:
    carried(pki, tmp_path / "id", "box-2", "--dns", "localhost")
    certs("revoke", "box-2", "--dir", pki)
    assert in_krl(pki, tmp_path / "id/current/ssh-host-key-cert.pub")


def test_revoking_twice_says_so_and_changes_nothing(pki: Path) -> None:
    certs("revoke", "ana", "--dir", pki)
    before = (pki / "revoked").read_text()
    assert certs("revoke", "ana", "--reason", "superseded", "--dir", pki).count("was revoked already:") == 2
    assert (pki / "revoked").read_text() == before


@settings(max_examples=20)
@given(
    st.sets(st.integers(1, 2**64 - 1), max_size=30),
    st.sets(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), max_size=5),
)
def test_ssh_keygen_reads_every_krl_that_we_write(
    tmp_path_factory: pytest.TempPathFactory, serials: set[int], key_ids: set[str]
) -> None:
    folder = tmp_path_factory.mktemp("krl")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "ca"], check=True)
    blob = base64.b64decode((folder / "ca.pub").read_text().split()[1])
    data = krl.encode(7, NOW, [krl.RevokedCertificates(blob, serials, key_ids)], [blob_fingerprint(blob)])
    (folder / "krl").write_bytes(data)
    listed = subprocess.run(
        ["ssh-keygen", "-Q", "-l", "-f", folder / "krl"], capture_output=True, check=True
    ).stdout.decode()
    assert "# KRL version 7" in listed
    ranges = [line.removeprefix("serial: ").split("-") for line in listed.splitlines() if line.startswith("serial: ")]
    assert {number for first, *last in ranges for number in range(int(first), int((last or [first])[0]) + 1)} == serials
    assert listed.count("\nid: ") == len(key_ids)
    assert listed.count("\nhash: ") == 1


def test_a_ca_key_that_cannot_be_read_leaves_the_published_lists(pki: Path) -> None:
    certs("crl", "--dir", pki)
    before = {path: path.read_bytes() for path in (pki / "published").iterdir()}
    (pki / "x509/issuing/key.pem").write_text("x")
    assert "x509/issuing/key.pem" in refused("crl", "--dir", pki)
    assert {path: path.read_bytes() for path in (pki / "published").iterdir()} == before
