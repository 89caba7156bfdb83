"""`fieldgate client demo`: a short sequence against a site, which puts the old values back."""

from __future__ import annotations

import argparse

from fieldgate_client import sequence
from fieldgate_client.arguments import LOGIN, add_place, add_site, base_of, new_parser, reference_of, site_of

_DEMO = (
    """\
Plays a short sequence against a site, and tells each step with its
milliseconds: writes a coil, reads coils, writes a register, reads holding
registers, writes several, reads input registers. At the end it puts the old
values back, also when a step failed or you pressed Ctrl-C.

It changes, for a moment, one coil and three holding registers from the start
reference on: point it at cells that move nothing."""
    + LOGIN
)

_EXAMPLE = """\
example:
  fieldgate client demo modbus+ssh://operator@box-1.example.com -r 50

exit codes: as for all commands; 1 also when a step came out wrong"""


def parser() -> argparse.ArgumentParser:
    """Build the command's parser."""
    made = new_parser("demo", _DEMO, _EXAMPLE)
    add_site(made)
    add_place(made)
    return made


def main(args: list[str]) -> int:
    """Run the command and return its exit code. Raises FieldgateError."""
    options = parser().parse_args(args)
    site = site_of(options)
    unit = site.unit if options.a is None else options.a
    work = sequence.play(site, sequence.places(unit, reference_of(options), base=base_of(options)))
    # the arguments hold: now asyncio is worth its import
    from fieldgate_client import stopping

    return stopping.run(work)
