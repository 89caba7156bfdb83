"""A request made on the box: only its keys and their proof count, and no private key ever travels."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, load_ssh_private_key

from fieldgate_certs import profiles, requests
from fieldgate_core.errors import PkiError
from support.pki import carried, certs, openssl, openssl_verify, refused

TOOLS = ("openssl", "ssh-keygen")
"""Stock tools that these tests need (conftest.py)."""
INVENTORY = """\
[server.box-1]
dns = ["box-1.plant-a.example"]
ip = ["10.1.0.17"]
ca = "plant-a"

[server.box-2]
dns = ["box-2.plant-a.example"]
days = 30

[client.ana]
role = "operator"
days = 7
source_address = ["10.1.0.0/16", "2001:db8::/32"]

[client.both]
role = "viewer"
[server.both]
dns = ["both.plant-a.example"]
"""


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    certs("init", tmp_path / "pki", "--name", "plant")
    limits = ("--permit-dns", "plant-a.example", "--permit-ip", "10.1.0.0/16")
    certs("issuing", "plant-a", *limits, "--dir", tmp_path / "pki")
    (tmp_path / "inventory.toml").write_text(INVENTORY)
    return tmp_path / "pki"


@pytest.fixture
def inventory(pki: Path) -> tuple[str, Path, str, Path]:
    return ("--inventory", pki.with_name("inventory.toml"), "--dir", pki)


def request_of(box: Path, name: str) -> Path:
    certs("request", name, "--dir", box)
    return box / "pending" / f"{name}.request"


def secrets(*folders: Path) -> set[bytes]:
    """The secret number of every private key."""
    found = set()
    for path in (path for one in folders for path in one.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if b"PRIVATE" in data:
            load = load_ssh_private_key if b"OPENSSH" in data else load_pem_private_key
            key = load(data, None)
            if isinstance(key, ed25519.Ed25519PrivateKey):
                found.add(key.private_bytes_raw())
            else:
                assert isinstance(key, ec.EllipticCurvePrivateKey)
                found.add(key.private_numbers().private_value.to_bytes(32))
    return found


def carries(text: str, secret: bytes) -> bool:
    """Tell whether some base64 in a text holds a secret."""
    runs = re.findall(r"[A-Za-z0-9+/]{40,}", re.sub(r"\\n|\s", "", text))
    return any(
        secret in base64.b64decode(run[skip : len(run) - (len(run) - skip) % 4]) for run in runs for skip in range(4)
    )


def test_a_server_from_request_to_use(tmp_path: Path, pki: Path) -> None:
    current = carried(pki, tmp_path / "id", "box-1", "--inventory", tmp_path / "inventory.toml")
    assert openssl_verify(current / "tls-chain.pem", pki / "x509/root/cert.pem", "sslserver") == "ok"
    key = load_pem_private_key((current / "tls-key.pem").read_bytes(), None)
    assert x509.load_pem_x509_certificate((current / "tls-chain.pem").read_bytes()).public_key() == key.public_key()
    ours = subprocess.run(
        ["ssh-keygen", "-y", "-f", current / "ssh-host-key"], capture_output=True, text=True, check=True
    )
    assert ours.stdout.split()[:2] == (current / "ssh-host-key.pub").read_text().split()[:2]
    listing = subprocess.run(
        ["ssh-keygen", "-L", "-f", current / "ssh-host-key-cert.pub"], capture_output=True, text=True, check=True
    )
    assert "box-1.plant-a.example" in listing.stdout
    assert not (tmp_path / "id/pending").exists()
    modes = {path.name: path.stat().st_mode & 0o777 for path in current.iterdir()}
    assert {name for name, mode in modes.items() if mode == 0o600} == {"tls-key.pem", "ssh-host-key"}


def test_a_client_gets_its_role_life_and_source_addresses_from_the_inventory(tmp_path: Path, pki: Path) -> None:
    current = carried(pki, tmp_path / "id", "ana", "--inventory", tmp_path / "inventory.toml")
    shown = certs("show", current / "tls-chain.pem", current / "ssh-key-cert.pub")
    assert "role:           operator" in shown
    assert "source-address: 10.1.0.0/16,2001:db8::/32" in shown
    leaf = x509.load_pem_x509_certificate((current / "tls-chain.pem").read_bytes())
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days == 7
    listing = subprocess.run(
        ["ssh-keygen", "-L", "-f", current / "ssh-key-cert.pub"], capture_output=True, text=True, check=True
    )
    assert "source-address 10.1.0.0/16,2001:db8::/32" in listing.stdout


def test_private_keys_never_travel(tmp_path: Path, pki: Path) -> None:
    before = secrets(pki)
    carried(pki, tmp_path / "id", "ana", "--inventory", tmp_path / "inventory.toml")
    theirs = secrets(tmp_path / "id")
    assert secrets(pki) == before
    assert len(theirs) == 2
    request = request_of(tmp_path / "id", "ana")
    for text in ((tmp_path / "id.answer").read_text(), request.read_text()):
        assert not any(carries(text, secret) for secret in theirs | before | secrets(tmp_path / "id"))
    assert any(carries((tmp_path / "id/current/tls-key.pem").read_text(), secret) for secret in theirs)


def test_a_renewal_is_a_new_generation_with_new_keys(tmp_path: Path, pki: Path) -> None:
    said = ("--inventory", tmp_path / "inventory.toml")
    first = carried(pki, tmp_path / "id", "box-1", *said).resolve()
    second = carried(pki, tmp_path / "id", "box-1", *said).resolve()
    assert (first.name, second.name) == ("000001", "000002")
    assert (first / "tls-key.pem").read_bytes() != (second / "tls-key.pem").read_bytes()
    assert [path.name for path in sorted((pki / "issued/server/box-1").iterdir())] == ["000001", "000002", "current"]


def test_a_request_is_not_made_over_one_that_waits(tmp_path: Path) -> None:
    request = request_of(tmp_path / "id", "box-1")
    before = request.read_bytes()
    assert "a request waits for its answer already" in refused("request", "box-1", "--dir", tmp_path / "id")
    assert request.read_bytes() == before


def test_a_request_for_another_boxs_name_is_refused_and_both_are_named(
    tmp_path: Path, pki: Path, inventory: tuple[str, Path, str, Path]
) -> None:
    """The box that asks is named by who carries it; what it asks for is compared, and never taken over."""
    stolen = request_of(tmp_path / "box-2", "box-1")
    complaint = refused("sign", "box-2", stolen, *inventory)
    assert "the request asks for the name box-1, and is to be signed for box-2" in complaint
    assert not (pki / "issued").exists()
    assert not stolen.with_suffix(".answer").exists()


def foreign_request(to: Path, name: str, *extensions: str, key: str = "ec") -> Path:
    """Make a request by openssl, as a foreign box would."""
    kinds = {"ec": ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), "rsa2048": ("rsa:2048",), "rsa1024": ("rsa:1024",)}
    kinds["secp224r1"] = ("ec", "-pkeyopt", "ec_paramgen_curve:secp224r1")
    kinds["ed25519"] = ("ed25519",)
    added = [word for one in extensions for word in ("-addext", one)]
    openssl(
        "req",
        "-new",
        "-newkey",
        *kinds[key],
        "-nodes",
        "-keyout",
        f"{to}.key",
        "-out",
        to,
        "-subj",
        f"/CN={name}",
        *added,
    )
    return to


@pytest.mark.parametrize(
    ("extension", "problem"),
    [
        ("subjectAltName=DNS:box-1.plant-a.example", "asks for box-1.plant-a.example; the inventory gives box-2"),
        ("subjectAltName=IP:10.1.0.99", "asks for 10.1.0.99; the inventory gives box-2 box-2.plant-a.example"),
        ("1.3.6.1.4.1.50316.802.1=ASN1:UTF8String:admin", "asks for the role admin; the inventory gives box-2 no role"),
    ],
)
def test_a_request_that_asks_for_more_than_the_inventory_gives_is_refused(
    tmp_path: Path, inventory: tuple[str, Path, str, Path], extension: str, problem: str
) -> None:
    assert problem in refused("sign", "box-2", foreign_request(tmp_path / "r.csr", "box-2", extension), *inventory)


def test_a_client_that_asks_for_another_role_is_refused(tmp_path: Path, inventory: tuple[str, Path, str, Path]) -> None:
    extension = "1.3.6.1.4.1.50316.802.1=ASN1:UTF8String:admin"
    complaint = refused("sign", "ana", foreign_request(tmp_path / "r.csr", "ana", extension), *inventory)
    assert "asks for the role admin; the inventory gives ana the role operator" in complaint


def test_of_a_foreign_request_only_the_key_is_taken(
    tmp_path: Path, pki: Path, inventory: tuple[str, Path, str, Path]
) -> None:
    asked = (
        "subjectAltName=DNS:BOX-2.plant-a.example",
        "basicConstraints=critical,CA:TRUE",
        "extendedKeyUsage=clientAuth",
    )
    request = foreign_request(tmp_path / "r.csr", "box-2", *asked)
    certs("sign", "box-2", request, *inventory)
    made = pki / "issued/server/box-2/current"
    assert {path.name for path in made.iterdir()} == {"tls-chain.pem", "tls-client-ca.pem"}  # it has no SSH key
    assert openssl_verify(made / "tls-chain.pem", pki / "x509/root/cert.pem", "sslserver") == "ok"
    leaf = x509.load_pem_x509_certificate((made / "tls-chain.pem").read_bytes())
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.public_key() == x509.load_pem_x509_csr(request.read_bytes()).public_key()


@pytest.mark.parametrize("key", ["ec", "rsa2048"])
def test_a_key_that_is_strong_enough_is_signed(
    tmp_path: Path, inventory: tuple[str, Path, str, Path], key: str
) -> None:
    certs("sign", "box-2", foreign_request(tmp_path / "r.csr", "box-2", key=key), *inventory)


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("rsa1024", "its RSA key has 1024 bits, which is weak"),
        ("secp224r1", "its key is on the curve secp224r1"),
        ("ed25519", "its key is neither ECDSA nor RSA"),
    ],
)
def test_a_weak_or_odd_key_is_refused(
    tmp_path: Path, inventory: tuple[str, Path, str, Path], key: str, problem: str
) -> None:
    assert problem in refused("sign", "box-2", foreign_request(tmp_path / "r.csr", "box-2", key=key), *inventory)


def csr(name: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder(profiles.common_name(name))
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256()).public_bytes(
        Encoding.PEM
    )


def test_a_key_without_its_proof_is_refused() -> None:
    """Somebody else's public key in a request that one has signed oneself: one could not use it, but disown it."""
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    mine = x509.load_pem_x509_csr(csr("box-1", key))
    theirs = x509.load_pem_x509_csr(csr("box-1", other))
    whole, body, stolen = (
        one for one in (mine.public_bytes(Encoding.DER), mine.tbs_certrequest_bytes, theirs.tbs_certrequest_bytes)
    )
    assert len(body) == len(stolen)
    forged = x509.load_der_x509_csr(whole.replace(body, stolen)).public_bytes(Encoding.PEM)
    assert requests.read(mine.public_bytes(Encoding.PEM), "here").name == "box-1"
    with pytest.raises(PkiError, match="does not prove that its maker holds the key"):
        requests.read(forged, "here")


