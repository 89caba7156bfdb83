"""Fixtures for all tests: both event loops, one PKI, a running site."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from support.box import Box, running_box
from support.site import Pki, Site, make_pki, running_site
from support.tools import tool


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every asynchronous test on both event loops."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def stock_tools(request: pytest.FixtureRequest) -> None:
    """Skip, before a loop runs, what needs a tool that is not here: a skip inside uvloop never ends."""
    for name in getattr(request.module, "TOOLS", ()):
        tool(name)


@pytest.fixture(scope="session")
def site_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """One PKI for all tests that need no other."""
    return make_pki(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
async def site(site_pki: Pki, tmp_path: Path) -> AsyncIterator[Site]:
    """A server with the tables of the vectors, where the tests' user is operator."""
    async with running_site(site_pki, tmp_path, user=getpass.getuser()) as running:
        yield running


@pytest.fixture(scope="session")
def other_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """A stranger's PKI, whose CAs have the same names."""
    return make_pki(tmp_path_factory.mktemp("other-pki") / "pki")


@pytest.fixture
def box(site_pki: Pki, tmp_path: Path) -> Iterator[Box]:
    """The same server as `site`, as a process of its own, started by the real command."""
    with running_box(site_pki, tmp_path) as running:
        yield running
