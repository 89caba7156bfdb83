"""What a CRL says of a certificate: revoked or not, good, expired under each rule, half-way through its life."""

from __future__ import annotations

import pytest

from fieldgate_core.crl import Crl, Crls, grace

HOUR = 3600.0
LIST = Crl("CN=a", begins=0.0, ends=10 * HOUR, revoked={7: 60.0})


def crls(rule: str) -> Crls:
    return Crls({LIST.issuer: LIST}, grace(rule))


def test_a_serial_is_revoked_for_its_own_ca_only() -> None:
    found = crls("deny")
    assert found.revoked("CN=a", 7) == "revoked by its CA on 1970-01-01 00:01Z"
    assert found.revoked("CN=a", 8) is None
    assert found.revoked("CN=b", 7) is None
    assert Crls().revoked("CN=a", 7) is None


@pytest.mark.parametrize(
    ("rule", "hours", "expired"),
    [("deny", 9.9, False), ("deny", 10, True), ("grace:2", 11.9, False), ("grace:2", 12, True), ("grace:1", 11, True)],
)
def test_an_expired_list_is_good_as_long_as_the_rule_says(rule: str, hours: float, expired: bool) -> None:
    said = crls(rule).expired("CN=a", hours * HOUR)
    assert (said is not None) is expired
    if said is not None:
        assert said.startswith("the CRL of CN=a expired on 1970-01-01 10:00Z, and crl_expired = ")
        assert rule in said
    assert crls(rule).expired("CN=b", hours * HOUR) is None, "there is no list that could have expired"


@pytest.mark.parametrize(("hours", "said"), [(4.9, None), (5, "half of its life"), (9.9, "half"), (10, "expired on")])
def test_its_age_is_told_from_half_of_its_life_on(hours: float, said: str | None) -> None:
    found = LIST.ageing(hours * HOUR)
    assert found is None if said is None else found is not None and said in found


@pytest.mark.parametrize(
    "rule", ["", "allow", "grace", "grace:", "grace:0", "grace:-1", "grace:1.5", "grace:8761", "Deny"]
)
def test_no_other_rule_is_known(rule: str) -> None:
    with pytest.raises(ValueError, match="crl_expired"):
        grace(rule)


def test_the_rules_that_are() -> None:
    assert (grace("deny"), grace("grace:24"), grace("grace:8760")) == (0.0, 86400.0, 8760 * HOUR)
