"""What scanners say of the door: sslyze in an environment of its own, sslscan; docs/conformance.md states the grade."""

from __future__ import annotations

import json
import re
import subprocess
import venv
from pathlib import Path
from typing import Any

import pytest

from support.box import Box
from support.counts import LONG
from support.openssl import run

TOOLS = ("sslscan",)
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not LONG, reason="runs in `make test-long`"),
    pytest.mark.timeout(600),
]
VERSION = "6.3.1"
NONE = ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1")
SUITES = ("AES_128_GCM_SHA256", "CHACHA20_POLY1305_SHA256", "AES_256_GCM_SHA384")
WANTED = {
    ("heartbleed", "is_vulnerable_to_heartbleed"): False,
    ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection"): False,
    ("tls_compression", "supports_compression"): False,
    ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos"): False,
    ("session_renegotiation", "supports_secure_renegotiation"): True,
    ("tls_fallback_scsv", "supports_fallback_scsv"): True,
    ("tls_extended_master_secret", "supports_ems_extension"): True,
    ("robot", "robot_result"): "NOT_VULNERABLE_RSA_NOT_SUPPORTED",
}
COMMANDS = [
    "--sslv2",
    "--sslv3",
    "--tlsv1",
    "--tlsv1_1",
    "--tlsv1_2",
    "--tlsv1_3",
    "--heartbleed",
    "--openssl_ccs",
    "--compression",
    "--fallback",
    "--ems",
    "--robot",
    "--certinfo",
]
BY_CLIENT = ("--reneg",)
"""What needs a whole handshake, and so a client's certificate; with one, sslyze itself fails on SSL 2."""


@pytest.fixture(scope="module")
def sslyze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install sslyze into an environment of its own."""
    folder = tmp_path_factory.mktemp("sslyze")
    venv.create(folder / "env", with_pip=True)
    pip: list[str | Path] = [
        folder / "env/bin/python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([*pip, f"sslyze=={VERSION}"], check=True)
    return folder / "env/bin/sslyze"


def scan(sslyze: Path, box: Box, found: Path, *options: str | Path) -> dict[str, Any]:
    """Scan the TLS door, and give the results of the commands that came to an end."""
    where = f"localhost:{box.ports['tls']}"
    arguments: list[str | Path] = [sslyze, "--mozilla_config", "disable", "--json_out", found, *options, where]
    subprocess.run(arguments, check=True, capture_output=True)
    [server] = json.loads(found.read_text())["server_scan_results"]
    assert server["scan_status"] == "COMPLETED"
    return {name: done["result"] for name, done in server["scan_result"].items() if done["status"] == "COMPLETED"}


def test_sslyze_finds_nothing_below_the_grade(sslyze: Path, either_box: Box, tmp_path: Path) -> None:
    identity = either_box.identity("viewer")
    trust = ("--certinfo_ca_file", identity / "tls-server-ca.pem")
    results = scan(sslyze, either_box, tmp_path / "found.json", *trust, *COMMANDS)
    pair = ("--cert", identity / "tls-chain.pem", "--key", identity / "tls-key.pem")
    results |= scan(sslyze, either_box, tmp_path / "client.json", *pair, *BY_CLIENT)
    for version in NONE:
        assert results[f"{version}_cipher_suites"]["accepted_cipher_suites"] == []
    key = "RSA" if "rsa" in either_box.pki.issuers[0] else "ECDSA"
    for version, prefix in (("tls_1_2", f"TLS_ECDHE_{key}_WITH_"), ("tls_1_3", "TLS_")):
        accepted = results[f"{version}_cipher_suites"]["accepted_cipher_suites"]
        assert {one["cipher_suite"]["name"] for one in accepted} == {prefix + rest for rest in SUITES}
    for (command, fact), value in WANTED.items():
        assert results[command][fact] == value, (command, fact)
    for deployment in results["certificate_info"]["certificate_deployments"]:
        assert deployment["received_chain_has_valid_order"]
        assert not deployment["verified_chain_has_sha1_signature"]
        assert any(path["was_validation_successful"] for path in deployment["path_validation_results"])


def test_sslscan_finds_nothing_below_the_grade(either_box: Box) -> None:
    identity = either_box.identity("viewer")
    pair = f"--pk={identity / 'tls-key.pem'}", f"--certs={identity / 'tls-chain.pem'}"
    done = run("sslscan", "--no-colour", *pair, f"localhost:{either_box.ports['tls']}")
    assert done.code == 0, done
    assert re.findall("^(SSLv2|SSLv3|TLSv1[.0-3]*) +enabled", done.out, re.MULTILINE) == ["TLSv1.2", "TLSv1.3"]
    suites = re.findall(r"^(?:Preferred|Accepted) +TLSv\S+ +(\d+) bits +(\S+)", done.out, re.MULTILINE)
    assert len(suites) == 6
    assert all(int(bits) >= 128 and ("GCM" in name or "CHACHA20" in name) for bits, name in suites)
    assert "Session renegotiation not supported" in done.out
    assert done.out.count("not vulnerable to heartbleed") == 2
