"""`connect` and `open_site` as a program uses them: in flight together, cancelled, late, lost, and from a notebook."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pymodbus.client import AsyncModbusTcpClient

from fieldgate_client import SiteClient, connect, open_site
from fieldgate_core.cli import main
from fieldgate_core.errors import (
    ConfigError,
    DeadlineError,
    ExceptionReplyError,
    OutcomeUnknownError,
    TunnelError,
    TunnelLostError,
)
from support.box import Box, clean_environment, fieldgate, running_box
from support.peers import relay
from support.site import DOORS, Pki

SEED = json.loads((Path(__file__).parents[1] / "vectors/seed-001-pipelined.json").read_text())["exchanges"]
REQUESTS = [bytes.fromhex(exchange["request"]) for exchange in SEED]
REPLIES = [bytes.fromhex(exchange["reply"]) for exchange in SEED]


class Bench:
    """A device whose answers the test gives by hand: what it was sent, frame by frame, and how it answers."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[bytes] = asyncio.Queue()
        self.bursts: list[bytes] = []
        self.port = 0
        self._writer: asyncio.StreamWriter | None = None

    @property
    def url(self) -> str:
        return f"modbus://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        left = b""
        while data := await reader.read(65536):
            self.bursts.append(data)
            left += data
            while len(left) >= 6 and len(left) >= (size := 6 + int.from_bytes(left[4:6])):
                self.frames.put_nowait(left[:size])
                left = left[size:]
        writer.close()

    def answer(self, frame: bytes, pdu: str) -> None:
        reply = bytes.fromhex(pdu)
        self.send(frame[:4] + (len(reply) + 1).to_bytes(2) + frame[6:7] + reply)

    def send(self, data: bytes) -> None:
        assert self._writer is not None
        self._writer.write(data)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


@contextlib.asynccontextmanager
async def by_hand(**options: float) -> AsyncIterator[tuple[Bench, SiteClient]]:
    bench = Bench()
    async with await asyncio.start_server(bench.serve, "127.0.0.1", 0) as server:
        bench.port = server.sockets[0].getsockname()[1]
        async with connect(bench.url, **options) as site:  # type: ignore[arg-type]  # numbers of either kind
            yield bench, site
        bench.close()


async def ask_all(site: SiteClient) -> list[bytes]:
    return await asyncio.gather(*(site.request(frame[7:], unit=frame[6]) for frame in REQUESTS))


async def test_the_second_seeds_twelve_requests_leave_together_and_get_their_own_replies() -> None:
    async with by_hand() as (bench, site):
        waiting = asyncio.ensure_future(ask_all(site))
        frames = [await bench.frames.get() for _ in REQUESTS]
        # all twelve are here, in one segment, and none has been answered
        assert bench.bursts == [b"".join(REQUESTS)]
        for frame, reply in reversed(list(zip(frames, REPLIES, strict=True))):
            bench.answer(frame, reply[7:].hex())
        assert await waiting == [reply[7:] for reply in REPLIES]


@pytest.mark.parametrize("door", DOORS)
async def test_the_second_seeds_twelve_requests_through_every_door(box: Box, door: str) -> None:
    identity = None if door == "modbus" else box.identity("operator")
    async with relay(box.ports[door]) as line:
        url = box.url(door).replace(str(box.ports[door]), str(line.port))
        async with connect(url, identity=identity) as site:
            assert await ask_all(site) == [reply[7:] for reply in REPLIES]


async def test_pymodbus_and_our_methods_share_the_tunnel(box: Box) -> None:
    async with connect(box.url("modbus")) as site:
        assert isinstance(site.pymodbus, AsyncModbusTcpClient)
        theirs, ours = await asyncio.gather(
            site.pymodbus.readwrite_registers(read_address=1, read_count=8, write_address=1, values=[20] * 8),
            site.read_holding(1, 8),
        )
        assert (theirs.registers, theirs.dev_id, ours) == ([20] * 8, 1, [20] * 8)
        refused = await site.pymodbus.read_coils(100, count=1)
        assert (refused.isError(), refused.exception_code) == (True, 2)
        site.pymodbus.close()
        assert [site.pymodbus.connected, await site.pymodbus.connect()] == [True, True]
    assert [site.pymodbus.connected, await site.pymodbus.connect()] == [False, False]
    with pytest.raises(TunnelLostError):
        await site.pymodbus.read_coils(0)


