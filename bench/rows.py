"""What the bench compares: each row names its servers, and its figures with the targets that the project has set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from bench import servers, ssh_servers
from bench.lab import Lab, Sample, Server, Shape

SUBJECT = "fieldgate"  # the server that the targets are for


@dataclass(frozen=True)
class Figure:
    """One column: what is read of each `Sample`, and what it is divided by.

    `base` names the servers to divide by, the best of them that runs here. `bound` is the target for the ratio: at most
    that when lower is better, at least that when higher is.
    """

    title: str
    shape: Shape
    read: Callable[[Sample], float]
    unit: str
    base: tuple[str, ...]
    better: Literal["lower", "higher"]
    bound: float


@dataclass(frozen=True)
class Row:
    """Servers that are measured side by side, and the figures that are taken of them."""

    about: str
    servers: Mapping[str, Callable[[Lab], Server]]
    figures: tuple[Figure, ...]


PROXIES = ("stunnel", "haproxy")  # the target is set against the best of them

ONE = Shape()
DEEP = Shape(depth=16)
MANY = Shape(connections=32, beside=True)
TLS_ONE = Shape(tls=True)
TLS_MANY = Shape(tls=True, connections=32, beside=True)

TLS_ANEW = Shape(tls=True, anew=True)


def _p50(sample: Sample) -> float:
    return sample.p50_us


def _p99(sample: Sample) -> float:
    return sample.p99_us


def _cpu(sample: Sample) -> float:
    return sample.cpu_us


def _rate(sample: Sample) -> float:
    return sample.per_second


ROWS = {
    "plain": Row(
        about="Modbus/TCP on loopback, FC3 of 10 registers",
        servers={
            "floor": servers.floor,
            SUBJECT: servers.fieldgate,
            "pymodbus": servers.pymodbus,
            "libmodbus": servers.libmodbus,
        },
        figures=(
            Figure("p50, one connection", ONE, _p50, "us", ("floor",), "lower", 1.25),
            Figure("CPU a request", ONE, _cpu, "us", ("pymodbus",), "lower", 0.2),
            Figure("rate, 16 deep", DEEP, _rate, "/s", ("libmodbus",), "higher", 4.0),
        ),
    ),
    "tls": Row(
        about="Modbus/TCP over mutual TLS, FC3 of 10 registers; a proxy stands in front of the floor",
        servers={
            SUBJECT: servers.fieldgate_tls,
            "stunnel": servers.stunnel,
            "haproxy": servers.haproxy,
            "pymodbus": servers.pymodbus_tls,
        },
        figures=(
            Figure("p50, one connection", TLS_ONE, _p50, "us", PROXIES, "lower", 0.65),
            Figure("rate, 32 connections", TLS_MANY, _rate, "/s", PROXIES, "higher", 1.15),
        ),
    ),
    "ssh": Row(
        about="Modbus/TCP through stock `ssh -L`, FC3 of 10 registers; sshd stands in front of the same fieldgate",
        servers={"sshd": ssh_servers.sshd, SUBJECT: ssh_servers.fieldgate_ssh},
        figures=(Figure("p50, one connection", ONE, _p50, "us", ("sshd",), "lower", 1.5),),
    ),
    "guard": Row(
        about="what policy, audit and metrics cost: FC3 of 10 registers with them and without",
        servers={
            "unguarded": servers.unguarded,
            SUBJECT: servers.fieldgate_with_metrics,
            "quick start": servers.quick_start,
        },
        figures=(
            Figure("rate, 32 connections", MANY, _rate, "/s", ("quick start",), "higher", 0.85),
            Figure("rate, one connection", ONE, _rate, "/s", ("unguarded",), "higher", 0.85),
        ),
    ),
    "flood": Row(
        about="an honest client's new connection and first reply over mutual TLS, while others flood the door",
        servers={"quiet": servers.fieldgate_tls, SUBJECT: servers.fieldgate_flooded},
        figures=(Figure("p99, a connection each", TLS_ANEW, _p99, "us", ("quiet",), "lower", 3.0),),
    ),
    "grants": Row(
        about="FC3 of 10 registers by a role with 1 grant, with 100, and (fieldgate) with 10,000",
        servers={
            "1 grant": servers.with_grants(1),
            "100 grants": servers.with_grants(100),
            SUBJECT: servers.with_grants(10_000),
        },
        figures=(
            Figure("CPU a request", ONE, _cpu, "us", ("1 grant",), "lower", 1.05),
            Figure("rate, 16 deep", DEEP, _rate, "/s", ("1 grant",), "higher", 0.95),
        ),
    ),
    "forward": Row(
        about="a plain client through a local port: `fieldgate tunnel forward` over TLS and SSH, stock `ssh -L`",
        servers={
            "ssh -L": servers.ssh_forward,
            SUBJECT: servers.forward_tls,
            "over SSH": servers.forward_ssh,
        },
        figures=(Figure("p50, one connection", ONE, _p50, "us", ("ssh -L",), "lower", 1.0),),
    ),
    "read": Row(
        about="one holding register through a fresh SSH tunnel, from the command's start to its end",
        servers={SUBJECT: servers.client_read, "ssh -L + mbpoll": servers.mbpoll_through_ssh},
        figures=(Figure("time", ONE, _p50, "us", ("ssh -L + mbpoll",), "lower", 1.5),),
    ),
    "start": Row(
        about="`fieldgate --help`, from its start to its end",
        servers={"python -c pass": servers.python_itself, SUBJECT: servers.help_text},
        figures=(Figure("time", ONE, _p50, "us", ("python -c pass",), "lower", 3.0),),
    ),
}
