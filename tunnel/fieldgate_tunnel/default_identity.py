"""Who we are when nobody says: the identity folder of the environment, or of the user's own configuration."""

from __future__ import annotations

import os
from pathlib import Path


def default_identity() -> Path | None:
    """Give the identity folder of who names none: FIELDGATE_IDENTITY, else the user's own where there is one."""
    named = os.environ.get("FIELDGATE_IDENTITY")
    if named:
        return Path(named)
    import platformdirs

    folder = platformdirs.user_config_path("fieldgate") / "identity"
    try:
        return folder if folder.is_dir() else None
    except PermissionError:
        return None
