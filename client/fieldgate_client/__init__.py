"""Ask a site: `async with connect(url)`, or `with open_site(url)`, opens the tunnel that the URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fieldgate_client.blocking import BlockingSite, open_site
    from fieldgate_client.client import SiteClient
    from fieldgate_client.connection import connect

__all__ = ["BlockingSite", "SiteClient", "connect", "open_site"]

_MODULES = {"BlockingSite": "blocking", "SiteClient": "client", "connect": "connection", "open_site": "blocking"}


def __getattr__(name: str) -> object:
    """Import the event loop and the tunnel when a name is first asked for: `fieldgate client --help` needs neither."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
