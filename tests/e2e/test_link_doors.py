"""A link in the process of whoever asks, through each door: up, lost with its server, refused where it is not known."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from fieldgate_core.errors import NotTrustedError, OutcomeUnknownError, RejectedError, TunnelLostError
from fieldgate_tunnel.keepalive import NORMAL
from fieldgate_tunnel.link_events import LinkDown, LinkUp, State
from support.site import Pki, running_site
from support.watch import watched

SCHEMES = {"tls": "modbus+tls://", "ssh": "modbus+ssh://operator@"}
READ, VALUE = bytes.fromhex("0300000001"), bytes.fromhex("03020011")


@pytest.mark.parametrize("door", SCHEMES)
async def test_a_link_is_up_and_is_lost_with_its_server(site_pki: Pki, tmp_path: Path, door: str) -> None:
    async with running_site(site_pki, tmp_path, user=getpass.getuser()) as site:
        url = f"{SCHEMES[door]}127.0.0.1:{site.app.ports[door]}"
        watching = watched(url, site_pki.client("operator"), keepalive=NORMAL)
        watch = await watching.__aenter__()
        await watch.next(LinkUp)
        assert await watch.link.carrier.request(1, READ, deadline=20) == VALUE
        status = watch.link.status()
        assert status.wire is not None
        assert status.wire > status.sent + status.received
    try:
        await watch.next(LinkDown, lambda event: event.problem == "connection refused")
        assert watch.link.state is State.DOWN
        with pytest.raises((TunnelLostError, OutcomeUnknownError)):
            await watch.link.carrier.request(1, READ, deadline=0.1)
    finally:
        await watching.__aexit__(None, None, None)


@pytest.mark.parametrize("door", SCHEMES)
async def test_who_is_not_known_and_a_site_that_is_not_known_are_no_matter_of_time(
    site_pki: Pki, other_pki: Pki, tmp_path: Path, door: str
) -> None:
    async with running_site(site_pki, tmp_path, user=getpass.getuser()) as site:
        url = f"{SCHEMES[door]}127.0.0.1:{site.app.ports[door]}"
        async with watched(url, other_pki.client("operator")) as watch:
            down = await watch.next(LinkDown)
            assert isinstance(down.error, NotTrustedError)
            assert down.hopeless
        stranger = url.replace("operator@", "stranger@")
        if door == "ssh":
            async with watched(stranger, site_pki.client("stranger")) as watch:
                down = await watch.next(LinkDown)
                assert isinstance(down.error, RejectedError)
                assert down.hopeless


@pytest.mark.parametrize("door", SCHEMES)
async def test_what_is_asked_as_a_tunnel_ends_goes_through_the_next(site_pki: Pki, tmp_path: Path, door: str) -> None:
    async with running_site(site_pki, tmp_path, user=getpass.getuser()) as site:
        url = f"{SCHEMES[door]}127.0.0.1:{site.app.ports[door]}"
        async with watched(url, site_pki.client("operator"), keepalive=NORMAL) as watch:
            await watch.next(LinkUp)
            wire = watch.link._wire
            assert wire is not None
            assert wire._transport is not None
            wire._transport.abort()
            # an SSH channel that is closing would raise here
            assert await watch.link.carrier.request(1, READ, deadline=20) == VALUE
            assert watch.link.status().connects == 2
