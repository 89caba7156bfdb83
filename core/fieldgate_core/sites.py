"""The site list: names for sites, each with its URL, unit, points, domain and identity by reference."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import unit_id
from fieldgate_core.settings import examine, read_toml
from fieldgate_core.url import SiteUrl, check_domain, parse

_SHOWN = 12
"""Names that are listed for one that is not known; of more, only near ones are."""


@dataclass(frozen=True)
class ListedSite:
    """A site by name. `points` is a file of points, `identity` the folder that says who we are; no secret is in it.

    `domain` is the customer's: a box behind a hub is BOX.DOMAIN in its certificate. Raises ValueError for a wrong URL,
    unit or domain.
    """

    url: str
    unit: int | None = None
    points: Path | None = None
    identity: Path | None = None
    domain: str = ""

    def __post_init__(self) -> None:
        try:
            parse(self.url)
        except ConfigError as error:
            raise ValueError(f"url: {error}" + (f" ({error.hint})" if error.hint else "")) from None
        if self.unit is not None:
            unit_id(self.unit)
        if self.domain:
            check_domain(self.domain)

    @property
    def address(self) -> SiteUrl:
        """The URL, parsed, with the domain."""
        return parse(self.url)._replace(domain=self.domain)


@dataclass(frozen=True)
class SiteList:
    """A site list file: [site.NAME] for each site, and the `inventories` of Ansible that are read beside them."""

    inventories: tuple[Path, ...] = ()
    site: dict[str, ListedSite] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.site:
            check_name(name)


def check_name(name: str) -> None:
    """Check the name of a site. Raises ValueError for what a command line would take for something else."""
    if not name.isprintable() or name.startswith("-") or not name or set(name) & set(" :/@="):
        raise ValueError(f"{name!r} is no name of a site: printable, without space, ':', '/', '@' and '='")


def load(file: Path) -> SiteList:
    """Read a site list (TOML). Paths in it are relative to its folder. Raises ConfigError with all that is wrong."""
    built, faults = examine(read_toml(file), SiteList, where=str(file), base=file.resolve().parent)
    if built is None:
        raise together(str(file), faults)
    return built


def together(where: str, faults: Sequence[ConfigError]) -> ConfigError:
    """Make one error of several in one file: each with its key, and the hint of the first that has one."""
    keys = [fault.where.removeprefix(where).lstrip(": ") for fault in faults]
    told = [f"{key}: {fault.problem}" if key else fault.problem for key, fault in zip(keys, faults, strict=True)]
    return ConfigError(where, "; ".join(told), hint=next((fault.hint for fault in faults if fault.hint), ""))


def find(name: str, sites: Mapping[str, ListedSite], looked_in: Iterable[Path]) -> ListedSite:
    """Give a site by its name. Raises ConfigError that names near matches, and the files that were looked in."""
    if name in sites:
        return sites[name]
    files = ", ".join(map(str, looked_in))
    near = difflib.get_close_matches(name, sites, n=3)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif 0 < len(sites) <= _SHOWN:
        hint = f"known are {', '.join(sites)}"
    else:
        hint = "name it there, or give its URL: modbus+ssh://ROLE@HOST or modbus+tls://HOST"
    raise ConfigError(name, f"no site of this name in {files or 'any file'}", hint=hint)
