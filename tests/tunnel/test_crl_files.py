"""CRL files: of several lists of one CA the newest counts, wherever it stands."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fieldgate_core.errors import ConfigError
from fieldgate_tunnel import crl_files
from support.mint import HOUR, crl, issuing_ca, root_ca
from support.site import Pki


@pytest.mark.parametrize("newest_first", [True, False])
def test_the_newest_list_of_a_ca_counts(site_pki: Pki, tmp_path: Path, newest_first: bool) -> None:
    ca = issuing_ca(site_pki)
    lists = [crl(ca, 17, starts=-HOUR), crl(root_ca(site_pki), 18), crl(ca, 19, starts=-9 * HOUR)]
    file = tmp_path / "ca.crl"
    file.write_bytes(b"".join(lists if newest_first else reversed(lists)))
    found = crl_files.read(file, [ca.certificate], grace=0.0)
    name = ca.certificate.subject.rfc4514_string()
    assert [one.issuer for one in found] == [name]
    assert found.revoked(name, 17)
    assert found.revoked(name, 18) is None
    assert found.revoked(name, 19) is None


def test_a_list_of_a_version_that_is_not_known_is_damaged(site_pki: Pki, tmp_path: Path) -> None:
    der = x509.load_pem_x509_crl(crl(issuing_ca(site_pki), 17)).public_bytes(Encoding.DER)
    odd = der.replace(b"\x02\x01\x01", b"\x02\x01\x05", 1)
    assert odd != der
    file = tmp_path / "ca.crl"
    file.write_bytes(b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(odd) + b"-----END X509 CRL-----\n")
    with pytest.raises(ConfigError, match="holds a CRL that is damaged"):
        crl_files.lists(file)
