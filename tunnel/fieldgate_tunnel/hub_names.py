"""How a box is called at a hub: as the socket `/BOX/mbaps` below a stock sshd's ChrootDirectory, or as `BOX:802`; pure.

Stock OpenSSH can offer and reach both. At fieldgate's own hub neither is a socket or a port, but only a name.
"""

from __future__ import annotations

from fieldgate_core.url import TLS_PORT, check_box

SERVICE = "mbaps"
"""What a box serves at a hub, by its name in /etc/services: Modbus/TCP Security."""


def socket_of(box: str) -> str:
    """Give the path that means a box."""
    return f"/{box}/{SERVICE}"


def box_at(path: str) -> str | None:
    """Give the box that a path means; None for any other path."""
    box = path.removeprefix("/").removesuffix(f"/{SERVICE}")
    return box if path == socket_of(box) and _is_box(box) else None


def box_behind(host: str, port: int) -> str | None:
    """Give the box that a host and port mean; None for any other."""
    return host if port == TLS_PORT and _is_box(host) else None


def _is_box(name: str) -> bool:
    try:
        check_box(name)
    except ValueError:
        return False
    return True
