"""Ask a site: `async with connect(url)` opens the tunnel that the URL names and gives a pymodbus client on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fieldgate_client.connection import SiteClient, connect

__all__ = ["SiteClient", "connect"]


def __getattr__(name: str) -> object:
    """Import pymodbus and asyncssh when a name is first asked for: `fieldgate client --help` needs neither."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module("fieldgate_client.connection")
    globals().update({exported: getattr(module, exported) for exported in __all__})
    return globals()[name]
