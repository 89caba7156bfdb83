"""Every function that is served, by code and sub-code. Whatever is not here is answered with exception 01."""

from __future__ import annotations

from fieldgate_server.diagnostics import DIAGNOSTICS
from fieldgate_server.files import FILES
from fieldgate_server.functions import Function, function_name
from fieldgate_server.identification import IDENTIFICATION
from fieldgate_server.table_functions import TABLE_FUNCTIONS

_ALL: tuple[Function, ...] = (*TABLE_FUNCTIONS, *FILES, *DIAGNOSTICS, *IDENTIFICATION)

FUNCTIONS: tuple[Function, ...] = tuple(sorted(_ALL, key=lambda function: (function.code, function.sub or 0)))
BY_NAME: dict[str, Function] = {function.name: function for function in FUNCTIONS}
"""By the name that the policy uses: "3", "8/0A", "43/14"."""
WITH_SUB_CODES: dict[int, int] = {8: 2, 43: 1}
"""Codes that a sub-code follows, and its bytes."""


def name_of(pdu: bytes) -> str:
    """Name the function of a request as the policy does, served or not: "3", "8/0A", "43/14"."""
    size = WITH_SUB_CODES.get(pdu[0], 0)
    sub = int.from_bytes(pdu[1 : 1 + size], "big") if size and len(pdu) > size else None
    return function_name(pdu[0], sub)
