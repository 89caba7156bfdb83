"""Ask a running process over its control socket: one line of JSON there, one back."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fieldgate_core.errors import UnreachableError

_DEADLINE = 60.0
_LONGEST_ANSWER = 64 * 1024 * 1024
_EXIT_REFUSED = 1


def ask(path: Path, asked: Mapping[str, str]) -> dict[str, Any]:
    """Ask a server, and give its answer. Raises UnreachableError if there is none."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_DEADLINE)
            connection.connect(str(path))
            connection.sendall(json.dumps(asked).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline(_LONGEST_ANSWER)
    except PermissionError as error:
        problem = f"you may not connect: {error.strerror}"
        hint = "become the server's user, or a member of its group"
        return {"ok": False, "error": f"{path}: {problem}", "hint": hint, "code": _EXIT_REFUSED}
    except OSError as error:
        raise UnreachableError(str(path), f"no server answers: {error.strerror or error}") from error
    try:
        answer = json.loads(line)
    except ValueError:
        raise UnreachableError(str(path), "the server has ended the connection without an answer") from None
    if not isinstance(answer, dict) or not isinstance(answer.get("ok"), bool):
        raise UnreachableError(str(path), "what answers there is no server of ours")
    return answer