def test_an_ssh_key_needs_its_own_proof_and_a_key_of_its_own() -> None:
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    assert requests.read(csr("a", key) + csr("a", other), "here").ssh_key == other.public_key()
    for data, problem in (
        (csr("a", key) + csr("b", other), "its two keys ask for different names: a, b"),
        (csr("a", key) + csr("a", key), "TLS and SSH share one key"),
        (csr("a", key) * 3, "holds 3 certificate requests"),
        (b"", "holds 0 certificate requests"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "cannot be read"),
    ):
        with pytest.raises(PkiError, match=problem):
            requests.read(data, "here")


def test_an_answer_to_another_request_is_refused_and_nothing_changes(
    tmp_path: Path, inventory: tuple[str, Path, str, Path]
) -> None:
    mine, other = request_of(tmp_path / "id", "box-1"), request_of(tmp_path / "other", "box-1")
    certs("sign", "box-1", other, "--out", tmp_path / "answer", *inventory)
    assert "its certificate is for another key" in refused("install", tmp_path / "answer", "--dir", tmp_path / "id")
    assert [path.name for path in (tmp_path / "id").iterdir()] == ["pending"]
    certs("sign", "box-1", mine, "--out", tmp_path / "right", *inventory)
    # of each answer one half: the SSH certificate of the other
    halves = [json.loads((tmp_path / name).read_text()) for name in ("right", "answer")]
    halves[0]["files"]["ssh-host-key-cert.pub"] = halves[1]["files"]["ssh-host-key-cert.pub"]
    (tmp_path / "mixed").write_text(json.dumps(halves[0]))
    complaint = refused("install", tmp_path / "mixed", "--dir", tmp_path / "id")
    assert "its SSH certificate is for another key" in complaint
    certs("install", tmp_path / "right", "--dir", tmp_path / "id")


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[]",
        "{}",
        '{"kind": "server", "files": {"../evil": "x"}}',
        '{"kind": "server", "files": {"tls-key.pem": "x"}}',
        '{"kind": "server", "files": {"tls-chain.pem": 1}}',
        '{"kind": "gateway", "files": {}}',
        "[" * 100_000,
    ],
)
def test_what_is_no_answer_is_refused(tmp_path: Path, data: str) -> None:
    """Among these a path out of the folder, and a private key from outside."""
    request_of(tmp_path / "id", "box-1")
    (tmp_path / "answer").write_text(data)
    assert "is not an answer to a request" in refused("install", tmp_path / "answer", "--dir", tmp_path / "id")
    assert [path.name for path in (tmp_path / "id").iterdir()] == ["pending"]


