"""The server's half of versions, suites, keys and hashes: asked by stock tools and ClientHellos made by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tlslite.constants import CipherSuite, GroupName, SignatureScheme

from support.api import wait_until
from support.box import Box, fieldgate, running_file
from support.hello import ECDSA, RSA, hello, say
from support.openssl import exchange, handshake, refusal, run, s_client
from support.rsa_pki import WEAK
from support.site import Pki, write_files
from support.tools import Finished

TOOLS = ("openssl", "gnutls-cli")
requirement = pytest.mark.requirement
HANDSHAKE_FAILURE, PROTOCOL_VERSION = 40, 70
READ = bytes.fromhex("000100000006010300000001")
READ_REPLY = bytes.fromhex("0001000000050103020011")
READ_0 = bytes.fromhex("0001000000050103020000")
VERSIONS = ("-tls1_2", "-tls1_3")
ORDER = (
    "AES_128_GCM_SHA256",
    "CHACHA20_POLY1305_SHA256",
    "AES_256_GCM_SHA384",
)
"""What follows TLS_ECDHE_ECDSA_WITH_ or TLS_ECDHE_RSA_WITH_ in the server's order."""
TLS_13, SIGNALS = 0x13, {CipherSuite.TLS_EMPTY_RENEGOTIATION_INFO_SCSV, CipherSuite.TLS_FALLBACK_SCSV}
EVERY_SUITE = sorted(
    number
    for number in CipherSuite.ietfNames
    if 0 < number <= 0xFFFF and number >> 8 != TLS_13 and number not in SIGNALS
)
"""The suites for TLS 1.2 that tlslite-ng has a name for."""
NULL_SHA256 = CipherSuite.TLS_RSA_WITH_NULL_SHA256


def kind(box: Box) -> str:
    return "RSA" if "rsa" in box.pki.issuers[0] else "ECDSA"


def registered(suite: int) -> str:
    """Give the name under which IANA has it."""
    return str(CipherSuite.ietfNames[suite])


@requirement("R-01", "R-32", "R-33")
@pytest.mark.parametrize("version", VERSIONS)
def test_openssl_is_served_by_tls_12_and_13(either_box: Box, version: str) -> None:
    arguments = s_client(either_box.ports["tls"], either_box.identity("viewer"), version, "-quiet")
    assert exchange(arguments, READ, len(READ_REPLY)) == READ_REPLY


@requirement("R-01", "R-32", "R-33")
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_gnutls_is_served_by_tls_12_and_13(either_box: Box, version: str) -> None:
    done = gnutls(either_box, "--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}")
    assert done.code == 0, done
    assert f"(TLS{version}" in done.out
    assert "The certificate is trusted" in done.out


@requirement("R-34")
@pytest.mark.parametrize("version", [(3, 0), (3, 1), (3, 2)], ids=["SSL 3.0", "TLS 1.0", "TLS 1.1"])
def test_older_versions_are_refused(either_box: Box, version: tuple[int, int]) -> None:
    answer = say(either_box.ports["tls"], hello([ECDSA, RSA], version=version))
    # SSL 3.0 has no alert for it
    alert = HANDSHAKE_FAILURE if version == (3, 0) else PROTOCOL_VERSION
    assert (answer.alert, answer.closed, answer.messages) == (alert, True, {})


@requirement("R-35")
def test_an_ssl_2_hello_is_refused(either_box: Box) -> None:
    suites = b"\x07\x00\xc0\x00\xc0\x2b"
    body = b"\x01\x00\x02" + len(suites).to_bytes(2, "big") + b"\0\0\0\x10" + suites + bytes(16)
    answer = say(either_box.ports["tls"], (0x8000 | len(body)).to_bytes(2, "big") + body)
    assert answer.closed
    assert answer.messages == {}


@requirement("R-14", "R-36", "R-39", "R-40")
def test_an_rsa_key_brings_the_mandatory_suite(rsa_box: Box) -> None:
    answer = say(rsa_box.ports["tls"], hello([RSA]))
    assert answer.server_hello.cipher_suite == RSA
    assert answer.key_exchange.curve_type == 3
    done = handshake(
        rsa_box.ports["tls"], rsa_box.identity("viewer"), "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"
    )
    assert "Cipher is ECDHE-RSA-AES128-GCM-SHA256" in done.out


@requirement("R-36", "R-40", "R-61", "R-62")
def test_an_ecdsa_key_brings_the_mandatory_suite_on_p_256(ecdsa_box: Box) -> None:
    answer = say(ecdsa_box.ports["tls"], hello([ECDSA], groups=[GroupName.secp256r1]))
    assert answer.server_hello.cipher_suite == ECDSA
    assert answer.key_exchange.named_curve == GroupName.secp256r1


@requirement("R-12", "R-13", "R-37", "R-38", "R-48", "R-50", "R-51", "R-53", "TCP-17", "TCP-20", "TCP-54")
def test_three_suites_are_served_in_this_order_and_no_other(either_box: Box) -> None:
    left = [0x0000, *EVERY_SUITE]
    taken: list[str] = []
    while True:
        answer = say(either_box.ports["tls"], hello(left))
        if answer.alert is not None:
            break
        left.remove(answer.server_hello.cipher_suite)
        taken.append(registered(answer.server_hello.cipher_suite))
    assert answer.alert == HANDSHAKE_FAILURE
    assert taken == [f"TLS_ECDHE_{kind(either_box)}_WITH_{rest}" for rest in ORDER]


