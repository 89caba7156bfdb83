"""The settings of one [[dial]]: which hub, under which name, and who the box is there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fieldgate_core.errors import ConfigError
from fieldgate_core.url import Scheme, parse
from fieldgate_tunnel.keepalive import PRESETS


@dataclasses.dataclass(frozen=True)
class DialSettings:
    """One [[dial]]: `url` names hub, login and box, `identity` the folder that says who the box is at the hub."""

    url: str
    identity: Path
    keepalive: str = "normal"

    def __post_init__(self) -> None:
        try:
            scheme = parse(self.url).scheme
        except ConfigError as error:
            raise ValueError(f"url: {error}" + (f" ({error.hint})" if error.hint else "")) from None
        if scheme is not Scheme.HUB:
            raise ValueError(f"url {self.url!r} names no hub: {Scheme.HUB}://[LOGIN@]HUB[:PORT]/BOX")
        if self.keepalive not in PRESETS:
            raise ValueError(f"keepalive {self.keepalive!r} is none of {', '.join(PRESETS)}")
