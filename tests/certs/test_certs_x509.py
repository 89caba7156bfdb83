"""What the X.509 certificates hold (R-21, R-22, R-46, R-47, R-65), judged by OpenSSL and by real handshakes."""

from __future__ import annotations

import ipaddress
import ssl
import subprocess
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from fieldgate_certs import layout, profiles
from fieldgate_certs.authority import Authority, Identity
from fieldgate_certs.layout import Files
from fieldgate_certs.subjects import Client, Server
from fieldgate_certs.validity import ISSUING_LIFE, ca_validity
from fieldgate_core.credentials import ROLE_OID, RoleClaim, decode_role

TOOLS = ("openssl", "ssh", "ssh-keygen")
"""Stock tools that these tests need (conftest.py)."""


def chain(identity: Identity) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(identity.files[layout.TLS_CHAIN])


def roles(certificate: x509.Certificate) -> list[bytes]:
    values = [extension.value for extension in certificate.extensions if extension.oid.dotted_string == ROLE_OID]
    return [value.value for value in values if isinstance(value, x509.UnrecognizedExtension)]


def extension_oids(certificate: x509.Certificate, *, critical: bool) -> set[str]:
    return {extension.oid.dotted_string for extension in certificate.extensions if extension.critical is critical}


BASIC_CONSTRAINTS, KEY_USAGE, SKI, AKI = "2.5.29.19", "2.5.29.15", "2.5.29.14", "2.5.29.35"
SAN, EKU = "2.5.29.17", "2.5.29.37"


def test_the_chain_runs_from_the_leaf_to_the_root(ca: Authority, box: Identity, ana: Identity) -> None:
    """R-46: the entire chain, including the root."""
    for identity, name in ((box, "box-1"), (ana, "ana")):
        leaf, issuing, root = chain(identity)
        assert leaf.subject.rfc4514_string() == f"CN={name}"
        leaf.verify_directly_issued_by(issuing)
        issuing.verify_directly_issued_by(root)
        root.verify_directly_issued_by(root)
        assert (issuing, root) == (ca.issuing, ca.root)


def test_the_cas_are_what_they_are_called(ca: Authority, now: datetime) -> None:
    start = now.replace(microsecond=0)
    for certificate, name, path_length, years in ((ca.root, "root", None, 20), (ca.issuing, "issuing", 0, 10)):
        assert certificate.subject.rfc4514_string() == f"CN=plant-{name}-1"
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        assert constraints == x509.BasicConstraints(ca=True, path_length=path_length)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)
        assert certificate.not_valid_before_utc == start - timedelta(hours=1)
        assert certificate.not_valid_after_utc == start + timedelta(days=365 * years)
        assert extension_oids(certificate, critical=True) == {BASIC_CONSTRAINTS, KEY_USAGE}
        assert extension_oids(certificate, critical=False) == {SKI, AKI}


def test_a_leaf_holds_what_its_profile_says_and_nothing_else(box: Identity, ana: Identity, now: datetime) -> None:
    for identity, purpose, own in (
        (box, ExtendedKeyUsageOID.SERVER_AUTH, SAN),
        (ana, ExtendedKeyUsageOID.CLIENT_AUTH, ROLE_OID),
    ):
        leaf = chain(identity)[0]
        assert extension_oids(leaf, critical=True) == {BASIC_CONSTRAINTS, KEY_USAGE}
        assert extension_oids(leaf, critical=False) == {SKI, AKI, EKU, own}
        assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [purpose]
        assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
        assert (usage.digital_signature, usage.key_cert_sign, usage.crl_sign) == (True, False, False)
        assert leaf.not_valid_before_utc == now.replace(microsecond=0) - timedelta(hours=1)
        assert leaf.not_valid_after_utc == identity.not_after == now.replace(microsecond=0) + timedelta(days=90)


def test_every_key_is_p256_and_none_is_used_twice(ca: Authority, box: Identity, ana: Identity) -> None:
    keys = [certificate.public_key() for certificate in (ca.root, ca.issuing, chain(box)[0], chain(ana)[0])]
    assert all(isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1" for key in keys)
    assert len({key.public_numbers() for key in keys if isinstance(key, ec.EllipticCurvePublicKey)}) == len(keys)


def test_a_server_is_named_by_each_of_its_hosts(box: Identity) -> None:
    names = chain(box)[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "box-1.example.com"]
    addresses = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("2001:db8::17")]
    assert names.get_values_for_type(x509.IPAddress) == addresses


@pytest.mark.requirement("R-20", "R-21", "R-22", "TCP-28")
@pytest.mark.parametrize("role", ["operator", "opérateur", "r" * 127, "r" * 128])
def test_a_client_carries_its_one_role(ca: Authority, now: datetime, role: str) -> None:
    """R-21, R-22, R-65."""
    values = roles(chain(ca.issue(Client("ana", role), 90, now))[0])
    assert decode_role(values) == RoleClaim(role=role)
    asn1parse = ["openssl", "asn1parse", "-inform", "DER"]
    parsed = subprocess.run(asn1parse, input=values[0], capture_output=True, check=True)
    assert b"UTF8STRING" in parsed.stdout


def test_a_server_carries_no_role(box: Identity) -> None:
    assert roles(chain(box)[0]) == []