async def test_pymodbus_without_a_reply_sends_and_goes_on() -> None:
    async with by_hand() as (bench, site):
        await site.pymodbus.write_register(3, 5, device_id=0, no_response_expected=True)
        frame = await bench.frames.get()
        bench.answer(frame, "0600030005")
        waiting = asyncio.ensure_future(site.read_holding(0))
        bench.answer(await bench.frames.get(), "03020007")
        assert await waiting == [7]


@pytest.mark.parametrize(("write", "error"), [(False, TunnelError), (True, OutcomeUnknownError)])
async def test_a_reply_that_pymodbus_cannot_read_is_an_error_of_ours(write: bool, error: type[Exception]) -> None:
    async with by_hand() as (bench, site):
        asked = site.pymodbus.write_registers(0, [1, 2]) if write else site.pymodbus.read_holding_registers(0, count=2)
        waiting = asyncio.ensure_future(asked)
        bench.answer(await bench.frames.get(), "10" if write else "03")
        with pytest.raises(error, match="malformed"):
            await waiting


async def test_the_four_tables_and_both_that_are_written(box: Box) -> None:
    async with connect(box.url("modbus")) as site:
        await site.write_holding(0, [1, 2, 65535])
        await site.write_holding(3, [4])
        await site.write_coils(8, [False, True])
        await site.write_coils(10, [False])
        assert await site.read_holding(0, 5) == [1, 2, 65535, 4, 17]
        assert await site.read_coils(7, 5) == [True, False, True, False, True]
        assert (await site.read_input(0, 2), await site.read_discrete(0, 2)) == ([17, 17], [True, True])
        with pytest.raises(ExceptionReplyError) as refused:
            await site.read_holding(100)
        assert (refused.value.code, refused.value.function) == (2, 3)
        with pytest.raises(ExceptionReplyError):
            await site.read_input(0, unit=9)
        with pytest.raises(ValueError, match="unit identifier"):
            await site.read_input(0, unit=256)


async def test_a_long_read_leaves_as_several_requests_and_comes_back_as_one() -> None:
    async with by_hand() as (bench, site):
        waiting = asyncio.ensure_future(site.read_input(1000, 300))
        frames = [await bench.frames.get() for _ in range(3)]
        assert [frame[7:].hex() for frame in frames] == ["0403e8007d", "040465007d", "0404e20032"]
        for at, count in ((2, 50), (0, 125), (1, 125)):
            bench.answer(frames[at], f"04{2 * count:02x}" + f"{at:04x}" * count)
        assert await waiting == [0] * 125 + [1] * 125 + [2] * 50


async def test_no_more_than_the_bound_are_in_flight_and_the_rest_keep_their_order() -> None:
    async with by_hand(in_flight=2) as (bench, site):
        waiting = asyncio.ensure_future(asyncio.gather(*(site.read_holding(at) for at in range(5))))
        first, second = await bench.frames.get(), await bench.frames.get()
        bench.answer(second, "03020001")
        third = await bench.frames.get()
        assert ([frame[9] for frame in (first, second, third)], bench.frames.empty()) == ([0, 1, 2], True)
        bench.answer(third, "03020002")
        bench.answer(await bench.frames.get(), "03020003")
        bench.answer(await bench.frames.get(), "03020004")
        bench.answer(first, "03020000")
        assert await waiting == [[0], [1], [2], [3], [4]]


