"""The metrics of a running server: scraped and parsed as Prometheus does, and all that dashboard and alerts name."""

from __future__ import annotations

import getpass
import json
import os
import re
import time
from pathlib import Path

import pytest
import yaml

from fieldgate_core import settings
from fieldgate_server.app import App
from fieldgate_server.settings import Settings
from support.asking import READ, READ_REFUSED, READ_REPLY, WRITE, WRITE_REFUSED, ask, line_with, ssh_connection
from support.mint import crl, issuing_ca
from support.operating import load_crl
from support.scrape import DAEMON, get_as, metered_site, scrape, scrape_until, value
from support.site import Pki, Site, write_files

DOCS = Path(__file__).parents[2] / "docs/monitoring"
MALFORMED = bytes.fromhex("000300000006010300000000")
BEYOND = bytes.fromhex("00040000000601030000007d")
UNKNOWN = bytes.fromhex("0005000000020164")


async def test_what_was_asked_is_what_is_counted(site_pki: Pki, tmp_path: Path) -> None:
    async with metered_site(site_pki, tmp_path, user=getpass.getuser()) as site:
        async with site.stream("tls") as stream:
            for _ in range(3):
                await ask(stream, READ, READ_REPLY)
            await ask(stream, WRITE, WRITE)
            await ask(stream, MALFORMED, bytes.fromhex("000300000003018303"))
            await ask(stream, UNKNOWN, bytes.fromhex("000500000003" + "01e401"))
            async with site.stream("ssh", "viewer") as viewer, site.stream("modbus") as local:
                await ask(viewer, WRITE, WRITE_REFUSED)
                await ask(local, BEYOND, bytes.fromhex("000400000003018302"))
                samples = await scrape_until(site, lambda found: value(found, "fieldgate_sessions", door="tls") == 1)
                for door in ("loopback", "ssh"):
                    assert value(samples, "fieldgate_sessions", door=door) == 1
                    assert value(samples, "fieldgate_sessions_opened_total", door=door) == 1
        requests = {labels: number for labels, number in samples["fieldgate_requests_total"].items() if number}
        assert requests == {
            (("function", "3"), ("outcome", "ok")): 3,
            (("function", "3"), ("outcome", "02")): 1,
            (("function", "3"), ("outcome", "03")): 1,
            (("function", "6"), ("outcome", "ok")): 1,
            (("function", "6"), ("outcome", "01")): 1,
            (("function", "other"), ("outcome", "01")): 1,
        }
        refusals = {dict(labels)["step"]: number for labels, number in samples["fieldgate_refusals_total"].items()}
        assert {step: number for step, number in refusals.items() if number} == {
            "malformed": 1, "function": 2, "address": 1,
        }  # fmt: skip
        assert value(samples, "fieldgate_writes_total", kind="write", outcome="done") == 1
        assert value(samples, "fieldgate_request_duration_seconds_bucket", le="+Inf") == 8
        # all sessions have gone
        await scrape_until(site, lambda found: not any(found["fieldgate_sessions"].values()))


async def test_many_in_one_turn_are_all_counted(site_pki: Pki, tmp_path: Path) -> None:
    async with metered_site(site_pki, tmp_path, user=getpass.getuser()) as site:
        async with site.stream("modbus") as (reader, writer):
            writer.write(READ * 500)
            assert await reader.readexactly(500 * len(READ_REPLY)) == READ_REPLY * 500
        samples = await scrape_until(
            site, lambda found: value(found, "fieldgate_request_duration_seconds_bucket", le="+Inf") == 500
        )
        assert value(samples, "fieldgate_requests_total", function="3", outcome="ok") == 500


async def test_a_framing_violation_is_step_1(site_pki: Pki, tmp_path: Path) -> None:
    async with metered_site(site_pki, tmp_path, user=getpass.getuser()) as site:
        async with site.stream("modbus") as (reader, writer):
            writer.write(READ + b"\0\1\0\1\0\6\1\3\0\0\0\1")
            assert await reader.read() == READ_REPLY
        await scrape_until(site, lambda found: value(found, "fieldgate_refusals_total", step="framing") == 1)


