"""Turn the samples of a row into ratios, a table and a JSON object; pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from bench.lab import Sample, Shape
from bench.rows import SUBJECT, Figure, Row

Json = Mapping[str, object]


@dataclass(frozen=True)
class Ratio:
    """How a server compares to the base, over all rounds: the median and the quartiles."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """What one run of a row gave.

    `samples` are in the order of the rounds; `notes` say why a server has none for a shape, and `failures` what went
    wrong that should not have; `missing` names what is not installed here.
    """

    samples: Mapping[tuple[str, Shape], Sequence[Sample]]
    notes: Mapping[tuple[str, Shape], str]
    missing: Mapping[str, str]
    failures: Sequence[str]

    def values(self, figure: Figure, server: str) -> list[float]:
        """Return the figure's value in each round; empty when the server was not measured."""
        return [figure.read(sample) for sample in self.samples.get((server, figure.shape), ())]

    def base(self, figure: Figure) -> str | None:
        """Return the best of the figure's base servers, None when none was measured."""
        medians = {name: statistics.median(values) for name in figure.base if (values := self.values(figure, name))}
        best = min if figure.better == "lower" else max
        return best(medians, key=medians.__getitem__) if medians else None

    def ratio(self, figure: Figure, server: str) -> Ratio | None:
        """Divide round by round, so that what slows the whole machine for a while cancels out."""
        base, values = self.base(figure), self.values(figure, server)
        if base is None or not values:
            return None
        ratios = [mine / its for mine, its in zip(values, self.values(figure, base), strict=True)]
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return Ratio(median, low, high)

    def met(self, figure: Figure) -> bool | None:
        """Tell whether the median of fieldgate's ratio meets the target; None when there is no ratio."""
        ratio = self.ratio(figure, SUBJECT)
        if ratio is None:
            return None
        return ratio.median <= figure.bound if figure.better == "lower" else ratio.median >= figure.bound


def _cell(measured: Measured, figure: Figure, server: str) -> str:
    if note := measured.notes.get((server, figure.shape)):
        return note
    ratio = measured.ratio(figure, server)
    if ratio is None:
        return "-"
    if server == measured.base(figure):
        value = statistics.median(measured.values(figure, server))
        return f"1 ({value:,.{0 if value >= 1000 else 1}f} {figure.unit})"
    return f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"


def table(name: str, row: Row, measured: Measured) -> str:
    """Lay the row out as plain text: a line a server, then the targets, what fieldgate makes of them, and remarks."""
    verdicts = {True: "met", False: "MISSED", None: "-"}
    sign = {"lower": "<=", "higher": ">="}
    shown = [server for server in row.servers if server not in measured.missing]
    lines = [
        ["", *(figure.title for figure in row.figures)],
        ["", *(f"x {measured.base(figure) or ' or '.join(figure.base)}" for figure in row.figures)],
        *([server, *(_cell(measured, figure, server) for figure in row.figures)] for server in shown),
        ["target", *(f"{sign[figure.better]} {figure.bound:g}" for figure in row.figures)],
        [SUBJECT, *(verdicts[measured.met(figure)] for figure in row.figures)],
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [f"{name}: {row.about}", ""]
    text += ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text.insert(-2, "")
    remarks = [f"{server} is left out: {why}" for server, why in measured.missing.items()]
    remarks += [f"FAILED: {failure}" for failure in measured.failures]
    return "\n".join([*text, *([""] if remarks else []), *remarks, ""])


def as_json(row: Row, measured: Measured) -> Json:
    """Return ratios, verdicts and every sample, for a program to read."""

    def ratios(figure: Figure) -> dict[str, Json]:
        found = {server: measured.ratio(figure, server) for server in row.servers}
        return {server: asdict(ratio) for server, ratio in found.items() if ratio}

    return {
        "about": row.about,
        "figures": [
            {
                "title": figure.title,
                "unit": figure.unit,
                "base": measured.base(figure),
                "better": figure.better,
                "target": figure.bound,
                "met": measured.met(figure),
                "ratios": ratios(figure),
            }
            for figure in row.figures
        ],
        "samples": [
            {"server": server, "load": asdict(shape), "rounds": [asdict(sample) for sample in samples]}
            for (server, shape), samples in measured.samples.items()
        ],
        "notes": [
            {"server": server, "load": asdict(shape), "note": note} for (server, shape), note in measured.notes.items()
        ],
        "missing": dict(measured.missing),
        "failures": list(measured.failures),
    }
