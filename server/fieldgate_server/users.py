"""The Unix users of this machine, as the policy knows them."""

from __future__ import annotations

import functools
import grp
import os
import pwd
from pathlib import Path

from fieldgate_server.identity import UnixUser

_DYNAMIC_UIDS = range(61184, 65520)
"""Users that systemd makes for a service's life (systemd.exec, DynamicUser=): their numbers come back as others."""


def lookup(uid: int) -> UnixUser | None:
    """Give the name and groups of a uid; None for the overflow uid, dynamic users and uids without a name."""
    if uid == _overflow_uid() or uid in _DYNAMIC_UIDS:
        return None
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return None
    groups = set()
    for gid in os.getgrouplist(entry.pw_name, entry.pw_gid):
        try:
            groups.add(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    return UnixUser(entry.pw_name, frozenset(groups))


@functools.cache
def _overflow_uid() -> int:
    """The uid that stands for users who have none here (user_namespaces(7))."""
    return int(Path("/proc/sys/kernel/overflowuid").read_text(encoding="ascii"))