@requirement("R-12", "R-38")
def test_tls_13_suites_are_registered_ones(either_box: Box) -> None:
    done = handshake(either_box.ports["tls"], either_box.identity("viewer"), "-tls1_3")
    chosen = re.search(r"Cipher is (TLS_[A-Z0-9_]+)", done.out)
    assert chosen, done
    assert chosen[1] in set(CipherSuite.ietfNames.values())


@requirement("R-52", "R-55")
def test_sha_256_signs_and_makes_the_keys(either_box: Box) -> None:
    """The mandatory suites take HMAC-SHA-256 as their PRF (RFC 5289, 3.2)."""
    answer = say(either_box.ports["tls"], hello([ECDSA, RSA]))
    assert registered(answer.server_hello.cipher_suite).endswith("_SHA256")
    signed = answer.key_exchange.hashAlg, answer.key_exchange.signAlg
    assert signed in {SignatureScheme.ecdsa_secp256r1_sha256, SignatureScheme.rsa_pss_rsae_sha256}
    identity = either_box.identity("viewer")
    assert "Peer signing digest: SHA256" in handshake(either_box.ports["tls"], identity, "-tls1_2").out


@requirement("R-54")
def test_who_signs_by_sha_1_only_is_refused(either_box: Box) -> None:
    old = [(2, 1), (2, 3)]
    assert say(either_box.ports["tls"], hello([ECDSA, RSA], schemes=old)).alert == HANDSHAKE_FAILURE


# integrity only

NULL = ("-tls1_2", "-cipher", "NULL-SHA256:@SECLEVEL=0")


@requirement("R-48", "R-67", "TCP-54")
def test_nobody_is_served_without_encryption_unless_told_so(either_box: Box) -> None:
    done = refusal(either_box.ports["tls"], either_box.identity("viewer"), *NULL)
    assert done.code == 1
    assert "handshake failure" in done.err


@requirement("R-49", "R-67")
def test_an_option_serves_integrity_only_and_says_what_it_means(rsa_pki: Pki, tmp_path: Path) -> None:
    file = write_files(rsa_pki, tmp_path, user="root", grants=None, units="", extra="")
    file.write_text(file.read_text().replace("[tls]\n", '[tls]\nconfidentiality = "none"\n'))
    checked = fieldgate("server", "check", "--config", str(file))
    meaning = "everybody on the path can read it"
    assert meaning in checked.stdout + checked.stderr
    assert "has no effect" not in checked.stdout + checked.stderr
    with running_file(rsa_pki, tmp_path, file) as box:
        identity, port = box.identity("viewer"), box.ports["tls"]
        assert box.log().count(meaning) == 1
        null = handshake(port, identity, *NULL)
        assert "Cipher is NULL-SHA256" in null.out
        assert exchange(s_client(port, identity, *NULL, "-quiet"), READ, len(READ_0)) == READ_0
        # the level is OpenSSL's lowest now, and a weak key is refused all the same
        weak = s_client(port, box.identity(WEAK), *NULL, "-quiet")
        assert exchange(weak, READ, 1) == b""
        wait_until(lambda: any("the client's certificate has a weak key" in line for line in box.audit_lines()))
        # who can encrypt still does, whatever it puts first
        both = handshake(port, identity, "-tls1_2", "-cipher", "NULL-SHA256:ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0")
        assert "Cipher is ECDHE-RSA-AES128-GCM-SHA256" in both.out
        assert "TLSv1.3" in handshake(port, identity).out
        assert say(port, hello([NULL_SHA256, ECDSA, RSA])).server_hello.cipher_suite == RSA
        served = {suite for suite in EVERY_SUITE if say(port, hello([suite])).alert != HANDSHAKE_FAILURE}
        assert NULL_SHA256 in served
        assert {registered(suite) for suite in served - {NULL_SHA256}} == {
            f"TLS_ECDHE_RSA_WITH_{rest}" for rest in ORDER
        }


@requirement("R-67")
def test_the_option_has_no_effect_with_an_ecdsa_key_and_check_says_so(site_pki: Pki, tmp_path: Path) -> None:
    file = write_files(site_pki, tmp_path, user="root", grants=None, units="", extra="")
    file.write_text(file.read_text().replace("[tls]\n", '[tls]\nconfidentiality = "none"\n'))
    done = fieldgate("server", "check", "--config", str(file))
    assert "has no effect" in done.stdout + done.stderr
    file.write_text(file.read_text().replace('"none"', '"some"'))
    done = fieldgate("server", "check", "--config", str(file))
    assert "confidentiality 'some' is not one of: required, none" in done.stdout + done.stderr


def gnutls(box: Box, *options: str) -> Finished:
    identity = box.identity("viewer")
    return run(
        "gnutls-cli", "--port", str(box.ports["tls"]), "--x509cafile", identity / "tls-server-ca.pem",
        "--x509certfile", identity / "tls-chain.pem", "--x509keyfile", identity / "tls-key.pem", *options, "127.0.0.1",
    )  # fmt: skip
