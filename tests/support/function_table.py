"""The table of function classes in docs/policy.md, made from the catalogue; `make docs` writes it anew."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fieldgate_core.modbus import FunctionCode
from fieldgate_server.catalogue import FUNCTIONS
from fieldgate_server.functions import Function, Kind

PAGE = Path(__file__).parents[2] / "docs/policy.md"
BEGIN = "<!-- functions: made by `make docs` from the catalogue -->"
END = "<!-- end of functions -->"
_GRANTED = {
    Kind.READ: "`read` of the cells that it means",
    Kind.WRITE: "`write` of the cells that it means",
    Kind.IDENTIFY: '`function = "identify"`, or by name',
    Kind.DIAGNOSE: '`function = "diagnose"`, or by name',
    Kind.CONTROL: "`function` with its name; no class includes it",
}


def table() -> str:
    """Give the table's lines, one a class; functions that read and write stand by themselves."""
    rows = ["| class | functions | granted by |", "| --- | --- | --- |"]
    for kind in Kind:
        some = [function for function in FUNCTIONS if function.kind is kind]
        both = [function for function in some if function.kind is Kind.WRITE and function.reads is not None]
        rows.append(f"| {kind} | {_list(function for function in some if function not in both)} | {_GRANTED[kind]} |")
        if both:
            rows.append(f"| read and {kind} | {_list(both)} | `read` and `write` of the cells that it means |")
    rows.append("| opaque | every other code | nothing: no unit here is a bridge, so it is answered 01 |")
    return "\n".join(rows)


def _list(functions: Iterable[Function]) -> str:
    names: dict[str, list[str]] = {}
    for function in functions:
        names.setdefault(_title(function), []).append(f"`{function.name}`")
    return "; ".join(f"{', '.join(codes)} {title}" for title, codes in names.items())


def _title(function: Function) -> str:
    return FunctionCode(function.code).name.replace("_", " ").lower()


def rewritten(page: str) -> str:
    """Give the page with its table made anew. Raises ValueError if it lacks the two markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE}: the markers of the table are missing")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
