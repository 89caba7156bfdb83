"""What a client keeps to resume TLS sessions (R-42): a context for each identity folder, a session for each server."""

from __future__ import annotations

import functools
import os
import ssl
import time
from collections import OrderedDict
from pathlib import Path

from cryptography import x509

from fieldgate_core import identity_folder as names
from fieldgate_tunnel import identity_files as files
from fieldgate_tunnel import tls
from fieldgate_tunnel.stream import TlsStream

_FOLDERS, _SERVERS = 16, 64
"""How many identity folders are kept, and how many servers for each; the latest ones stay."""

Stamp = tuple[tuple[str, int, int, int, int], ...]


class Sessions:
    """A client's context, and the last session with each server, by the name for which its certificate was verified.

    A session is given once, and comes back only from a connection that has ended in order: whatever else happens to
    that connection, the session is forgotten (R-11). Nobody else is ever offered it.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self._kept: OrderedDict[tuple[str, int], tuple[ssl.SSLSession, float]] = OrderedDict()

    def take(self, host: str, port: int) -> ssl.SSLSession | None:
        """Give the session to offer to a server, if there is one and the server's certificate is still in force."""
        session, ends = self._kept.pop((host, port), (None, 0.0))
        return session if time.time() < ends else None

    def keep(self, host: str, port: int, stream: TlsStream) -> None:
        """Keep the session of a connection that has ended in order, or ends now."""
        session = stream.session
        if session is None:
            return
        leaf = stream.get_extra_info("ssl_object").getpeercert(binary_form=True)
        # a resumed handshake does not show the certificate again, so its end is looked at before
        ends = x509.load_der_x509_certificate(leaf).not_valid_after_utc.timestamp()
        self._kept[host, port] = session, ends
        if len(self._kept) > _SERVERS:
            self._kept.popitem(last=False)


def sessions_of(folder: Path) -> Sessions:
    """Give the context and sessions of an identity folder: new ones as soon as anything in the folder has changed.

    Raises ConfigError as `tls.client_context` does.
    """
    chain = files.file(folder, names.TLS_CHAIN)
    files.check_dates(chain)
    # a folder is one generation of files, and the link to it may be swapped at any moment
    generation = chain.resolve().parent
    return _made(generation, stamp(generation))


@functools.lru_cache(maxsize=_FOLDERS)
def _made(folder: Path, _: Stamp) -> Sessions:
    return Sessions(tls.client_context(folder))


def stamp(folder: Path) -> Stamp:
    """Give what differs as soon as a file of the folder is another, or has been written or given other rights."""
    with os.scandir(folder) as entries:
        found = sorted((entry.name, entry.stat()) for entry in entries)
    return tuple((name, at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns) for name, at in found)
