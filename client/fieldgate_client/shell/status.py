"""How the shell's tunnel stands, in lines; pure."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from fieldgate_tunnel.link_events import LinkStatus


def status(link: LinkStatus, unit: int, points: Path | None) -> str:
    """Give what `status` shows."""
    rows = [
        ("site", link.target),
        ("unit", str(unit)),
        ("points", str(points or "none")),
        ("tunnel", f"{link.state} since {_time(link.since)}"),
    ]
    if link.reason:
        rows.append(("reason", link.reason))
    if link.round_trip is not None:
        rows.append(("round trip", f"{1000 * link.round_trip:.1f} ms"))
    rows.append(("opened", f"{link.connects} times" if link.connects != 1 else "once"))
    rows.append(("bytes", f"{link.sent} sent, {link.received} received"))
    if link.last_error_at is not None:
        rows.append(("last error", f"{_time(link.last_error_at)} {link.last_error}"))
    width = max(len(name) for name, _ in rows)
    return "".join(f"{name:<{width}}  {text}\n" for name, text in rows)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
