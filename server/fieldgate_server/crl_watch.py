"""Watching the CRLs: the log says once of each that it is due, and once that it has expired."""

from __future__ import annotations

import logging
import time

from fieldgate_core.crl import Crls
from fieldgate_core.logs import printable

log = logging.getLogger("fieldgate.crl")


class CrlWatch:
    """What has been said of the CRLs of one server."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def look(self, crls: Crls) -> None:
        """Say what has become true since the last look. To be called each second."""
        now = time.time()
        ageing = {told for crl in crls if (told := crl.ageing(now))}
        for told in sorted(ageing - self._said):
            log.warning("%s", printable(told, 2000))
        self._said = ageing