async def test_state_of_lock_trail_clock_and_certificates(site_pki: Pki, tmp_path: Path) -> None:
    from cryptography import x509

    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    async with metered_site(site_pki, tmp_path, extra=f'state = "{state}"') as site:
        samples = await scrape(site)
        assert value(samples, "fieldgate_locked") == 0
        assert sum(samples["fieldgate_clock"].values()) == 1
        assert value(samples, "fieldgate_audit_lag_seconds") == 0
        assert value(samples, "fieldgate_audit_head_sequence") == len(site.trail())
        expiry = samples["fieldgate_certificate_expiry_timestamp_seconds"]
        assert {dict(labels)["file"] for labels in expiry} == {
            "tls-chain.pem", "tls-client-ca.pem", "ssh-host-key-cert.pub",
        }  # fmt: skip
        leaf = x509.load_pem_x509_certificate((site_pki.server / "tls-chain.pem").read_bytes())
        assert expiry[("file", "tls-chain.pem"), ("name", "CN=box")] == leaf.not_valid_after_utc.timestamp()
        assert all(end > time.time() for end in expiry.values())
        await site.app.lock.take("unix:test")
        await scrape_until(site, lambda found: value(found, "fieldgate_locked") == 1)


async def test_the_ends_of_the_syslog_exporters_certificates(site_pki: Pki, tmp_path: Path) -> None:
    from cryptography import x509

    folder = site_pki.client("viewer")
    leaf = x509.load_pem_x509_certificate((folder / "tls-chain.pem").read_bytes())
    file = write_files(site_pki, tmp_path, user="root", grants=None, units="[metrics]\nport = 0\n", extra="")
    syslog = f'{{ host = "127.0.0.1", port = 1, ca = "{folder}/tls-server-ca.pem", identity = "{folder}" }}'
    audit = f'audit = {{ file = "audit.log", syslog = {syslog} }}'
    file.write_text(file.read_text().replace('audit = "audit.log"', audit))
    app = App(settings.load(file, Settings))
    async with app.running():
        ends = (await scrape(Site(app, site_pki, tmp_path)))["fieldgate_certificate_expiry_timestamp_seconds"]
    own = ("file", "tls-chain.pem"), ("name", leaf.subject.rfc4514_string())
    assert ends[own] == leaf.not_valid_after_utc.timestamp()
    assert "tls-server-ca.pem" in {dict(labels)["file"] for labels in ends}


async def test_limits_that_bite_are_counted_by_name(site_pki: Pki, tmp_path: Path) -> None:
    extra = "max_sessions_per_identity = 1\nmax_sessions_without_rights = 1\nmax_sessions = 3"
    async with metered_site(site_pki, tmp_path, user="nobody", extra=extra) as site:
        async with site.stream("tls", "operator") as stream, site.stream("tls", "viewer") as other:
            await ask(stream, READ, READ_REPLY)
            await ask(other, READ, READ_REPLY)
            async with site.stream("tls", "operator") as (reader, _):
                assert await reader.read() == b""
            async with site.stream("modbus") as without:
                # root has no role here
                await ask(without, READ, READ_REFUSED)
                async with site.stream("modbus") as (reader, _):
                    assert await reader.read() == b""
        samples = await scrape_until(site, lambda found: sum(found["fieldgate_limit_hits_total"].values()) >= 2)
        hits = {labels: number for labels, number in samples["fieldgate_limit_hits_total"].items() if number}
        assert hits == {
            (("door", "tls"), ("limit", "max_sessions_per_identity")): 1,
            (("door", "loopback"), ("limit", "max_sessions")): 1,
        }