def test_the_fingerprints_of_an_answer_differ_if_another_ca_was_put_in_it(
    tmp_path: Path, inventory: tuple[str, Path, str, Path]
) -> None:
    signed = certs("sign", "box-1", request_of(tmp_path / "box", "box-1"), "--out", tmp_path / "answer", *inventory)
    shown = signed.split()[-1]
    assert shown.startswith("SHA256:")
    certs("init", tmp_path / "evil", "--name", "plant")
    answer = json.loads((tmp_path / "answer").read_text())
    answer["files"]["tls-client-ca.pem"] += (tmp_path / "evil/x509/issuing/cert.pem").read_text()
    (tmp_path / "swapped").write_text(json.dumps(answer, indent=1) + "\n")
    assert shown not in certs("install", tmp_path / "swapped", "--dir", tmp_path / "box")
    request_of(tmp_path / "box-2", "box-1")
    (tmp_path / "box-2/pending/tls-key.pem").write_bytes((tmp_path / "box/current/tls-key.pem").read_bytes())
    (tmp_path / "box-2/pending/ssh-key").write_bytes((tmp_path / "box/current/ssh-host-key").read_bytes())
    assert shown in certs("install", tmp_path / "answer", "--dir", tmp_path / "box-2")


def test_an_answer_without_a_request_is_refused(tmp_path: Path, inventory: tuple[str, Path, str, Path]) -> None:
    request = request_of(tmp_path / "id", "box-2")
    certs("sign", "box-2", request, "--out", tmp_path / "answer", *inventory)
    shutil.rmtree(tmp_path / "id/pending")
    assert "no request waits for an answer here" in refused("install", tmp_path / "answer", "--dir", tmp_path / "id")


