"""Import what a command needs without what makes that slow; for a process of our own, not for users of the library."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import within this block: about a third faster for asyncssh.

    asyncssh looks for liboqs and libnettle by running a compiler and ldconfig; they are for algorithms that are not
    among ours. And a collector that runs in between finds nothing: what imports make stays.
    """
    # itself an import that only asyncssh needs
    import ctypes.util

    find, ctypes.util.find_library = ctypes.util.find_library, _find_none
    gc.disable()
    try:
        yield
    finally:
        ctypes.util.find_library = find
        gc.enable()


def _find_none(name: str) -> str | None:
    return None
