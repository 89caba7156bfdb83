"""The server's half of the handshake: who must show what, in which order, in records of which size."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from tlslite.constants import HandshakeType
from tlslite.extensions import TLSExtension

from support.api import wait_until
from support.box import Box
from support.hello import ECDSA, RENEGOTIATION_INFO, RSA, Answer, hello, say
from support.openssl import certificates, exchange, handshake, piped, refusal, run, s_client
from support.tap import records, tapped

TOOLS = ("openssl", "gnutls-cli")
requirement = pytest.mark.requirement
APPLICATION_DATA = 23
SEALED_IN = {"-tls1_2": 24, "-tls1_3": 17}
"""Bytes that the first suite adds to a record: nonce and tag (RFC 5288, 3), or tag and type (RFC 8446, 5.2)."""
MAX_FRAGMENT_LENGTH, RENEGOTIATION = 1, 0xFF01
FRAGMENTS = {512: 1, 1024: 2, 2048: 3, 4096: 4}
"""Codes of RFC 6066, 4."""
READ_125 = bytes.fromhex("00010000000601030000007d")
READ_125_REPLY = bytes.fromhex("0001000000fd0103fa") + b"\0\x11" * 125


def flight(box: Box, *more: TLSExtension) -> Answer:
    return say(box.ports["tls"], hello([ECDSA, RSA, RENEGOTIATION_INFO], more=more))


@requirement("R-02", "R-06", "R-41")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_both_ends_show_a_certificate(either_box: Box, version: str) -> None:
    done = handshake(either_box.ports["tls"], either_box.identity("viewer"), version)
    assert "Verification: OK" in done.out
    identity = either_box.identity("viewer")
    answer = exchange(s_client(either_box.ports["tls"], identity, version, "-quiet"), READ_125, len(READ_125_REPLY))
    assert answer == READ_125_REPLY
    leaf = x509.load_pem_x509_certificates((identity / "tls-chain.pem").read_bytes())[0]
    shown = f"/{leaf.serial_number:X}/viewer"
    wait_until(lambda: any(shown in line and "door=tls" in line for line in either_box.audit_lines()))


@requirement("R-07")
def test_the_server_asks_for_a_certificate(either_box: Box) -> None:
    answer = flight(either_box)
    assert list(answer.messages)[-2:] == [HandshakeType.certificate_request, HandshakeType.server_hello_done]
    assert {1, 64} <= set(answer.certificate_request.certificate_types), "RSA and ECDSA"


@requirement("R-02", "R-10", "R-41", "R-44")
@pytest.mark.parametrize(("version", "alert"), [("-tls1_2", 40), ("-tls1_3", 116)])
def test_a_client_without_a_certificate_meets_a_fatal_alert(either_box: Box, version: str, alert: int) -> None:
    done = refusal(either_box.ports["tls"], None, version, trust=either_box.identity("viewer") / "tls-server-ca.pem")
    assert done.code == 1
    assert f"alert number {alert}" in done.err.replace("SSL ", "")


@requirement("R-10", "R-44")
def test_gnutls_without_a_certificate_is_refused(either_box: Box) -> None:
    identity = either_box.identity("viewer")
    trust = identity / "tls-server-ca.pem"
    port = str(either_box.ports["tls"])
    done = run("gnutls-cli", "--port", port, "--x509cafile", trust, "--priority", "NORMAL:-VERS-TLS1.3", "127.0.0.1")
    assert done.code == 1
    assert "A TLS fatal alert has been received" in done.out + done.err
    assert "[40]" in done.out + done.err


@requirement("R-46")
def test_the_chain_goes_up_to_the_root(either_box: Box) -> None:
    by_hand = [x509.load_der_x509_certificate(der) for der in flight(either_box).certificates]
    for version in ("-tls1_2", "-tls1_3"):
        shown = certificates(
            handshake(either_box.ports["tls"], either_box.identity("viewer"), version, "-showcerts").out
        )
        assert shown == by_hand
    leaf, issuing, root = by_hand
    leaf.verify_directly_issued_by(issuing)
    issuing.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)


@requirement("R-03", "R-45", "R-47", "TCP-50")
def test_the_certificates_are_what_rfc_5280_says(ecdsa_box: Box, tmp_path: Path) -> None:
    """OpenSSL's strict checks, by the stock command; those of `fieldgate certs`, which the server shows."""
    shown = [x509.load_der_x509_certificate(der) for der in flight(ecdsa_box).certificates]
    assert [certificate.version for certificate in shown] == [x509.Version.v3] * 3
    for folder, purpose in ((ecdsa_box.pki.server, "sslserver"), (ecdsa_box.identity("viewer"), "sslclient")):
        chain = folder / "tls-chain.pem"
        root = tmp_path / "root.pem"
        root.write_bytes((ecdsa_box.pki.folder / "x509/root/cert.pem").read_bytes())
        options = ("verify", "-x509_strict", "-purpose", purpose, "-CAfile", root, "-untrusted", chain, chain)
        done = run("openssl", *options)
        assert done.code == 0, done


