"""Ask a site: `async with connect(url)` opens the tunnel that the URL names and gives a pymodbus client on it."""

from fieldgate_client.connect import SiteClient, connect

__all__ = ["SiteClient", "connect"]
