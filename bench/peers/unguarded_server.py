"""Serve 1000 holding registers as fieldgate does, with policy, audit and metrics taken out: what these three cost.

Only the bench runs this; there is no such switch in fieldgate.
"""

from __future__ import annotations

import asyncio
from typing import cast

import uvloop

from fieldgate_core.adu import reply
from fieldgate_server.catalogue import FUNCTIONS
from fieldgate_server.session import TURN, Session
from fieldgate_server.shell import Shell
from fieldgate_server.unit_settings import TableSettings, UnitSettings

UNIT = UnitSettings(id=1, holding=TableSettings(1000, 17)).build()
BY_CODE = {function.code: function for function in FUNCTIONS if function.sub is None}


class Unguarded(Session):
    """Takes its turns as a session does, and asks nobody."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._framer.feed(data)
        self._turn()

    def _turn(self) -> None:
        assert self._transport is not None
        out = []
        for head, unit, pdu in self._framer.take(TURN):
            function = BY_CODE[pdu[0]]
            request = function.parse(pdu)
            assert request is not None
            assert UNIT.has(function, request)
            answer = function.run(UNIT, request, pdu)
            UNIT.device.answered(answer)
            out.append(reply(head, unit, answer))
        if len(out) == 1:
            self._transport.write(out[0])
        elif out:
            self._transport.writelines(out)


async def main() -> None:
    shell = Shell("127.0.0.1", 0, lambda: Unguarded(lambda _: None))
    await shell.serve_forever(background=True)
    print(f"listening: modbus 127.0.0.1:{shell.port}\nready", flush=True)
    await shell.serving


if __name__ == "__main__":
    uvloop.run(main())