@requirement("R-05")
def test_the_mbap_frame_is_unchanged_inside_tls(either_box: Box) -> None:
    """Whole frames with their MBAP header go in and come out; the transaction and unit identifiers come back."""
    asked = bytes.fromhex("beef00000006010300000001 002a00000002012b".replace(" ", ""))
    answered = bytes.fromhex("beef000000050103020011 002a00000003 01ab01".replace(" ", ""))
    arguments = s_client(either_box.ports["tls"], either_box.identity("viewer"), "-quiet")
    assert exchange(arguments, asked, len(answered)) == answered


@requirement("R-57", "R-58")
@pytest.mark.parametrize(("size", "code"), FRAGMENTS.items())
def test_maximum_fragment_length_is_granted_and_kept(either_box: Box, size: int, code: int) -> None:
    answer = flight(either_box, TLSExtension(extType=MAX_FRAGMENT_LENGTH).create(bytearray([code])))
    granted = answer.server_hello.getExtension(MAX_FRAGMENT_LENGTH)
    assert granted is not None
    assert bytes(granted.extData) == bytes([code])
    assert max(answer.records) <= size
    assert max(flight(either_box).records) > 512, "without it, a record is longer, or this test shows nothing"


@requirement("R-57", "R-58")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_the_longest_reply_is_one_record_of_512_bytes_at_most(either_box: Box, version: str) -> None:
    with tapped(either_box.ports["tls"]) as tap:
        arguments = s_client(tap.port, either_box.identity("viewer"), version, "-maxfraglen", "512", "-quiet")
        assert exchange(arguments, READ_125, len(READ_125_REPLY)) == READ_125_REPLY
        passed = records(tap.answered)
    assert max(record.size for record in passed) <= 512 + SEALED_IN[version]
    assert len(READ_125_REPLY) + SEALED_IN[version] in {record.size for record in passed}


@requirement("APP-A")
def test_a_reply_is_one_record_of_data(either_box: Box) -> None:
    with tapped(either_box.ports["tls"]) as tap:
        arguments = s_client(tap.port, either_box.identity("viewer"), "-tls1_2", "-quiet")
        assert exchange(arguments, READ_125 * 70, 70 * len(READ_125_REPLY)) == READ_125_REPLY * 70
        passed = [record for record in records(tap.answered) if record.kind == APPLICATION_DATA]
    assert {record.version for record in passed} == {(3, 3)}
    assert max(record.size for record in passed) <= 16384 + 2048
    # none is cut over two records: each holds whole replies
    assert {(record.size - SEALED_IN["-tls1_2"]) % len(READ_125_REPLY) for record in passed} == {0}


@requirement("R-59")
def test_the_server_compresses_nothing(either_box: Box) -> None:
    answer = say(either_box.ports["tls"], hello([ECDSA, RSA], compression=[1, 0]))
    assert answer.server_hello.compression_method == 0
    assert "Compression: NONE" in handshake(either_box.ports["tls"], either_box.identity("viewer"), "-tls1_2").out


@requirement("R-60")
def test_the_renegotiation_indication_is_there(either_box: Box) -> None:
    for more in ((), (TLSExtension(extType=RENEGOTIATION).create(bytearray([0])),)):
        suites = [ECDSA, RSA] if more else [ECDSA, RSA, RENEGOTIATION_INFO]
        answer = say(either_box.ports["tls"], hello(suites, more=more))
        indication = answer.server_hello.getExtension(RENEGOTIATION)
        assert indication is not None
    done = handshake(either_box.ports["tls"], either_box.identity("viewer"), "-tls1_2")
    assert "Secure Renegotiation IS supported" in done.out


@requirement("R-60")
def test_a_renegotiation_is_refused(either_box: Box) -> None:
    """An "R" on a line of its own makes s_client ask for one."""
    arguments = s_client(either_box.ports["tls"], either_box.identity("viewer"), "-tls1_2")
    with piped("openssl", *arguments) as process:
        out, err = process.communicate(b"R\n", timeout=30)
    assert b"RENEGOTIATING" in out + err
    assert b"no renegotiation" in out + err
