"""The way to a host, step by step: its name, a route, and a TCP connection; each says what is wrong with it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

from fieldgate_core.errors import DeadlineError, UnreachableError
from fieldgate_tunnel import tcp
from fieldgate_tunnel.tcp import Address

NAME_DEADLINE = 5.0
TCP_DEADLINE = 5.0


async def look_up(host: str, port: int, family: int) -> list[Address]:
    """Look a name up; `family` AF_UNSPEC is any.

    Raises UnreachableError for a name that is none, DeadlineError if no name server answers.
    """
    try:
        return await asyncio.wait_for(tcp.look_up(host, port, family), NAME_DEADLINE)
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
        shown = ", ".join(map(str, addresses))
        hint = "is this machine's network (or its VPN) up? `ip route get ADDRESS` shows the way it would take"
        raise UnreachableError(shown, f"no route: {why}", hint=hint)
    return reachable, own


async def connect(addresses: list[Address]) -> socket.socket:
    """Connect to the first address that answers.

    Raises UnreachableError or DeadlineError, which tell a closed port from packets that vanish.
    """
    shown = f"{addresses[0]} port {addresses[0].address[1]}"
    try:
        return await tcp.connect(addresses, TCP_DEADLINE)
    except TimeoutError:
        hint = "a firewall drops it without a word, the host is off, or the address is another's"
        raise DeadlineError(f"connecting to {shown}", TCP_DEADLINE, hint=hint) from None
    except ConnectionRefusedError:
        hint = "the host is up and nothing listens there: is the server running, and is the port right?"
        raise UnreachableError(shown, "the port is closed (connection refused)", hint=hint) from None
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        hint = "a firewall or a router on the way says no, or the host is not there"
        raise UnreachableError(shown, why.lower(), hint=hint) from None