async def test_a_late_reply_is_nobodys() -> None:
    async with by_hand(reply_deadline=0.05) as (bench, site):
        with pytest.raises(DeadlineError, match="function 3"):
            await site.read_holding(0)
        late = await bench.frames.get()
        waiting = asyncio.ensure_future(site.read_holding(0))
        frame = await bench.frames.get()
        assert frame[:2] != late[:2]
        bench.answer(late, "03020001")
        bench.answer(frame, "03020002")
        assert await waiting == [2]


async def test_each_request_has_its_own_deadline() -> None:
    async with by_hand(reply_deadline=0.5) as (bench, site):
        first = asyncio.ensure_future(site.read_holding(0))
        second = asyncio.ensure_future(site.write_holding(1, [5]))
        await bench.frames.get()
        third = asyncio.ensure_future(site.read_holding(2))
        write = await bench.frames.get()
        assert write[7] == 6
        last = await bench.frames.get()
        bench.answer(last, "03020009")
        assert await third == [9]
        results = await asyncio.gather(first, second, return_exceptions=True)
        assert [type(result) for result in results] == [DeadlineError, OutcomeUnknownError]
        assert bench.frames.empty()


async def test_a_cancelled_request_leaves_its_place_and_its_reply_is_thrown_away() -> None:
    async with by_hand(in_flight=1) as (bench, site):
        asking = asyncio.ensure_future(site.write_holding(0, [5]))
        frame = await bench.frames.get()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        waiting = asyncio.ensure_future(site.read_holding(0))
        other = await bench.frames.get()
        bench.answer(frame, "0600000005")
        bench.answer(other, "03020005")
        assert await waiting == [5]


async def test_what_is_cancelled_before_it_left_is_never_sent() -> None:
    async with by_hand() as (bench, site):
        asking = asyncio.ensure_future(site.write_holding(0, [5]))
        # one turn of the loop: asked, and not sent yet
        await asyncio.sleep(0)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        waiting = asyncio.ensure_future(site.read_holding(0))
        frame = await bench.frames.get()
        assert frame[7] == 3
        bench.answer(frame, "03020005")
        assert await waiting == [5]


async def test_a_lost_tunnel_tells_each_request_what_it_means_and_sends_nothing_again() -> None:
    async with by_hand(in_flight=3) as (bench, site):
        asked = [site.read_holding(0), site.write_holding(0, [5]), site.request(b"\x5a"), site.write_holding(1, [6])]
        waiting = asyncio.gather(*asked, return_exceptions=True)
        for _ in range(3):
            await bench.frames.get()
        bench.close()
        kinds = [type(result) for result in await waiting]
        # the fourth had no place yet: it was never sent; nobody knows what function 0x5A does
        assert kinds == [TunnelLostError, OutcomeUnknownError, OutcomeUnknownError, TunnelLostError]
        assert (site.is_open, bench.frames.empty()) == (False, True)
        with pytest.raises(TunnelLostError):
            await site.read_holding(0)


@pytest.mark.parametrize(
    "reply", ["ffff 0000 0005 01 03020011", "0001 0000 0005 02 03020011", "0001 0000 0005 01 04020011"]
)
async def test_a_reply_that_is_not_ours_ends_the_tunnel(reply: str) -> None:
    async with by_hand() as (bench, site):
        asked = asyncio.gather(site.read_holding(0), site.write_holding(0, [5]), return_exceptions=True)
        await bench.frames.get()
        await bench.frames.get()
        bench.send(bytes.fromhex(reply))
        read, write = await asked
        assert isinstance(read, TunnelLostError)
        assert "malformed" in read.problem
        assert isinstance(write, OutcomeUnknownError)
        assert not site.is_open


async def test_a_site_that_is_left_while_requests_wait_tells_them() -> None:
    async with by_hand() as (bench, site):
        outer = asyncio.ensure_future(site.read_holding(0))
        await bench.frames.get()
    with pytest.raises(TunnelLostError):
        await outer


async def test_a_plain_url_of_a_network_is_refused() -> None:
    with pytest.raises(ConfigError):
        async with connect("modbus://192.0.2.1"):
            pass
    with pytest.raises(ValueError, match="in flight"):
        async with connect("modbus://127.0.0.1:1", in_flight=0):
            pass


