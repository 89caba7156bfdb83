"""The text of a scrape: a peer chooses no label, histograms add up, the trail's head can be read back."""

from __future__ import annotations

import math
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from fieldgate_core.modbus import ExceptionCode, FunctionCode
from fieldgate_server.audit import Audit
from fieldgate_server.cli import main
from fieldgate_server.counts import Counts
from fieldgate_server.expiry import Expiry
from fieldgate_server.metrics import Metrics, Sources
from fieldgate_tunnel.limits import Gate, Limits
from support.scrape import Samples, parsed, value


def metrics_of(counts: Counts, audit: Audit | None = None, certificates: tuple[Expiry, ...] = ()) -> Metrics:
    gates = {"tls": Gate(Limits()), "ssh": Gate(Limits())}
    return Metrics(
        Sources(
            counts=counts,
            sessions=lambda: ["tls", "tls", "loopback"],
            audit=audit or Audit(None),
            gates=gates,
            certificates=lambda: certificates,
            locked=lambda: False,
            crls=tuple,
            clock_wrong=lambda: False,
        )
    )


def read(metrics: Metrics) -> Samples:
    return parsed(metrics.text().decode())


def test_whatever_codes_peers_and_devices_send_the_series_stay_few() -> None:
    counts = Counts()
    for code in range(256):
        counts.replies[code] += code < 0x80
        counts.unanswered[code] += 1
        for exception in range(256):
            counts.exceptions[bytes((0x80 | code, exception))] += 1
    samples = read(metrics_of(counts))
    series = samples["fieldgate_requests_total"]
    functions = {str(int(code)) for code in FunctionCode} | {"other"}
    outcomes = {f"{int(code):02X}" for code in ExceptionCode} | {"ok", "none", "other"}
    assert {dict(labels)["function"] for labels in series} == functions
    assert {dict(labels)["outcome"] for labels in series} == outcomes
    # and none is lost: 128 codes answered, 256 without an answer, 256 times 256 exceptions
    assert sum(series.values()) == 128 + 256 + 65536
    assert value(samples, "fieldgate_requests_total", function="3", outcome="ok") == 1
    assert value(samples, "fieldgate_requests_total", function="3", outcome="02") == 2, "codes 3 and 83"
    assert value(samples, "fieldgate_requests_total", function="other", outcome="ok") == 128 - len(FunctionCode)


def test_the_histogram_counts_every_reply_once_and_where_it_belongs() -> None:
    counts = Counts()
    for nanoseconds in (0, 1, 4095, 4096, 4097, 1_000_000, 2**32 - 1, 2**32, 10**12):
        counts.latencies[nanoseconds.bit_length()] += 1
    samples = read(metrics_of(counts))
    name = "fieldgate_request_duration_seconds"
    buckets = sorted((float(dict(labels)["le"]), number) for labels, number in samples[f"{name}_bucket"].items())
    assert [number for _, number in buckets] == sorted(number for _, number in buckets)
    found = dict(buckets)
    assert found[4.096e-06] == 3
    assert found[8.192e-06] == 5
    assert found[0.001048576] == 6
    assert found[4.294967296] == 7
    assert found[math.inf] == 9


def test_sessions_are_counted_by_door() -> None:
    samples = read(metrics_of(Counts()))
    assert value(samples, "fieldgate_sessions", door="tls") == 2
    assert value(samples, "fieldgate_sessions", door="loopback") == 1
    assert value(samples, "fieldgate_sessions", door="ssh") == 0


def test_the_head_of_a_chained_trail_can_be_read_back_from_its_numbers(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    assert main(["audit", "init", str(file)]) == 0
    audit = Audit(file)
    for number in range(5):
        audit.line("test", number=number)
        sequence, digest = audit.head
        samples = read(metrics_of(Counts(), audit))
        parts = [int(value(samples, "fieldgate_audit_head_digest", part=str(part))) for part in range(8)]
        assert "".join(f"{part:08x}" for part in parts) == digest
        assert value(samples, "fieldgate_audit_head_sequence") == sequence
    audit.close()


def test_certificates_are_told_by_file_and_name_and_one_without_end_never_runs_out() -> None:
    name = 'CN="quoted" \\ back\nslash'
    certificates = (
        Expiry("/etc/a/tls-chain.pem", name, 1.5e9),
        Expiry("/etc/b/tls-chain.pem", name, 1.5e9),
        Expiry("/etc/a/ssh-host-key-cert.pub", "box", None),
    )
    samples = read(metrics_of(Counts(), certificates=certificates))
    metric = "fieldgate_certificate_expiry_timestamp_seconds"
    assert value(samples, metric, file="tls-chain.pem", name=name) == 1.5e9
    assert value(samples, metric, file="ssh-host-key-cert.pub", name="box") == math.inf
    assert len(samples[metric]) == 2


def test_every_family_has_help_and_a_type_and_our_prefix() -> None:
    for family in text_string_to_metric_families(metrics_of(Counts()).text().decode()):
        assert family.name.startswith("fieldgate_")
        assert family.documentation
        assert family.type in {"gauge", "counter", "histogram", "info"}, family
