"""The pulse of a link: probes in silence only, and a loss after interval x (count + 1), never before."""

from hypothesis import given
from hypothesis import strategies as st

from fieldgate_tunnel.keepalive import Due, Keepalive, Probe, Pulse


@given(st.integers(1, 60), st.integers(1, 6), st.integers(0, 1000))
def test_silence_is_probed_count_times_and_is_a_loss_one_interval_later(interval: int, count: int, now: int) -> None:
    pulse = Pulse(Keepalive(interval, count), now)
    seen = {}
    for second in range(interval * (count + 1) + 1):
        due = pulse.look(now + second)
        if due is not Due.NOTHING:
            seen[second] = due
    probes = {interval * number: Due.PROBE for number in range(1, count + 1)}
    assert seen == probes | {interval * (count + 1): Due.LOST}
    assert Keepalive(interval, count).patience == interval * (count + 1)


def test_whoever_talks_is_not_probed_and_an_answer_forgets_what_was_missed() -> None:
    pulse = Pulse(Keepalive(10, 3), 0)
    for second in range(1, 200):
        pulse.heard(second)
        assert pulse.look(second) is Due.NOTHING
    assert pulse.look(209) is Due.PROBE
    assert pulse.missed == 0
    assert pulse.look(219) is Due.PROBE
    assert pulse.missed == 1
    pulse.heard(220)
    assert pulse.missed == 0
    assert pulse.look(229) is Due.NOTHING
    assert pulse.look(230) is Due.PROBE


def test_a_stretched_pulse_waits_longer() -> None:
    pulse = Pulse(Keepalive(10, 3), 0)
    pulse.stretch(40)
    assert pulse.look(39) is Due.NOTHING
    assert pulse.look(40) is Due.PROBE
    assert pulse.next == 80


def test_a_probe_reads_one_register_of_the_default_unit() -> None:
    assert (Probe().unit, Probe().pdu) == (255, bytes.fromhex("0300000001"))
    assert Probe(3, 0x1234).pdu == bytes.fromhex("0312340001")
