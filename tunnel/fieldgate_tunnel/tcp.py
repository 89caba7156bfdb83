"""Reach a host by TCP: its name looked up, then its addresses tried one after the other, each with a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import NamedTuple, cast

NEXT_AFTER = 3.5
"""Seconds that an address has to answer where nobody says so and there is another: a kernel would wait for minutes."""


class Address(NamedTuple):
    """Where a name leads; `address` as sockets take it."""

    family: socket.AddressFamily
    address: tuple[str | int, ...]

    def __str__(self) -> str:
        return str(self.address[0])


class Reached(NamedTuple):
    """A TCP connection to a host, where there is one already, and how long its addresses have to answer otherwise."""

    connected: socket.socket | None = None
    patience: float | None = None


async def look_up(host: str, port: int, family: int = socket.AF_UNSPEC) -> list[Address]:
    """Look a name up. Raises OSError (gaierror) or UnicodeError for a name that is none."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Address]] = loop.create_future()

    def settle(addresses: list[Address], error: Exception | None) -> None:
        if found.done():
            return
        if error is not None:
            found.set_exception(error)
        else:
            found.set_result(addresses)

    def ask() -> None:
        addresses: list[Address] = []
        error: Exception | None = None
        try:
            for found_family, _, _, _, address in socket.getaddrinfo(host, port, family, socket.SOCK_STREAM):
                addresses.append(Address(found_family, cast("tuple[str | int, ...]", address)))
        except (OSError, UnicodeError) as problem:
            error = problem
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(settle, list(dict.fromkeys(addresses)), error)

    # a thread that nobody joins: with mute name servers asyncio's own would hold the process up long after its answer
    threading.Thread(target=ask, name="name look-up", daemon=True).start()
    return await found


async def connect(addresses: list[Address], patience: float | None = None) -> socket.socket:
    """Connect to the first of the addresses that answers, within `patience` seconds each; None: the last has no limit.

    Raises OSError, of the first that failed; TimeoutError where nothing came back.
    """
    failure: OSError | None = None
    for left, one in zip(reversed(range(len(addresses))), addresses, strict=True):
        try:
            return await _connect(one, NEXT_AFTER if patience is None and left else patience)
        except OSError as error:
            failure = failure or error
    raise failure or OSError("it has no address")


async def _connect(to: Address, patience: float | None) -> socket.socket:
    made = socket.socket(to.family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(patience):
            await asyncio.get_running_loop().sock_connect(made, to.address)
    except BaseException:
        made.close()
        raise
    return made
