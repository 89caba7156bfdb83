"""Give identities and trust in the forms that foreign programs want: PKCS#12, DER, lines for OpenSSH."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs12

from fieldgate_certs import disk, keys, layout, openssh
from fieldgate_certs.authority import Authority, pem
from fieldgate_certs.subjects import check_role
from fieldgate_core.errors import PkiError

MODBUS_TARGETS = ("127.0.0.1:502", "localhost:502", "[::1]:502")
"""Where a stock sshd on a box may forward to: the Modbus port on loopback, under each name that clients use."""


def pkcs12_file(generation: Path, name: str, password: bytes) -> bytes:
    """Give the TLS identity of a generation as PKCS#12: key, certificate, issuing CA and root.

    Raises PkiError where the key is not here.
    """
    key_file, chain_file = generation / layout.TLS_KEY.path, generation / layout.TLS_CHAIN.path
    if not key_file.exists():
        hint = "its key was made on the box and stays there: convert it there with openssl pkcs12 -export"
        raise PkiError(str(key_file), "the private key is not here", hint=hint)
    key = keys.read_pem(disk.read(key_file, private=True), str(key_file), hint="issue it anew")
    leaf, *cas = x509.load_pem_x509_certificates(disk.read(chain_file))
    encryption = BestAvailableEncryption(password)
    return pkcs12.serialize_key_and_certificates(name.encode(), key, leaf, cas, encryption)


def trust(ca: Authority, form: str, role: str | None) -> bytes:
    """Give what is trusted in one of the forms of `choices.TRUST_FORMS`. Raises PkiError for a missing or bad role."""
    if form == "authorized-keys":
        if role is None:
            raise PkiError("authorized-keys", "it needs the role that may log in", hint="say --role ROLE")
        check_role(role)
        lines = (ca.user_ca_line + ca.trust.user_cas).splitlines(keepends=True)
        return b"".join(openssh.authorized_keys_line(line, role, MODBUS_TARGETS) for line in lines)
    made: dict[str, Callable[[], bytes]] = {
        "server-ca": lambda: pem(ca.root) + ca.trust.roots,
        "server-ca-der": lambda: ca.root.public_bytes(Encoding.DER),
        "client-ca": lambda: pem(ca.issuing) + ca.trust.issuing,
        "client-ca-chain": lambda: pem(ca.issuing, ca.root),
        "known-hosts": lambda: openssh.known_hosts_line(ca.host_ca_line + ca.trust.host_cas),
        "user-ca-keys": lambda: ca.user_ca_line + ca.trust.user_cas,
    }
    return made[form]()
