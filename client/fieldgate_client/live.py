"""The live table of `--watch`, on a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fieldgate_client.polling import Show
from fieldgate_client.readings import Reading
from fieldgate_client.selection import Item
from fieldgate_client.watching import Row, Watch

REFRESH_SECONDS = 0.5
"""How often the ages move."""
_STYLES = {"good": "green", "stale": "yellow", "error": "red"}


async def live(title: str, items: Sequence[Item], poll: Callable[[Show], Awaitable[None]]) -> None:
    """Draw what `poll` shows until it ends or is cancelled. Raises what it raises."""
    loop = asyncio.get_running_loop()
    watch = Watch(items)
    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, transient=False) as screen:

        def draw() -> None:
            screen.update(render(title, watch.rows(loop.time()), height=console.height), refresh=True)

        def show(_: datetime, readings: list[Reading]) -> None:
            watch.update(readings, loop.time())
            draw()

        async def age() -> None:
            while True:
                await asyncio.sleep(REFRESH_SECONDS)
                draw()

        ageing = asyncio.ensure_future(age())
        try:
            await poll(show)
        finally:
            ageing.cancel()


def render(title: str, rows: Sequence[Row], *, height: int) -> Table:
    """Lay rows out, as many as fit into `height` lines."""
    # heading, rule, title and the problem's line
    room = max(height - 6, 1)
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    for heading in ("", "value", "change", "age", "quality"):
        table.add_column(heading, justify="right" if heading in {"value", "change", "age"} else "left", no_wrap=True)
    for row in rows[:room]:
        age = "" if row.age is None else f"{row.age:.0f} s"
        style = _STYLES.get(row.quality, "")
        changed = "bold" if row.change else ""
        table.add_row(Text(row.label), Text(row.value, changed), row.change, age, Text(row.quality, style))
    left_out = len(rows) - room
    problems = list(dict.fromkeys(row.problem for row in rows if row.problem))
    said = [f"{left_out} more do not fit here"] if left_out > 0 else []
    said += problems[:1] + ([f"and {len(problems) - 1} other problems"] if len(problems) > 1 else [])
    if said:
        table.caption = Text("; ".join(said))
        table.caption_justify = "left"
    return table
