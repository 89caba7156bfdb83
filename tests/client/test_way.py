"""The first steps of a check: where a name leads."""

from __future__ import annotations

import socket

from fieldgate_client import way


async def test_an_address_of_one_link_keeps_its_link() -> None:
    [found] = await way.look_up("fe80::1%lo", 802, socket.AF_UNSPEC)
    assert found.address == ("fe80::1", 802, 0, socket.if_nametoindex("lo"))


async def test_a_family_leaves_the_addresses_of_the_other_out() -> None:
    assert {one.family for one in await way.look_up("localhost", 802, socket.AF_INET)} == {socket.AF_INET}
