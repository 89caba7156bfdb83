"""The role extension, strictly: R-21, R-22, R-23, R-65."""

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from hypothesis import given
from hypothesis import strategies as st

from fieldgate_core.credentials import NO_ROLE, decode_role, encode_role

roles = st.text(min_size=1, max_size=128).filter(
    lambda role: (
        1 <= len(role.encode("utf-8", "surrogatepass")) <= 128
        and role not in {"NULL", "INVALID"}
        and role.isprintable()
    )
)


@given(roles)
def test_a_role_comes_back_as_it_was_given_r22(role: str) -> None:
    assert decode_role([encode_role(role)]).role == role


@pytest.mark.skipif(not hasattr(asn1, "decode_der"), reason="this cryptography is older than the oracle")
@given(roles)
def test_our_encoding_is_what_cryptography_decodes_r22(role: str) -> None:
    # its strict decoder refuses other tags and trailing bytes, so it is an oracle independent of ours
    assert asn1.decode_der(str, encode_role(role)) == role


def test_a_certificate_without_a_role_is_null_not_invalid_r23() -> None:
    assert decode_role([]) == NO_ROLE


@pytest.mark.requirement("R-22", "R-65")
@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ([b"\x0c\x01a", b"\x0c\x01b"], "2 role extensions"),
        ([b"\x13\x01a"], "not a UTF8String"),
        ([b"\x0c\x00"], "0 bytes"),
        ([b"\x0c\x81\x81" + b"a" * 129], "129 bytes"),
        ([b"\x0c\x01a\x00"], "trail"),
        ([b"\x0c\x05abc"], "missing"),
        ([b"\x0c\x81\x01a"], "not DER"),
        ([b"\x0c\x80a\x00\x00"], "not DER"),
        ([b"\x0c\x82\x00\x01a"], "not DER"),
        ([b"\x0c\x02\xff\xfe"], "not UTF-8"),
        ([b"\x0c\x04NULL"], "reserved"),
        ([b"\x0c\x07INVALID"], "reserved"),
        ([b""], "not a UTF8String"),
        ([b"\x0c"], "not a UTF8String"),
    ],
)
def test_a_malformed_role_is_a_fault_and_never_null_r65(values: list[bytes], fault: str) -> None:
    claim = decode_role(values)
    assert claim.role is None
    assert claim.fault is not None
    assert fault in claim.fault


@given(st.binary(max_size=140))
def test_no_bytes_make_the_decoder_fail_or_give_a_role_that_does_not_encode_to_them(data: bytes) -> None:
    claim = decode_role([data])
    assert (claim.role is None) != (claim.fault is None)
    if claim.role is not None:
        assert encode_role(claim.role) == data


@pytest.mark.parametrize("role", ["", "x" * 129, "NULL", "INVALID"])
def test_a_role_that_could_not_be_read_back_is_not_encoded(role: str) -> None:
    with pytest.raises(ValueError, match="role"):
        encode_role(role)


@pytest.mark.requirement("R-21")
def test_the_extension_has_the_identifier_of_the_specification_r21() -> None:
    from fieldgate_core.credentials import ROLE_OID

    assert x509.ObjectIdentifier(ROLE_OID).dotted_string == "1.3.6.1.4.1.50316.802.1"
