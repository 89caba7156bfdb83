"""What a check of a site says: steps, each with its outcome, time and what to try; as lines and as JSON; pure."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from fieldgate_core.errors import EXIT_OK
from fieldgate_core.logs import printable


class Outcome(StrEnum):
    """How a step went; one that is `skipped` was not tried, because of a step before it or for what its text says."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class Step(NamedTuple):
    """One step: what it found or what is wrong, what to try, seconds, and the exit code that a failure means."""

    name: str
    outcome: Outcome
    text: str = ""
    hint: str = ""
    seconds: float = 0.0
    exit_code: int = EXIT_OK

    def line(self) -> str:
        """Write the step for people; a hint stands on a line of its own."""
        word = {Outcome.OK: "ok", Outcome.FAILED: "FAILED", Outcome.SKIPPED: "-"}[self.outcome]
        if self.outcome is Outcome.SKIPPED:
            return f"{word:<6}  {self.name:<8}  not tried{self.text and ': '}{printable(self.text)}"
        shown = f"{word:<6}  {self.name:<8}  {self.seconds * 1000:>6.0f} ms  {printable(self.text)}"
        return f"{shown}\n{'':<6}  {'':<8}  {'':>9}  try: {printable(self.hint)}" if self.hint else shown

    def fields(self) -> dict[str, str | float]:
        """Give the step for programs."""
        return {
            "name": self.name,
            "outcome": str(self.outcome),
            "text": self.text,
            "hint": self.hint,
            "seconds": round(self.seconds, 6),
        }


def exit_code(steps: list[Step]) -> int:
    """Give the exit code of the first step that failed, or 0."""
    return next((step.exit_code for step in steps if step.outcome is Outcome.FAILED), EXIT_OK)
