"""The way to a host, step by step: its name, a route, and a TCP connection; each says what is wrong with it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import threading
from typing import NamedTuple, cast

from fieldgate_core.errors import DeadlineError, UnreachableError

NAME_DEADLINE = 5.0
TCP_DEADLINE = 5.0


class Address(NamedTuple):
    """Where a name leads; `address` as sockets take it."""

    family: socket.AddressFamily
    address: tuple[str, int] | tuple[str, int, int, int]


async def look_up(host: str, port: int, family: int) -> list[Address]:
    """Look a name up; `family` AF_UNSPEC is any.

    Raises UnreachableError for a name that is none, DeadlineError if no name server answers.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Address]] = loop.create_future()

    def settle(addresses: list[Address] | None, error: Exception | None) -> None:
        if found.done():
            return
        if error is not None:
            found.set_exception(error)
        else:
            found.set_result(addresses or [])

    def ask() -> None:
        addresses, error = None, None
        try:
            rows = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
            # an IPv6 address of one link is none without its scope, the fourth of the four
            addresses = [Address(row[0], cast("tuple[str, int]", row[4])) for row in rows]
        except (OSError, UnicodeError) as problem:
            error = problem
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(settle, addresses, error)

    # a thread that nobody joins: mute name servers would hold the process up long after its answer
    threading.Thread(target=ask, name="name look-up", daemon=True).start()
    try:
        return await asyncio.wait_for(found, NAME_DEADLINE)
    except TimeoutError:
        hint = "is the network up? are the name servers of /etc/resolv.conf the right ones?"
        raise DeadlineError(f"looking up {host}", NAME_DEADLINE, hint=hint) from None
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "this is no name of a host"
        hint = "is the name right? does it stand in the DNS, or in /etc/hosts?"
        raise UnreachableError(host, f"no such host: {(why or 'unknown').lower()}", hint=hint) from None


def route(addresses: list[Address]) -> tuple[list[Address], str]:
    """Give the addresses that there is a route to, and our own on it; sends nothing. Raises UnreachableError."""
    reachable, own, why = [], "", ""
    for candidate in addresses:
        with socket.socket(candidate.family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(candidate.address)
            except OSError as error:
                why = os.strerror(error.errno or errno.ENETUNREACH).lower()
                continue
            reachable.append(candidate)
            own = own or str(probe.getsockname()[0])
    if not reachable:
        shown = ", ".join(candidate.address[0] for candidate in addresses)
        hint = "is this machine's network (or its VPN) up? `ip route get ADDRESS` shows the way it would take"
        raise UnreachableError(shown, f"no route: {why}", hint=hint)
    return reachable, own


async def connect(addresses: list[Address]) -> socket.socket:
    """Connect to the first address that answers.

    Raises UnreachableError or DeadlineError, which tell a closed port from packets that vanish.
    """
    failure: UnreachableError | DeadlineError | None = None
    for candidate in addresses:
        try:
            return await _connect(candidate)
        except (UnreachableError, DeadlineError) as error:
            failure = failure or error
    assert failure is not None  # noqa: S101 - `route` gives at least one
    raise failure


async def _connect(to: Address) -> socket.socket:
    shown = f"{to.address[0]} port {to.address[1]}"
    made = socket.socket(to.family, socket.SOCK_STREAM)
    made.setblocking(False)
    try:
        async with asyncio.timeout(TCP_DEADLINE):
            await asyncio.get_running_loop().sock_connect(made, to.address)
    except TimeoutError:
        made.close()
        hint = "a firewall drops it without a word, the host is off, or the address is another's"
        raise DeadlineError(f"connecting to {shown}", TCP_DEADLINE, hint=hint) from None
    except ConnectionRefusedError:
        made.close()
        hint = "the host is up and nothing listens there: is the server running, and is the port right?"
        raise UnreachableError(shown, "the port is closed (connection refused)", hint=hint) from None
    except OSError as error:
        made.close()
        why = os.strerror(error.errno) if error.errno else str(error)
        hint = "a firewall or a router on the way says no, or the host is not there"
        raise UnreachableError(shown, why.lower(), hint=hint) from None
    except BaseException:
        made.close()
        raise
    return made
