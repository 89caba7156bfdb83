"""The recorded frames, byte for byte, through each door, in one segment, byte by byte and in random chunks."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest

from support.site import DOORS, Site

VECTORS = Path(__file__).parents[1] / "vectors"
SEED = json.loads((VECTORS / "seed-001-pipelined.json").read_text())
EDGE = json.loads((VECTORS / "edge-frames.json").read_text())["cases"]
CUTS = ("one segment", "byte by byte", "random chunks")


def cut(data: bytes, how: str) -> list[bytes]:
    if how == "one segment":
        return [data]
    if how == "byte by byte":
        return [data[i : i + 1] for i in range(len(data))]
    chunks = []
    dice = random.Random(data)  # noqa: S311
    while data:
        size = dice.randint(1, 40)
        chunks.append(data[:size])
        data = data[size:]
    return chunks


async def send(writer: Any, chunks: list[bytes]) -> None:
    """Send each chunk as a segment of its own; a server that has closed already is a reply's matter, not ours."""
    for chunk in chunks:
        writer.write(chunk)
        try:
            await writer.drain()
        except (ConnectionError, BrokenPipeError):
            return
        await asyncio.sleep(0)


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("door", DOORS)
async def test_the_second_seed_gets_its_twelve_replies(site: Site, door: str, how: str) -> None:
    asked = b"".join(bytes.fromhex(exchange["request"]) for exchange in SEED["exchanges"])
    wanted = b"".join(bytes.fromhex(exchange["reply"]) for exchange in SEED["exchanges"])
    assert len(SEED["exchanges"]) == 12
    async with site.stream(door) as (reader, writer):
        sending = asyncio.ensure_future(send(writer, cut(asked, how)))
        assert await reader.readexactly(len(wanted)) == wanted
        await sending


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("door", DOORS)
async def test_every_edge_frame_gets_its_answer(site: Site, door: str, how: str) -> None:
    for case in EDGE:
        name = case["name"]
        chunks = cut(bytes.fromhex(case["send"]), how)
        if how == "one segment" and "chunks" in case:
            chunks = [bytes.fromhex(chunk) for chunk in case["chunks"]]
        wanted = bytes.fromhex(case["reply"] or "")
        async with site.stream(door) as (reader, writer):
            await send(writer, chunks)
            assert await reader.readexactly(len(wanted)) == wanted, name
            if case["connection_after"] == "closed":
                assert await reader.read() == b"", name
            else:
                # still open, and nothing more came: the next request is answered next
                writer.write(bytes.fromhex("7777000000060103000a0001"))
                assert await reader.readexactly(11) == bytes.fromhex("7777000000050103020011"), name
