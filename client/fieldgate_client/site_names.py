"""Where names of sites come from: the user's site list, the inventories it names, and FIELDGATE_SITES."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from fieldgate_client import inventory
from fieldgate_core import sites
from fieldgate_core.errors import ConfigError
from fieldgate_core.sites import ListedSite, SiteList
from fieldgate_core.url import is_loopback, parse


@dataclass(frozen=True)
class KnownSites:
    """Sites by name, and the files that they were looked for in."""

    sites: dict[str, ListedSite] = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    def find(self, name: str) -> ListedSite:
        """Give a site by its name. Raises ConfigError that names near matches and the files."""
        return sites.find(name, self.sites, self.files)


def default_file() -> Path:
    """Give the site list of who names none: FIELDGATE_SITES, else sites.toml in the configuration folder."""
    named = os.environ.get("FIELDGATE_SITES")
    if named:
        return Path(named)
    import platformdirs

    return platformdirs.user_config_path("fieldgate") / "sites.toml"


def target(text: str) -> ListedSite:
    """Give the site that a command line names: by its URL, or by a name in the user's site list.

    Raises ConfigError for a wrong URL, for a bare host (with the URLs to try), and for a name that is not known.
    """
    if "://" in text:
        parse(text)
        return ListedSite(text)
    known = load()
    if text not in known.sites and (set(text) & set(".:") or is_loopback(text)):
        parse(text)
    return known.find(text)


def load(file: Path | None = None) -> KnownSites:
    """Read a site list (or an Ansible inventory: any file that is not .toml), and the inventories it names.

    None is the default file, which need not be there. Raises ConfigError for a file that is wrong, and for a name
    that two files give.
    """
    chosen = file or default_file()
    if file is None and "FIELDGATE_SITES" not in os.environ and not chosen.exists():
        return KnownSites(files=(chosen,))
    listed = sites.load(chosen) if chosen.suffix == ".toml" else SiteList(inventories=(chosen,))
    found, origin = dict(listed.site), dict.fromkeys(listed.site, chosen)
    for path in listed.inventories:
        for name, site in inventory.load(path).items():
            if name in found:
                raise ConfigError(f"{path}: {name}", f"is also a site of {origin[name]}", hint="rename one of the two")
            found[name], origin[name] = site, path
    files = (chosen, *(path for path in listed.inventories if path != chosen))
    return KnownSites(found, files)
