"""Renewal: at two thirds of life and spread by name, new keys, the same facts; after the end by rule; revoked never."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from fieldgate_certs import authority
from fieldgate_certs.store import Store
from fieldgate_certs.subjects import Client, Server, Subject
from fieldgate_certs.validity import Validity, renewal_due
from support.in_process import command
from support.pki import carried, certs, refused

NOW = datetime.now(UTC)
ANA = Client.parse("ana", "operator", ["10.1.0.0/16"])
BOX = Server.parse("box-1", ["localhost"], ["127.0.0.1", "::1"])


def pki_with(tmp_path: Path, *issued: tuple[Subject, int, int]) -> Path:
    """A PKI that is 400 days old; each subject with the days since its issue, and the days of its life."""
    store = Store.create(tmp_path / "pki", authority.create("plant", NOW - timedelta(days=400)))
    for subject, ago, days in issued:
        ca = authority.load(store.read)
        store.add(subject, ca.issue(subject, days, NOW - timedelta(days=ago)).files)
    return store.folder


def leaf(pki: Path, holder: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((pki / "issued" / holder / "current/tls-chain.pem").read_bytes())


def journal(pki: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (pki / "journal").read_text().splitlines()]


def test_a_renewal_says_what_the_one_before_said_with_new_keys(tmp_path: Path) -> None:
    pki = pki_with(tmp_path, (ANA, 20, 30), (BOX, 20, 30))
    before = {holder: leaf(pki, holder) for holder in ("client/ana", "server/box-1")}
    certs("renew", "ana", "box-1", "--dir", pki)
    for holder, old in before.items():
        new = leaf(pki, holder)
        assert new.public_key() != old.public_key()
        assert new.not_valid_after_utc - new.not_valid_before_utc == old.not_valid_after_utc - old.not_valid_before_utc
        assert new.subject == old.subject
        changed = {"2.5.29.14"}  # the identifier of the key
        told = [{one.oid.dotted_string: one.value for one in cert.extensions} for cert in (old, new)]
        assert {oid for oid in told[0] if told[0][oid] != told[1][oid]} == changed
    shown = certs("show", pki / "issued/client/ana/current/ssh-key-cert.pub")
    assert "source-address: 10.1.0.0/16" in shown
    assert journal(pki)[-1]["holder"] == "server/box-1"


@given(st.text(min_size=1), st.integers(1, 825))
def test_a_certificate_is_due_between_two_thirds_and_three_quarters_of_its_life(name: str, days: int) -> None:
    life = Validity(NOW, NOW + timedelta(days=days))
    part = (renewal_due(name, life) - NOW) / timedelta(days=days)
    assert 2 / 3 - 1e-9 <= part <= 3 / 4 + 1e-9
    assert renewal_due(name, life) == renewal_due(name, life)


def test_a_fleet_that_was_issued_at_once_is_not_due_at_once() -> None:
    life = Validity(NOW, NOW + timedelta(days=90))
    by_day = [(renewal_due(f"server/box-{number}", life) - NOW).days for number in range(1000)]
    assert max(by_day.count(day) for day in set(by_day)) < 250  # of 7.5 days
    assert len(set(by_day)) == 8


def test_due_takes_what_is_due_and_leaves_the_rest(tmp_path: Path) -> None:
    fresh, due = Client("fresh", "r"), Client("due", "r")
    pki = pki_with(tmp_path, (fresh, 50, 90), (due, 80, 90))
    said = certs("renew", "--due", "--dir", pki)
    assert "client due" in said
    assert "fresh" not in said
    assert certs("renew", "--due", "--dir", pki) == "nothing is due\n"
    assert certs("renew", "--all", "--dir", pki).count("renewed ") == 2


def test_what_has_ended_is_renewed_with_a_reason_only_and_the_journal_keeps_it(tmp_path: Path) -> None:
    pki = pki_with(tmp_path, (ANA, 100, 90), (BOX, 20, 90))
    assert "its certificate ended on" in refused("renew", "ana", "--dir", pki)
    done = command("certs", "renew", "--due", "--dir", str(pki))
    assert (done.returncode, done.stdout) == (1, "")
    assert "client ana: its certificate ended on" in done.stderr
    certs("renew", "ana", "--expired", "was ill, is back", "--dir", pki)
    assert leaf(pki, "client/ana").not_valid_after_utc > NOW
    assert journal(pki)[-1]["expired"] == "was ill, is back"
    certs("renew", "box-1", "--expired", "not needed", "--dir", pki)
    assert "expired" not in journal(pki)[-1]


@pytest.mark.parametrize("words", [(), ("--expired", "please")])
def test_what_is_revoked_is_never_renewed(tmp_path: Path, words: tuple[str, ...]) -> None:
    pki = pki_with(tmp_path, (ANA, 80, 90), (BOX, 80, 90))
    certs("revoke", "ana", "--dir", pki)
    assert "its certificate is revoked" in refused("renew", "ana", *words, "--dir", pki)
    for which in ("--due", "--all"):
        said = certs("renew", which, *words, "--dir", pki)  # who is revoked is meant to end
        assert "server box-1" in said
        assert "ana" not in said
    assert len(list((pki / "issued/client/ana").glob("0*"))) == 1


def test_what_is_revoked_by_hand_at_one_door_is_revoked(tmp_path: Path) -> None:
    pki = pki_with(tmp_path, (ANA, 80, 90))
    shown = json.loads(certs("show", "--json", pki / "issued/client/ana/current/ssh-key-cert.pub"))
    (pki / "revoked").write_text(shown[0]["identity"].rpartition("/")[0])
    assert "its certificate is revoked" in refused("renew", "ana", "--dir", pki)


def test_a_revoked_holder_may_come_back_with_a_new_key(tmp_path: Path) -> None:
    pki = pki_with(tmp_path)
    carried(pki, tmp_path / "id", "ana", "--role", "operator")
    certs("revoke", "ana", "--dir", pki)
    carried(pki, tmp_path / "id", "ana", "--role", "operator")
    certs("issue", "client", "ana", "--role", "operator", "--dir", pki)
    certs("renew", "ana", "--dir", pki)


def test_the_request_of_a_revoked_key_is_refused(tmp_path: Path) -> None:
    pki = pki_with(tmp_path)
    certs("request", "ana", "--dir", tmp_path / "id")
    request = tmp_path / "id/pending/ana.request"
    words = ("sign", "ana", request, "--role", "operator", "--dir", pki, "--out")
    certs(*words, tmp_path / "first")
    certs(*words, tmp_path / "second")
    certs("revoke", "ana", "--dir", pki)
    assert "a certificate of this key is revoked" in refused(*words, tmp_path / "third")


def test_where_the_key_is_on_the_box_it_says_what_to_carry(tmp_path: Path) -> None:
    pki = pki_with(tmp_path)
    carried(pki, tmp_path / "id", "box-1", "--dns", "localhost")
    done = command("certs", "renew", "box-1", "--dir", str(pki))
    assert done.returncode == 1
    assert "its key is on the box" in done.stdout
    for word in ("request", "sign", "install"):
        assert f"fieldgate certs {word} box-1" in done.stdout


def test_a_renewal_says_what_to_renew(tmp_path: Path) -> None:
    pki = pki_with(tmp_path, (ANA, 20, 30), (Server.parse("ana", ["localhost"], []), 20, 30))
    assert "say what" in refused("renew", "--dir", pki)
    assert "say what" in refused("renew", "ana", "--due", "--dir", pki)
    assert "nothing was issued to this name" in refused("renew", "bob", "--dir", pki)
    assert "is a server and a client" in refused("renew", "ana", "--dir", pki)
    assert "server ana" in certs("renew", "server/ana", "--dir", pki)


def test_holders_move_to_another_issuing_ca(tmp_path: Path) -> None:
    pki = pki_with(tmp_path, (BOX, 20, 30), (ANA, 20, 30))
    certs(
        "issuing", "site", "--permit-dns", "localhost", "--permit-ip", "127.0.0.0/8", "--permit-ip", "::1", "--dir", pki
    )
    certs("renew", "--all", "--to", "site", "--dir", pki)
    assert leaf(pki, "server/box-1").issuer.rfc4514_string() == "CN=plant-site"
    # and only those of a CA are renewed, if it is said
    certs("renew", "ana", "--to", "site", "--dir", pki)
    certs("issue", "client", "bob", "--role", "r", "--dir", pki)
    said = certs("renew", "--all", "--ca", "site", "--dir", pki)
    assert "client ana" in said
    assert "bob" not in said


def test_a_damaged_identity_keeps_nobody_else_from_being_renewed(tmp_path: Path) -> None:
    pki = pki_with(tmp_path, (ANA, 80, 90), (BOX, 80, 90))
    (pki / "issued/client/ana/current/tls-chain.pem").write_text("cut off")
    done = command("certs", "renew", "--due", "--dir", str(pki))
    assert done.returncode == 1
    assert "client/ana/000001/tls-chain.pem" in done.stderr
    assert (pki / "issued/server/box-1/current").readlink().name == "000002"


def test_to_issue_by_another_ca_is_not_said_with_ca(tmp_path: Path) -> None:
    pki = pki_with(tmp_path, (ANA, 10, 90))
    assert "hint: to issue by another CA: --to CA" in refused("renew", "ana", "--ca", "plant-b", "--dir", pki)
    assert (pki / "issued/client/ana/current").readlink().name == "000001"
