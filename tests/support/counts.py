"""How often a test repeats: few times in `make test`, as often as the issue names in `make test-long`."""

import os

LONG = os.environ.get("FIELDGATE_TEST_LONG") == "1"


def rounds(short: int, long: int) -> int:
    """Give the count of this run."""
    return long if LONG else short