def openssl_verify(tmp_path: Path, root: x509.Certificate, identity: Identity, purpose: str) -> str:
    (tmp_path / "root.pem").write_bytes(root.public_bytes(Encoding.PEM))
    (tmp_path / "chain.pem").write_bytes(identity.files[layout.TLS_CHAIN])
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "root.pem"]
    command += ["-untrusted", "chain.pem", "chain.pem"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    return "ok" if done.returncode == 0 else done.stderr


def test_openssl_takes_the_chains_strictly_and_for_their_purpose_only(
    tmp_path: Path, ca: Authority, other_ca: Authority, box: Identity, ana: Identity
) -> None:
    """R-47."""
    assert openssl_verify(tmp_path, ca.root, box, "sslserver") == "ok"
    assert openssl_verify(tmp_path, ca.root, ana, "sslclient") == "ok"
    assert "certificate purpose" in openssl_verify(tmp_path, ca.root, box, "sslclient")
    assert "certificate purpose" in openssl_verify(tmp_path, ca.root, ana, "sslserver")
    assert "error 1" in openssl_verify(tmp_path, other_ca.root, box, "sslserver")


def context(tmp_path: Path, side: int, identity: Identity, trusted: bytes) -> ssl.SSLContext:
    """Make a context of one side that shows an identity and trusts one CA, strictly."""
    made = ssl.SSLContext(side)
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    made.load_verify_locations(cadata=trusted.decode())
    (tmp_path / "key.pem").write_bytes(identity.files[layout.TLS_KEY])
    (tmp_path / "chain.pem").write_bytes(identity.files[layout.TLS_CHAIN])
    made.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    return made


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> None:
    """Complete a handshake in memory. Raises what either side's verification raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server, server_hostname=host), server.wrap_bio(to_server, to_client, True)]
    while ends:
        for end in tuple(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)


class Peers:
    """Builds both sides; a test names who shows what and who trusts whom."""

    def __init__(self, tmp_path: Path, ca: Authority) -> None:
        self.tmp_path = tmp_path
        self.root = ca.root.public_bytes(Encoding.PEM)

    def meet(
        self,
        server: Identity,
        client: Identity,
        host: str = "localhost",
        *,
        client_ca: bytes = b"",
        server_ca: bytes = b"",
    ) -> None:
        client_ca = client_ca or server.files[layout.TLS_CLIENT_CA]
        server_ca = server_ca or client.files[layout.TLS_SERVER_CA]
        server_side = context(self.tmp_path, ssl.PROTOCOL_TLS_SERVER, server, client_ca)
        server_side.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the issuing CA is the anchor, not the root
        handshake(server_side, context(self.tmp_path, ssl.PROTOCOL_TLS_CLIENT, client, server_ca), host)


@pytest.fixture
def peers(tmp_path: Path, ca: Authority) -> Peers:
    return Peers(tmp_path, ca)


@pytest.mark.parametrize("host", ["localhost", "box-1.example.com", "127.0.0.1", "2001:db8::17"])
def test_a_client_and_a_server_of_one_pki_meet(peers: Peers, box: Identity, ana: Identity, host: str) -> None:
    peers.meet(box, ana, host)


@pytest.mark.parametrize("host", ["box-2.example.com", "example.com", "127.0.0.2", "::1"])
def test_a_host_that_the_certificate_does_not_name_is_refused(
    peers: Peers, box: Identity, ana: Identity, host: str
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"mismatch|is not valid for"):
        peers.meet(box, ana, host)


def test_a_client_of_another_ca_is_refused(
    peers: Peers, other_ca: Authority, box: Identity, ana: Identity, now: datetime
) -> None:
    stranger = other_ca.issue(Client("ana", "operator"), 90, now)
    with pytest.raises(ssl.SSLCertVerificationError):
        peers.meet(box, stranger, server_ca=ana.files[layout.TLS_SERVER_CA])


def test_a_client_of_another_issuing_ca_under_the_same_root_is_refused(
    peers: Peers, ca: Authority, pki_files: Files, box: Identity, now: datetime
) -> None:
    """The server's anchor for clients is its issuing CA, not the root."""
    key, root_key = ec.generate_private_key(ec.SECP256R1()), load_pem_private_key(pki_files[layout.ROOT_KEY], None)
    assert isinstance(root_key, ec.EllipticCurvePrivateKey)
    profile = profiles.issuing_ca("sister", key.public_key(), ca.root, ca_validity(now, ISSUING_LIFE))
    issuing = profile.serial_number(x509.random_serial_number()).sign(root_key, hashes.SHA256())
    sister = replace(ca, issuing=issuing, issuing_key=key).issue(Client("ana", "operator"), 90, now)
    with pytest.raises(ssl.SSLCertVerificationError):
        peers.meet(box, sister)


def test_a_server_of_another_ca_is_refused(
    peers: Peers, other_ca: Authority, box: Identity, ana: Identity, now: datetime
) -> None:
    stranger = other_ca.issue(Server("box-1", ("localhost",)), 90, now)
    with pytest.raises(ssl.SSLCertVerificationError):
        peers.meet(stranger, ana, client_ca=box.files[layout.TLS_CLIENT_CA])


def test_a_servers_certificate_does_not_serve_as_a_clients(peers: Peers, box: Identity, ana: Identity) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)unsuitable|unsupported certificate purpose"):
        peers.meet(box, box, server_ca=ana.files[layout.TLS_SERVER_CA])


def test_a_clients_certificate_does_not_serve_as_a_servers(peers: Peers, box: Identity, ana: Identity) -> None:
    """It names no host either: the host is not asked for, so that only the purpose can refuse it."""
    server = context(peers.tmp_path, ssl.PROTOCOL_TLS_SERVER, ana, box.files[layout.TLS_CLIENT_CA])
    client = context(peers.tmp_path, ssl.PROTOCOL_TLS_CLIENT, ana, ana.files[layout.TLS_SERVER_CA])
    client.check_hostname = False
    with pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)unsuitable|unsupported certificate purpose"):
        handshake(server, client, "localhost")
