"""A site as a command line names it: its URL, who we are there, and how long we wait."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fieldgate_client.cells import DEFAULT_UNIT
from fieldgate_client.starting import quick_imports
from fieldgate_client.terminal import say
from fieldgate_core.sites import ListedSite
from fieldgate_core.trace import Tracer
from fieldgate_core.url import Scheme, SiteUrl, parse

if TYPE_CHECKING:
    from fieldgate_client import SiteClient


@dataclass(frozen=True)
class Site:
    """A site; `identity` is a folder or None, `timeout` the seconds for a reply, `trace` shows frames on stderr.

    `unit` is the one that is meant when none is named, `points` a file that names what its cells mean.
    """

    url: SiteUrl
    identity: Path | None
    timeout: float
    trace: bool = False
    unit: int = DEFAULT_UNIT
    points: Path | None = None

    @property
    def tracer(self) -> Tracer | None:
        """What shows frames, where that is asked for."""
        return Tracer(_show) if self.trace else None

    def prepare(self) -> None:
        """Import what the tunnel needs: it costs more than the rest of a command, and is no part of opening."""
        if self.url.scheme in {Scheme.SSH, Scheme.HUB}:
            with quick_imports():
                import fieldgate_tunnel.ssh  # noqa: F401

    def open(self) -> AbstractAsyncContextManager[SiteClient]:
        """Open the tunnel. Raises what `connect` raises."""
        # asyncio and asyncssh cost ten times what the rest of a command does: --help and a usage error go without
        from fieldgate_client.connection import connect

        self.prepare()
        show = _show if self.trace else None
        return connect(self.url, identity=self.identity, reply_deadline=self.timeout, trace=show)


def _show(text: str) -> None:
    say(f"{text}\n")


def named(text: str) -> ListedSite:
    """Give the site of a URL, or of a name in the user's site list. Raises ConfigError as `site_names.target` does."""
    if "://" in text:
        parse(text)
        return ListedSite(text)
    # inventories are worth their import only to a name
    from fieldgate_client.site_names import target

    return target(text)
