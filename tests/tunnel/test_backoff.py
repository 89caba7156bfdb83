"""Back-off: full jitter over a range that doubles to its cap, without end, and begins anew after a settled link."""

from hypothesis import given
from hypothesis import strategies as st

from fieldgate_tunnel.backoff import HOPELESS, SETTLED, Backoff


@given(st.floats(0.1, 300), st.integers(0, 2000), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_a_share_of_a_range_that_doubles_up_to_the_cap(cap: float, failures: int, drawn: float) -> None:
    backoff = Backoff(cap, base=0.5, draw=lambda: drawn)
    for _ in range(failures):
        backoff.failed()
    assert backoff.failed() == drawn * min(cap, 0.5 * 2.0 ** min(failures, 60))


def test_a_link_that_was_up_for_a_while_begins_anew_and_a_flapping_one_does_not() -> None:
    backoff = Backoff(8.0, base=1.0, draw=lambda: 0.5)
    assert [backoff.failed() for _ in range(5)] == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert backoff.failed(up=SETTLED - 1) == 4.0
    assert backoff.failed(up=SETTLED) == 0.5


def test_what_time_can_not_mend_is_tried_rarely_from_the_first_time_on() -> None:
    assert Backoff(4.0, draw=lambda: 0.5).failed(hopeless=True) == HOPELESS / 2
    assert Backoff(300.0, draw=lambda: 0.5).failed(hopeless=True) == 150.0