# without an event loop of one's own


@pytest.mark.parametrize("door", DOORS)
def test_the_blocking_twin_reads_and_writes(box: Box, door: str) -> None:
    before = threading.active_count()
    identity = None if door == "modbus" else box.identity("operator")
    with open_site(box.url(door), identity=identity) as site:
        site.write_holding(0, [1, 2])
        site.write_coils(0, [False])
        assert (site.read_holding(0, 3), site.read_coils(0, 2)) == ([1, 2, 17], [False, True])
        assert (site.read_input(0), site.read_discrete(0)) == ([17], [True])
        assert site.request(bytes.fromhex("0300000001")) == bytes.fromhex("03020001")
        assert site.pymodbus.read_holding_registers(0, count=2).registers == [1, 2]
        with pytest.raises(ExceptionReplyError):
            site.read_holding(100)
    assert (site.is_open, threading.active_count()) == (False, before)


def test_threads_are_in_flight_together(box: Box) -> None:
    with open_site(box.url("modbus")) as site, ThreadPoolExecutor(8) as threads:
        for at in range(50):
            site.write_holding(at, [at])
        assert list(threads.map(site.read_holding, range(50))) == [[at] for at in range(50)]


def test_a_site_whose_block_is_left_says_so(box: Box) -> None:
    with open_site(box.url("modbus")) as site:
        assert site.read_holding(0) == [17]
        pymodbus = site.pymodbus
    with pytest.raises(TunnelLostError, match="block is left"):
        site.read_holding(0)
    with pytest.raises(TunnelLostError, match="block is left"):
        pymodbus.read_holding_registers(0, device_id=1)


def test_a_site_that_cannot_be_opened_says_why_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(ConfigError), open_site("modbus://192.0.2.1"):
        pass
    assert threading.active_count() == before


async def test_it_works_where_a_loop_runs_already_as_in_a_notebook(box: Box) -> None:
    with open_site(box.url("modbus")) as site:
        assert site.read_holding(0) == [17]