async def test_channels_of_one_ssh_connection_are_a_limit_with_a_name(site_pki: Pki, tmp_path: Path) -> None:
    import asyncssh

    async with metered_site(site_pki, tmp_path) as site:
        async with ssh_connection(site, site_pki.client("operator")) as connection:
            channels = [await connection.open_connection("localhost", 502) for _ in range(8)]
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.open_connection("localhost", 502)
            for _, writer in channels:
                writer.close()
        samples = await scrape(site)
        assert value(samples, "fieldgate_limit_hits_total", door="ssh", limit="ssh_channels") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
async def test_a_user_whom_metrics_users_does_not_name_is_refused_and_written_down(
    site_pki: Pki, tmp_path: Path
) -> None:
    async with metered_site(site_pki, tmp_path, metrics='users = ["root"]') as site:
        assert (await get_as(DAEMON, site.app.ports["metrics"])).startswith(b"HTTP/1.1 403 ")
        await line_with(site, "event=refused", "door=metrics", "user daemon: metrics.users does not name it")
        assert value(await scrape(site), "fieldgate_locked") == 0


async def test_dashboard_and_alerts_name_only_what_is_there(site_pki: Pki, tmp_path: Path) -> None:
    async with metered_site(site_pki, tmp_path) as site:
        await load_crl(site, crl(issuing_ca(site_pki)))
        samples = await scrape(site)
    # the one metric that Prometheus makes by itself
    there = {*samples, "up"}
    expressions = dashboard_queries() + alert_rules()
    assert len(expressions) > 30
    for expression in expressions:
        metrics, labels = named(expression)
        assert metrics, expression
        assert metrics <= there, expression
        known = {label for metric in metrics for series in samples.get(metric, {}) for label, _ in series}
        assert labels <= known | {"instance", "job"}, expression


def dashboard_queries() -> list[str]:
    """Every query of the dashboard, those of its variables included."""
    document = json.loads((DOCS / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in document["panels"] for target in panel["targets"]]
    variables = [one["query"]["query"] for one in document["templating"]["list"] if one["type"] == "query"]
    return [*queries, *(re.sub(r"label_values\((\w+), (\w+)\)", r"sum by (\2) (\1)", text) for text in variables)]


def alert_rules() -> list[str]:
    """Every expression of the alert rules."""
    document = yaml.safe_load((DOCS / "alerts.yml").read_text())
    return [rule["expr"] for group in document["groups"] for rule in group["rules"]]


def named(expression: str) -> tuple[set[str], set[str]]:
    """Give the metrics and the labels that a PromQL expression names."""
    labels: set[str] = set()
    bare = re.sub(r'"[^"]*"', '""', expression)
    for inside in re.findall(r"\{([^}]*)\}", bare):
        labels |= set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside))
    for inside in re.findall(r"\bby\s*\(([^)]*)\)", bare):
        labels |= set(re.findall(r"\w+", inside))
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\bby\s*\([^)]*\)", " ", bare)
    words = set(re.findall(r"\b[a-zA-Z_]\w*\b(?!\s*\()", bare))
    return words - {"sum", "min", "max"}, labels


def test_the_reader_of_expressions_finds_what_is_wrong() -> None:
    assert named('sum by (door) (rate(no_such_total{step=~"a|b",odd!="x"}[5m])) > 3 * other') == (
        {"no_such_total", "other"}, {"door", "step", "odd"},
    )  # fmt: skip


def test_the_page_lists_every_metric_and_no_other() -> None:
    page = (DOCS.parent / "monitoring.md").read_text()
    listed = set(re.findall(r"^\| `(fieldgate_\w+)`", page, re.MULTILINE))
    source = (Path(__file__).parents[2] / "server/fieldgate_server/metrics.py").read_text()
    made = set()
    for kind, name in re.findall(r'(Gauge|Counter|Histogram|Info)MetricFamily\(\s*"(\w+)"', source):
        made.add(name + {"Counter": "_total", "Info": "_info"}.get(kind, ""))
    assert listed == made
