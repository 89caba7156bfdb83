"""Reading CRL files (PEM, several in one): each list is verified against its CA before anybody goes by it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from fieldgate_core import trusted_file
from fieldgate_core.crl import Crl, Crls
from fieldgate_core.errors import ConfigError

_PEM = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)
_FETCH = "fetch it anew from the CA: `fieldgate certs revoke` writes it"


def read(path: Path, anchors: Iterable[x509.Certificate], *, grace: float) -> Crls:
    """Read the CRLs of all issuing CAs (RFC 5280, 5 and 6.3).

    Lists of other CAs, such as the root's, are left out. Raises ConfigError if the file is for others to write, if a
    list is damaged, partial or not signed by its CA, or if one of the CAs has none: silence would mean "not revoked".
    """
    found = [(crl, crl.issuer.rfc4514_string()) for crl in lists(path)]
    newest: dict[str, Crl] = {}
    for anchor in anchors:
        name = anchor.subject.rfc4514_string()
        ours = [_checked(path, crl, anchor, name) for crl, issuer in found if issuer == name]
        if not ours:
            raise ConfigError(str(path), f"holds no CRL of {name}, whose clients may come in", hint=_FETCH)
        newest[name] = max(ours, key=lambda one: one.begins)
    return Crls(newest, grace)


def lists(path: Path) -> list[x509.CertificateRevocationList]:
    """Read the lists of a file, which holds nothing else. Raises ConfigError."""
    trusted_file.check(path)
    try:
        text = path.read_bytes()
        found = [x509.load_pem_x509_crl(pem) for pem in _PEM.findall(text)]
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None
    except (ValueError, x509.InvalidVersion):
        raise ConfigError(str(path), "holds a CRL that is damaged", hint=_FETCH) from None
    # half a list at the end of a file is no list, and a certificate would become one that is trusted
    if text.count(b"-----BEGIN ") != len(found) or not found:
        problem = "holds something else than whole CRLs" if found or b"-----BEGIN " in text else "holds no CRL"
        raise ConfigError(str(path), problem, hint=_FETCH)
    return found


def _checked(path: Path, crl: x509.CertificateRevocationList, anchor: x509.Certificate, name: str) -> Crl:
    try:
        signed = crl.is_signature_valid(anchor.public_key())  # type: ignore[arg-type]
        critical = [extension.oid.dotted_string for extension in crl.extensions if extension.critical]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(str(path), f"the CRL of {name} can't be verified", hint=_FETCH) from None
    if not signed:
        raise ConfigError(str(path), f"the CRL of {name} is not signed by that CA", hint=_FETCH)
    if critical:
        # a delta, or a list of some of a CA's certificates only: to go by it alone would let the others in
        raise ConfigError(str(path), f"the CRL of {name} is partial (critical extension {', '.join(critical)})")
    if crl.next_update_utc is None:
        raise ConfigError(str(path), f"the CRL of {name} does not say when the next one comes (nextUpdate)")
    revoked = {entry.serial_number: entry.revocation_date_utc.timestamp() for entry in crl}
    return Crl(name, crl.last_update_utc.timestamp(), crl.next_update_utc.timestamp(), revoked)