def test_ctrl_c_ends_the_waiting_and_the_program_goes_on() -> None:
    program = textwrap.dedent("""
        import socket, threading
        from fieldgate_client import open_site
        listener = socket.create_server(("127.0.0.1", 0))

        def device():
            connection, _ = listener.accept()
            with connection:
                connection.recv(12)
                print("asked", flush=True)
                connection.recv(1)

        threading.Thread(target=device, daemon=True).start()
        with open_site(f"modbus://127.0.0.1:{listener.getsockname()[1]}", reply_deadline=60) as site:
            try:
                site.read_holding(0)
            except KeyboardInterrupt:
                print("stopped", site.is_open)
        print("closed", site.is_open)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", program], env=clean_environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
        os.kill(process.pid, signal.SIGINT)
        out = process.stdout.read()
    assert (out, process.returncode) == ("stopped True\nclosed False\n", 0)


# points and names

POINTS = """\
[[point]]
name = "flow"
table = "holding"
address = 4
type = "FLOAT32"
byte_order = "CDAB"
unit = "m3/h"
writable = true
high = 500

[[point]]
name = "level"
table = "input"
address = 0
type = "UINT16"
scale = 0.1

[[point]]
name = "pump"
table = "coil"
address = 3
unit_id = 7
writable = true
"""
UNITS = """[[unit]]
id = 3
default = true
input = { initial = 425 }
[[unit]]
id = 7
"""


@pytest.fixture
def pump(site_pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    """A box that the user's site list calls pump-7, with its points."""
    (tmp_path / "points.toml").write_text(POINTS)
    with running_box(site_pki, tmp_path, units=UNITS) as box:
        listed = f'[site.pump-7]\nurl = "{box.url("tls")}"\nunit = 3\npoints = "points.toml"\n'
        listed += f'identity = "{box.identity("operator")}"\n'
        (tmp_path / "sites.toml").write_text(listed)
        monkeypatch.setenv("FIELDGATE_SITES", str(tmp_path / "sites.toml"))
        yield box


async def test_a_site_by_name_has_its_unit_identity_and_points(pump: Box) -> None:
    async with connect("pump-7") as site:
        assert sorted(site.points) == ["flow", "level", "pump"]
        assert (await site.read("level"), await site.read_input(0)) == (42.5, [425])
        await site.write("flow", 123.456)
        await site.write(site.points["pump"], 1)
        assert await site.read_points(["pump", "flow", "level", "flow"]) == [1, 123.456, 42.5, 123.456]
        assert (await site.read_holding(4, 2), await site.read_coils(3, unit=7)) == ([0xE979, 0x42F6], [True])
        with pytest.raises(ValueError, match="outside the limits"):
            await site.write("flow", 501)
        with pytest.raises(ValueError, match="level is read only"):
            await site.write("level", 1)
        with pytest.raises(ConfigError, match="has no point 'flaw'"):
            await site.read("flaw")
    with pytest.raises(ConfigError, match="no site of this name"):
        async with connect("pump-8"):
            pass


def test_the_blocking_twin_has_names_and_points_too(pump: Box) -> None:
    with open_site("pump-7") as site:
        site.write("flow", 2)
        assert (site.read("flow"), site.read_points(["level"]), len(site.points)) == (2.0, [42.5], 3)


def test_points_by_name_on_the_command_line(pump: Box, tmp_path: Path) -> None:
    sites = {"FIELDGATE_SITES": str(tmp_path / "sites.toml")}
    written = fieldgate("client", "write", "pump-7", "flow=-1.5", "pump=on", "--yes", **sites)
    assert (written.returncode, written.stdout) == (0, "")
    assert written.stderr == "flow: \t0.0 m3/h -> -1.5 m3/h\npump: \t0 -> 1\nWritten 2 references.\n"
    read = fieldgate("client", "read", "pump-7", "--format", "plain", "pump", "flow", "level", **sites)
    assert (read.stdout, read.stderr) == ("1 -1.5 42.5\n", "")
    assert fieldgate("client", "read", "pump-7", **sites).stdout == "flow   -1.5 m3/h\nlevel  42.5\npump   1\n"
    assert fieldgate("client", "read", "pump-7", "-t", "3", **sites).stdout == "[1]: \t425\n"
    by_url = [pump.url("modbus"), "--points", str(tmp_path / "points.toml"), "-a", "3", "level"]
    assert fieldgate("client", "read", *by_url).stdout == "level  42.5\n"


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ("read pump-7 flaw", "did you mean flow?"),
        ("read pump-7 flow -t 4", "-t: a point has its own address"),
        ("read pump-7 flow -0", "-0: a point has its own address"),
        ("read pump-7 flow -c 2", "-c: points are read one by one"),
        ("read pump-7 flow -a 1,2", "-a 1,2: points are read one by one"),
        ("read pump-8", "did you mean pump-7?"),
        ("read modbus://127.0.0.1 flow", "has no file of points"),
        ("read 192.0.2.7", "modbus+ssh://ROLE@192.0.2.7 or modbus+tls://192.0.2.7"),
        ("write pump-7 level=1 --yes", "level: is read only"),
        ("write pump-7 flow=501 --yes", "flow: 501 is outside the limits"),
        ("write pump-7 flow=x --yes", "flow: 'x' is no number"),
        ("write pump-7 flow=1 2 --yes", "points in part"),
        ("write pump-7 flow=1", "there is no terminal to ask on"),
    ],
)
def test_what_names_cannot_mean_ends_with_2(
    rest: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "points.toml").write_text(POINTS)
    (tmp_path / "sites.toml").write_text('[site.pump-7]\nurl = "modbus://127.0.0.1:1"\npoints = "points.toml"\n')
    monkeypatch.setenv("FIELDGATE_SITES", str(tmp_path / "sites.toml"))
    assert main(["client", *rest.split()]) == 2
    assert says in capsys.readouterr().err
