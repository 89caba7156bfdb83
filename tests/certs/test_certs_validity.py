"""The lives of certificates: back-dated by an hour, 1 to 825 days, never past the issuer's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldgate_certs.validity import Validity, ca_validity, leaf_validity
from fieldgate_core.errors import PkiError

NOW = datetime(2026, 11, 20, 12, 0, 0, 999_999, tzinfo=UTC)
ISSUER = ca_validity(NOW, timedelta(days=3650))
HOUR = timedelta(hours=1)


def test_a_leaf_begins_an_hour_ago_and_ends_after_its_days_in_whole_seconds() -> None:
    start = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert leaf_validity(NOW, 90, ISSUER) == Validity(start - HOUR, start + timedelta(days=90))


@given(st.integers(1, 825), st.timedeltas(timedelta(0), timedelta(days=3649)))
def test_no_leaf_outlives_its_issuer(days: int, later: timedelta) -> None:
    leaf = leaf_validity(NOW + later, days, ISSUER)
    assert leaf.not_before >= ISSUER.not_before
    assert NOW + later < leaf.not_after <= ISSUER.not_after


@pytest.mark.parametrize("days", [-1, 0, 826, 10**12])
def test_days_out_of_range_are_refused(days: int) -> None:
    with pytest.raises(PkiError, match="a certificate lives 1 to 825 days"):
        leaf_validity(NOW, days, ISSUER)


def test_an_issuer_that_has_ended_issues_nothing() -> None:
    assert leaf_validity(ISSUER.not_after - timedelta(seconds=1), 90, ISSUER).not_after == ISSUER.not_after
    with pytest.raises(PkiError, match="it ended on 2036-11-17"):
        leaf_validity(ISSUER.not_after, 90, ISSUER)


def test_a_clock_before_the_issuer_looks_wrong() -> None:
    assert leaf_validity(ISSUER.not_before, 90, ISSUER)
    with pytest.raises(PkiError, match="the clock looks wrong: it says 1970-01-01, the CA was made on 2026-11-20"):
        leaf_validity(datetime.fromtimestamp(0, UTC), 90, ISSUER)
