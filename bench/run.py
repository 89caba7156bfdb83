"""Measure fieldgate and its peers side by side, in interleaved rounds, and print their ratios and the targets."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.lab import BenchError, Lab, Sample, Server, Shape
from bench.report import Measured, as_json, table
from bench.rows import ROWS, Row
from bench.toolchain import NotInstalledError


@dataclass(frozen=True)
class Pace:
    """How long to measure: so many `rounds`, each of so many `seconds` a server and load."""

    rounds: int
    seconds: float


NORMAL = Pace(rounds=9, seconds=1.0)
QUICK = Pace(rounds=5, seconds=0.4)


def measure(row: Row, lab: Lab, pace: Pace) -> Measured:
    """Start the row's servers, load them in turn (A B C, A B C, ...), and stop them."""
    shapes = list(dict.fromkeys(figure.shape for figure in row.figures))
    running: dict[str, Server] = {}
    samples: dict[tuple[str, Shape], list[Sample]] = {}
    notes: dict[tuple[str, Shape], str] = {}
    missing: dict[str, str] = {}
    failures: list[str] = []

    def attempt(name: str, shape: Shape, seconds: float) -> Sample | None:
        try:
            sample = lab.load(running[name], shape, seconds=seconds)
        except BenchError as error:
            failures.append(f"{name}: {error}")
        else:
            if not sample.errors:
                return sample
            failures.append(f"{name}: {sample.errors} of {sample.sent} requests failed: {sample.complaint}")
        samples.pop((name, shape), None)
        notes[name, shape] = "failed"
        return None

    for name, start in row.servers.items():
        try:
            running[name] = start(lab)
        except NotInstalledError as error:
            missing[name] = str(error)
        except BenchError as error:
            failures.append(str(error))
    for name, server in running.items():
        for shape in shapes:
            burst = shape.connections * shape.depth
            try:
                first = lab.load(server, shape, requests=burst)
            except BenchError as error:
                failures.append(f"{name}: {error}")
                notes[name, shape] = "failed"
                continue
            if not first.answered:
                failures.append(f"{name} answers nothing: {first.complaint}")
                notes[name, shape] = "failed"
            elif first.answered < burst:
                notes[name, shape] = f"answers {first.answered} of {burst}"
            elif attempt(name, shape, pace.seconds):  # warm-up: caches, and the allocator's thresholds
                samples[name, shape] = []
    for _ in range(pace.rounds):
        for shape in shapes:
            for name in running:
                if (name, shape) in samples and (sample := attempt(name, shape, pace.seconds)):
                    samples[name, shape].append(sample)
    lab.stop()
    return Measured(samples, notes, missing, failures)


def main() -> int:
    """Run the command line. Exit codes: 0 all that is installed was measured, 1 a server failed, 2 no bench here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few short rounds, under a minute: a smoke test")
    parser.add_argument("--row", choices=list(ROWS), help="measure this row only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write ratios and samples to FILE")
    options = parser.parse_args()
    pace = QUICK if options.quick else NORMAL
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)

    results: dict[str, Measured] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="fieldgate-bench-") as folder, Lab(Path(folder)) as lab:
            print(f"ratios over {pace.rounds} interleaved rounds of {pace.seconds:g} s: median (quartiles)")
            if lab.client_cpu == lab.server_cpu:
                print("only one CPU here: the load generator shares it in every figure")
            print()
            for name, row in ROWS.items():
                if options.row in {None, name}:
                    results[name] = measure(row, lab, pace)
                    print(table(name, row, results[name]), flush=True)
    except (NotInstalledError, RuntimeError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return 130
    if options.json:
        machine = {"python": platform.python_version(), "kernel": platform.release(), "cpus": os.cpu_count()}
        document = {
            "machine": machine,
            "pace": {"rounds": pace.rounds, "seconds": pace.seconds},
            "rows": {name: as_json(ROWS[name], measured) for name, measured in results.items()},
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 1 if any(measured.failures for measured in results.values()) else 0


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
