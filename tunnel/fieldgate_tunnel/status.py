"""Where running tunnels can be asked how they stand: a control socket for each process, in a folder of the user's."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol

import platformdirs

from fieldgate_core import trusted_file
from fieldgate_core.errors import ConfigError, FieldgateError
from fieldgate_tunnel import control_client
from fieldgate_tunnel.control import ControlSocket

log = logging.getLogger("fieldgate.tunnel")


class Dataclass(Protocol):
    """A status, whatever it is of."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


Reported = tuple[Dataclass, dict[str, object]]
"""The status of a link, a dial or an offer, and what else there is to say of it."""
Report = Callable[[], list[Reported]]


def folder() -> Path:
    """Give the folder of the sockets: in XDG_RUNTIME_DIR where there is one, else in the user's state folder."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "fieldgate" if runtime else platformdirs.user_state_path("fieldgate") / "run"


@contextlib.asynccontextmanager
async def answering(report: Report) -> AsyncIterator[None]:
    """Answer `fieldgate tunnel status` until the block ends; where no socket can be had, say so and go on."""

    async def answer(asked: dict[str, object], uid: int, pid: int) -> dict[str, object]:
        if uid != os.geteuid() or asked.get("command") != "status":
            return {"ok": False, "error": "not understood"}
        links = [dataclasses.asdict(status) | more for status, more in report()]
        return {"ok": True, "pid": os.getpid(), "links": links}

    control = ControlSocket(answer, lambda uid: uid == os.geteuid(), lambda door, peer, why: None)
    async with contextlib.AsyncExitStack() as stack:
        try:
            path = _prepared() / f"tunnel-{os.getpid()}.sock"
            await stack.enter_async_context(control.listening(path, mode=0o600))
        except (ConfigError, OSError) as error:
            log.warning("`fieldgate tunnel status` will not find this process: %s", error)
        yield


def _prepared() -> Path:
    found = folder()
    found.mkdir(mode=0o700, parents=True, exist_ok=True)
    trusted_file.check(found)
    return found


def running() -> list[dict[str, Any]]:
    """Ask every running process of ours, and give their answers; sockets of dead ones are removed."""
    answers = []
    for path in sorted(folder().glob("tunnel-*.sock")):
        try:
            answer = control_client.ask(path, {"command": "status"})
        except FieldgateError as failure:
            if isinstance(failure.__cause__, ConnectionRefusedError):
                # it ended without removing its socket
                path.unlink(missing_ok=True)
            elif not isinstance(failure.__cause__, FileNotFoundError):
                # it is stopped or busy: without its socket nobody would find it again
                log.warning("%s", failure)
            continue
        if answer["ok"]:
            answers.append(answer)
    return answers
