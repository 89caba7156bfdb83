"""The metrics as Prometheus reads them: made at each scrape from counts that were kept as plain integers."""

from __future__ import annotations

import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.core import (
    CollectorRegistry,
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fieldgate_core.cli import VERSION
from fieldgate_core.crl import Crl
from fieldgate_core.modbus import ExceptionCode, FunctionCode
from fieldgate_server.audit import Audit
from fieldgate_server.counts import LATENCY_BITS, Counts, SessionLimit, Step
from fieldgate_server.expiry import Expiry
from fieldgate_server.trail_clock import kernel_clock
from fieldgate_tunnel.limits import HANDSHAKE_LIMITS, SSH_LIMITS, Gate

DOORS = ("loopback", "tls", "ssh")
CLOCK_STATES = ("synced", "unsynced", "unknown")
ACTS = ("write", "control")
ACT_OUTCOMES = ("done", "refused", "unknown")
OTHER = "other"
"""The label of every function or exception code that is not in the specification: a peer chooses no label."""

_FUNCTIONS = {int(code): str(int(code)) for code in FunctionCode}
_EXCEPTIONS = {int(code): f"{int(code):02X}" for code in ExceptionCode}
_DIGEST_DIGITS = 8
"""Hexadecimal digits of the trail's head in one value, which a float holds exactly."""


@dataclass(frozen=True)
class Sources:
    """Where the metrics come from; what a call gives is asked for at each scrape."""

    counts: Counts
    sessions: Callable[[], Iterable[str]]
    """The door of each open session."""
    audit: Audit
    gates: Mapping[str, Gate]
    """By door."""
    certificates: Callable[[], Iterable[Expiry]]
    """Those that are loaded now."""
    locked: Callable[[], bool]
    crls: Callable[[], Iterable[Crl]]
    """Those that are loaded now."""
    clock_wrong: Callable[[], bool]


class Metrics(Collector):
    """Collects all metrics of one server."""

    def __init__(self, sources: Sources) -> None:
        self._from = sources
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """Give the text of one scrape (Prometheus text format 0.0.4)."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Make the metric families from the counts as they are now."""
        yield from self._sessions()
        yield from self._requests()
        yield from self._doors()
        yield from self._trail()
        yield from self._state()

    def _sessions(self) -> Iterator[Metric]:
        counts, doors = self._from.counts, Counter(self._from.sessions())
        open_now = GaugeMetricFamily("fieldgate_sessions", "Sessions that are open", labels=["door"])
        opened = CounterMetricFamily("fieldgate_sessions_opened", "Sessions opened since the start", labels=["door"])
        for door in DOORS:
            open_now.add_metric([door], doors[door])
            opened.add_metric([door], counts.opened[door])
        yield open_now
        yield opened

    def _requests(self) -> Iterator[Metric]:
        counts = self._from.counts
        requests = CounterMetricFamily(
            "fieldgate_requests",
            "Requests by function code and outcome: ok, an exception code in hexadecimal, or none (listen-only)",
            labels=["function", "outcome"],
        )
        for labels, number in _requests(counts).items():
            requests.add_metric(labels, number)
        yield requests
        refusals = CounterMetricFamily(
            "fieldgate_refusals",
            "Requests that were not handed to their unit, by the step that refused them",
            labels=["step"],
        )
        for step in Step:
            refusals.add_metric([step], counts.refused[step])
        yield refusals
        acts = CounterMetricFamily(
            "fieldgate_writes", "Writes and control actions that were begun, by outcome", labels=["kind", "outcome"]
        )
        for kind in ACTS:
            for outcome in ACT_OUTCOMES:
                acts.add_metric([kind, outcome], counts.acts[kind, outcome])
        yield acts
        latency = HistogramMetricFamily(
            "fieldgate_request_duration_seconds",
            "From the arrival of a request in the process to the hand-over of its reply to the kernel",
        )
        # without a sum, which every request would have to pay for
        latency.add_metric([], _buckets(counts), None)
        yield latency

    def _doors(self) -> Iterator[Metric]:
        under_way = GaugeMetricFamily(
            "fieldgate_handshakes", "Connections that are not authenticated yet", labels=["door"]
        )
        failed = CounterMetricFamily(
            "fieldgate_handshakes_failed", "Connections that ended without being authenticated", labels=["door"]
        )
        lockouts = CounterMetricFamily(
            "fieldgate_lockouts", "Lock-outs of an address that failed to authenticate", labels=["door"]
        )
        locked_out = GaugeMetricFamily(
            "fieldgate_addresses_locked_out", "Addresses that are locked out", labels=["door"]
        )
        hits = CounterMetricFamily(
            "fieldgate_limit_hits",
            "How often a limit has bitten; requests over their rate are refusals",
            labels=["door", "limit"],
        )
        for door, gate in self._from.gates.items():
            under_way.add_metric([door], gate.under_way)
            failed.add_metric([door], gate.failed_total)
            lockouts.add_metric([door], gate.lockout.total)
            locked_out.add_metric([door], gate.lockout.now_locked())
            for limit in HANDSHAKE_LIMITS + (SSH_LIMITS if door == "ssh" else ()):
                hits.add_metric([door, limit], gate.hits[limit])
        for door in DOORS:
            for kind in SessionLimit:
                hits.add_metric([door, kind], self._from.counts.limits[door, kind])
        yield from (under_way, failed, lockouts, locked_out, hits)

    def _trail(self) -> Iterator[Metric]:
        sequence, digest = self._from.audit.head
        yield GaugeMetricFamily(
            "fieldgate_audit_lag_seconds",
            "Seconds for which the oldest line has waited for the disk",
            value=self._from.audit.lag,
        )
        yield GaugeMetricFamily("fieldgate_audit_head_sequence", "The trail's last line", value=sequence)
        parts = GaugeMetricFamily(
            "fieldgate_audit_head_digest",
            "The digest of the trail's last line, cut into numbers of 32 bits; none where it is not chained",
            labels=["part"],
        )
        for at in range(0, len(digest or ""), _DIGEST_DIGITS):
            parts.add_metric([str(at // _DIGEST_DIGITS)], int((digest or "")[at : at + _DIGEST_DIGITS], 16))
        yield parts

    def _state(self) -> Iterator[Metric]:
        expiry = GaugeMetricFamily(
            "fieldgate_certificate_expiry_timestamp_seconds",
            "The end of every certificate that is loaded, in seconds since 1970",
            labels=["file", "name"],
        )
        # files of the same name may serve several purposes: of their certificates of one name the first end counts
        ends: dict[tuple[str, str], float] = {}
        for one in self._from.certificates():
            labels = Path(one.file).name, one.name
            ends[labels] = min(ends.get(labels, math.inf), math.inf if one.ends is None else one.ends)
        for labels, first in ends.items():
            expiry.add_metric(labels, first)
        yield expiry
        yield from self._crls()
        yield GaugeMetricFamily(
            "fieldgate_clock_plausible",
            "0 while the machine's clock says a time that can't be",
            value=float(not self._from.clock_wrong()),
        )
        clock = GaugeMetricFamily("fieldgate_clock", "1 for the state of the machine's clock", labels=["state"])
        state = kernel_clock()
        for name in CLOCK_STATES:
            clock.add_metric([name], float(name == state))
        yield clock
        yield GaugeMetricFamily(
            "fieldgate_locked", "1 while the server is locked: every write is refused", value=float(self._from.locked())
        )
        build = InfoMetricFamily("fieldgate_build", "What runs here")
        build.add_metric([], {"version": VERSION, "python": platform.python_version()})
        yield build

    def _crls(self) -> Iterator[Metric]:
        due = GaugeMetricFamily(
            "fieldgate_crl_next_update_timestamp_seconds",
            "The end of every CRL that is loaded, in seconds since 1970",
            labels=["issuer"],
        )
        age = GaugeMetricFamily(
            "fieldgate_crl_age_seconds", "For how long a CRL that is loaded has been out", labels=["issuer"]
        )
        now = time.time()
        for crl in self._from.crls():
            due.add_metric([crl.issuer], crl.ends)
            age.add_metric([crl.issuer], now - crl.begins)
        yield from (due, age)


def _requests(counts: Counts) -> dict[tuple[str, str], int]:
    """Give the requests by function and outcome, in labels that no peer can multiply."""
    found = {(function, "ok"): counts.replies[code] for code, function in _FUNCTIONS.items()}

    def add(code: int, outcome: str, number: int) -> None:
        labels = _FUNCTIONS.get(code, OTHER), outcome
        found[labels] = found.get(labels, 0) + number

    add(0, "ok", sum(counts.replies[code] for code in range(0x80) if code not in _FUNCTIONS))
    for reply, number in list(counts.exceptions.items()):
        add(reply[0] & 0x7F, _EXCEPTIONS.get(reply[1], OTHER), number)
    for code, number in enumerate(counts.unanswered):
        if number:
            add(code & 0x7F, "none", number)
    return found


def _buckets(counts: Counts) -> list[tuple[str, float]]:
    """Give the histogram's buckets, each with all that took no longer."""
    bounds = [(str(2**bits / 1e9), float(sum(counts.latencies[: bits + 1]))) for bits in LATENCY_BITS]
    return [*bounds, ("+Inf", float(sum(counts.latencies)))]
