"""`with open_site(url)`: the same site for programs that have no event loop of their own, and for Jupyter."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from fieldgate_client.client import SiteClient
from fieldgate_client.connection import IN_FLIGHT, OPEN_DEADLINE, REPLY_DEADLINE, connect
from fieldgate_client.points import Point
from fieldgate_client.values import Value
from fieldgate_core.errors import TunnelLostError
from fieldgate_core.modbus import Table
from fieldgate_core.url import SiteUrl

if TYPE_CHECKING:
    from fieldgate_client.pymodbus_client import BlockingPymodbus

T = TypeVar("T")


class _LoopThread:
    """An event loop in a thread of its own, which lives as long as the block."""

    def __init__(self) -> None:
        self._leaving = threading.Lock()
        self._left = False

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="fieldgate-client", daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        with self._leaving:
            self._left = True
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def call(self, work: Coroutine[object, None, T]) -> T:
        """Run `work` on the loop and wait for it; what interrupts the waiting (Ctrl-C) cancels it.

        Raises TunnelLostError after the block: a loop that has ended would never answer.
        """
        with self._leaving:
            if self._left:
                work.close()
                raise TunnelLostError("the site", "its block is left, and the tunnel closed")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def _run(self, ready: threading.Event) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._loop.call_soon(ready.set)
            self._loop.run_forever()


class BlockingSite:
    """`SiteClient` without `await`; its methods may be called from several threads, and are then in flight together.

    Ctrl-C ends the waiting for a reply. A write that was under way has then an unknown outcome.
    """

    def __init__(self, site: SiteClient, thread: _LoopThread) -> None:
        self._site = site
        self._thread = thread

    @property
    def url(self) -> SiteUrl:
        """The site's URL."""
        return self._site.url

    @property
    def is_open(self) -> bool:
        """False once the tunnel is lost or closed."""
        return self._site.is_open

    @property
    def points(self) -> Mapping[str, Point]:
        """The points of the site's file, by name."""
        return self._site.points

    def read(self, point: Point | str) -> Value:
        """See `SiteClient.read`."""
        return self._thread.call(self._site.read(point))

    def read_points(self, points: Sequence[Point | str]) -> list[Value]:
        """See `SiteClient.read_points`."""
        return self._thread.call(self._site.read_points(points))

    def write(self, point: Point | str, value: Value) -> None:
        """See `SiteClient.write`."""
        self._thread.call(self._site.write(point, value))

    def read_coils(self, address: int, count: int = 1, *, unit: int | None = None) -> list[bool]:
        """See `SiteClient.read_coils`."""
        return self._thread.call(self._site.read_coils(address, count, unit=unit))

    def read_discrete(self, address: int, count: int = 1, *, unit: int | None = None) -> list[bool]:
        """See `SiteClient.read_discrete`."""
        return self._thread.call(self._site.read_discrete(address, count, unit=unit))

    def read_holding(self, address: int, count: int = 1, *, unit: int | None = None) -> list[int]:
        """See `SiteClient.read_holding`."""
        return self._thread.call(self._site.read_holding(address, count, unit=unit))

    def read_input(self, address: int, count: int = 1, *, unit: int | None = None) -> list[int]:
        """See `SiteClient.read_input`."""
        return self._thread.call(self._site.read_input(address, count, unit=unit))

    def read_cells(self, table: Table, address: int, count: int = 1, *, unit: int | None = None) -> list[int]:
        """See `SiteClient.read_cells`."""
        return self._thread.call(self._site.read_cells(table, address, count, unit=unit))

    def write_coils(self, address: int, values: Sequence[bool], *, unit: int | None = None) -> None:
        """See `SiteClient.write_coils`."""
        self._thread.call(self._site.write_coils(address, values, unit=unit))

    def write_holding(self, address: int, values: Sequence[int], *, unit: int | None = None) -> None:
        """See `SiteClient.write_holding`."""
        self._thread.call(self._site.write_holding(address, values, unit=unit))

    def write_cells(self, table: Table, address: int, values: Sequence[int], *, unit: int | None = None) -> None:
        """See `SiteClient.write_cells`."""
        self._thread.call(self._site.write_cells(table, address, values, unit=unit))

    def request(self, pdu: bytes, *, unit: int | None = None) -> bytes:
        """See `SiteClient.request`."""
        return self._thread.call(self._site.request(pdu, unit=unit))

    @cached_property
    def pymodbus(self) -> BlockingPymodbus:
        """The methods of pymodbus's client without `await`, on this tunnel."""
        from fieldgate_client.pymodbus_client import BlockingPymodbus

        async def made() -> BlockingPymodbus:
            return BlockingPymodbus(self._site.pymodbus, self._thread.call)

        return self._thread.call(made())


@contextmanager
def open_site(  # noqa: PLR0913
    url: str | SiteUrl,
    *,
    identity: Path | None = None,
    open_deadline: float = OPEN_DEADLINE,
    reply_deadline: float = REPLY_DEADLINE,
    in_flight: int = IN_FLIGHT,
    trace: Callable[[str], None] | None = None,
) -> Iterator[BlockingSite]:
    """Open a site as `connect` does, on an event loop in a thread of its own; one that runs already is left alone.

    Raises what `connect` raises. `trace` is called on that thread.
    """
    with _LoopThread() as thread:
        stack = AsyncExitStack()
        opening = connect(
            url,
            identity=identity,
            open_deadline=open_deadline,
            reply_deadline=reply_deadline,
            in_flight=in_flight,
            trace=trace,
        )
        site = thread.call(stack.enter_async_context(opening))
        try:
            yield BlockingSite(site, thread)
        finally:
            thread.call(stack.aclose())