@pytest.mark.parametrize(
    ("text", "name", "problem"),
    [
        ("x", "box-1", "is not TOML"),
        ("[boxes.a]\n", "a", "unknown table boxes"),
        ("[server.a]\nrole = 'x'\n", "a", "server.a: unknown key role"),
        ("[client.a]\n", "a", "client.a.role: is missing"),
        ("[client.a]\nrole = 'r'\ndays = '9'\n", "a", "client.a.days: is not a whole number"),
        ("[server.a]\ndns = 'a'\n", "a", "server.a.dns: is not a list of texts"),
        ("[server.a]\ndns = ['*.a']\n", "a", "not the DNS name of a host"),
        ("[server]\na = 1\n", "a", "server.a: is not a table"),
        (INVENTORY, "box-3", "has no entry for box-3"),
        (INVENTORY, "both", "has a server and a client both"),
    ],
)
def test_a_wrong_inventory_is_named(tmp_path: Path, pki: Path, text: str, name: str, problem: str) -> None:
    request = request_of(tmp_path / "id", name)
    (tmp_path / "wrong.toml").write_text(text)
    assert problem in refused("sign", name, request, "--inventory", tmp_path / "wrong.toml", "--dir", pki)


def test_kind_and_name_tell_a_server_and_a_client_apart(
    tmp_path: Path, pki: Path, inventory: tuple[str, Path, str, Path]
) -> None:
    certs("sign", "client/both", request_of(tmp_path / "id", "both"), *inventory)
    assert [path.name for path in (pki / "issued").iterdir()] == ["client"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((), "say what it is"),
        (("--role", "r", "--dns", "a"), "say what it is"),
        (("--inventory", "i", "--role", "r"), "says all there is to say"),
        (("--inventory", "i", "--days", "3"), "says all there is to say"),
    ],
)
def test_options_stand_for_the_inventory_or_it_for_them(
    tmp_path: Path, pki: Path, words: tuple[str, ...], problem: str
) -> None:
    request = request_of(tmp_path / "id", "box-1")
    assert problem in refused("sign", "box-1", request, *words, "--dir", pki)
    certs("sign", "box-1", request, "--dns", "localhost", "--dir", pki)


def test_the_ip_outside_the_constraint_is_refused_when_signing(tmp_path: Path, pki: Path) -> None:
    request = request_of(tmp_path / "id", "box-1")
    words = ("--dns", "box-1.plant-a.example", "--ip", "10.2.0.17", "--ca", "plant-a", "--dir", pki)
    assert "10.2.0.17: this issuing CA may not vouch for it" in refused("sign", "box-1", request, *words)
