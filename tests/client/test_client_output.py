"""What `client read` and `write` print: the values of the real mbpoll, documents that fit the schema, nothing else."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from support.box import FIELDGATE, Box, clean_environment, fieldgate, running_box
from support.peers import device
from support.site import Pki
from support.tools import tool

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/client-output.schema.json").read_text())
UNITS = """[[unit]]
id = 1
default = true
coils = { initial = [1, 0, 1] }
discrete = { initial = [0, 1] }
holding = { size = 1000, initial = [0x42F6, 0xE979, 0xE979, 0x42F6, 0xFFFF, 0xFFFE, 0x7FC0, 0, 0x7F80, 0] }
input = { initial = [0x42F6, 0xE979, 0x8000] }
[[unit]]
id = 2
holding = { initial = 7 }
"""


@pytest.fixture(scope="module")
def shared(site_pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A box with numbers of all kinds, which the tests here only read."""
    with running_box(site_pki, tmp_path_factory.mktemp("box"), units=UNITS) as box:
        yield box


@pytest.fixture
def own(site_pki: Pki, tmp_path: Path) -> Iterator[Box]:
    """The same box, to write to."""
    with running_box(site_pki, tmp_path, units=UNITS) as box:
        yield box


def mbpoll(box: Box, *letters: str) -> subprocess.CompletedProcess[str]:
    command = [tool("mbpoll"), "-1", "-p", str(box.ports["modbus"]), *letters]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def lines(text: str) -> list[tuple[str, str]]:
    """Take mbpoll's lines: heading or reference, and value as text."""
    found = re.findall(r"^(?:(-- Polling slave \d+\.\.\.)|\[(\d+)\]: \t(.*))$", text, re.MULTILINE)
    return [(heading or reference, value) for heading, reference, value in found]


def shortened(value: str) -> str:
    """Write a number as C's %g does, which mbpoll prints floats with; it shows a NaN's sign, which means nothing."""
    return f"{float(value):g}" if re.search(r"[.en]", value) and "(" not in value and "x" not in value else value


@pytest.mark.parametrize(
    "letters",
    [
        *("-t 0 -c 3", "-t 1 -c 2", "-t 3 -c 3", "-t 3:hex -c 3", "-t 4 -c 10", "-t 4:hex -c 10"),
        *("-t 3:int", "-t 3:int -B", "-t 3:float", "-t 3:float -B", "-t 4:int -c 5", "-t 4:int -B -c 5"),
        *("-t 4:float -c 5", "-t 4:float -B -c 5", "-t 4:float -r 2 -B", "-0 -r 2 -t 4:float", "-a 1,2 -c 2"),
    ],
)
def test_every_type_that_mbpoll_has_gives_the_same_values(shared: Box, letters: str) -> None:
    theirs = mbpoll(shared, *letters.split(), "127.0.0.1")
    ours = fieldgate("client", "read", shared.url("modbus"), *letters.split())
    expected = [(label, value.replace("-nan", "nan")) for label, value in lines(theirs.stdout)]
    if "," not in letters:
        expected = [(label, value) for label, value in expected if not label.startswith("--")]
    assert expected
    assert [(label, shortened(value)) for label, value in lines(ours.stdout)] == expected
    assert (len(ours.stdout.splitlines()), ours.stderr, ours.returncode) == (len(expected), "", 0)


@pytest.mark.parametrize(
    ("letters", "values"),
    [
        ("-t 4:int -r 20", "-5 70000"),
        ("-t 4:int -B -r 20", "-5 70000"),
        ("-t 4:float -r 20", "-5.5 3"),
        ("-t 4:float -B -r 20", "123.456 -1e-3"),
        ("-t 4:hex -r 20", "0x10 16"),
        ("-0 -r 20", "5"),
    ],
)
def test_every_type_that_mbpoll_writes_is_written_the_same(own: Box, letters: str, values: str) -> None:
    def written() -> list[str]:
        intents = [line for line in own.audit_lines() if "outcome=intent" in line]
        return [" ".join(re.findall(r"(?:new|unit|function|range)=(?:\"[^\"]*\"|\S+)", line)) for line in intents]

    assert mbpoll(own, *letters.split(), "127.0.0.1", "--", *values.split()).returncode == 0
    theirs = written()
    assert fieldgate("client", "write", own.url("modbus"), *letters.split(), "--yes", *values.split()).returncode == 0
    assert (
        fieldgate("client", "write", own.url("modbus"), "--yes", *letters.split(), "--", *values.split()).returncode
        == 0
    )
    assert len(theirs) == 1
    assert written() == theirs * 3


@pytest.mark.parametrize(("order", "reference"), [("ABCD", 1), ("CDAB", 3)])
def test_telegrafs_types_and_orders(shared: Box, order: str, reference: int) -> None:
    where = [shared.url("modbus"), "-r", str(reference)]
    for named in (["-t", "4:FLOAT32", "--order", order], ["-t", f"4:float32:{order}"]):
        assert fieldgate("client", "read", *where, *named, "--format", "plain").stdout == "123.456\n"


def test_a_long_read_is_split_and_comes_whole(shared: Box) -> None:
    read = fieldgate("client", "read", shared.url("modbus"), "-c", "1000", "--trace")
    assert len(read.stdout.splitlines()) == 1000
    assert re.findall(r"Word Count: (\d+)", read.stderr) == ["125"] * 8
    beyond = fieldgate("client", "read", shared.url("modbus"), "-c", "1001")
    # the last request asks for what is not there; the others were answered
    assert (beyond.returncode, beyond.stdout) == (1, read.stdout)
    assert beyond.stderr == "fieldgate: error: function 3 answered with exception 02 (illegal data address)\n"


def test_json_fits_its_schema_and_says_what_failed(shared: Box) -> None:
    read = fieldgate("client", "read", shared.url("modbus"), "-a", "1,2,9", "-c", "2", "--json")
    document = json.loads(read.stdout)
    jsonschema.validate(document, SCHEMA)
    assert [(value["unit_id"], value["value"], value["quality"]) for value in document["values"]] == [
        *((1, 0x42F6, "good"), (1, 0xE979, "good"), (2, 7, "good"), (2, 7, "good")),
        *((9, None, "error"), (9, None, "error")),
    ]
    assert (read.returncode, document["site"]) == (1, shared.url("modbus"))
    assert read.stderr == "fieldgate: error: unit 9: function 3 answered with exception 0A (gateway path unavailable)\n"


def test_nan_and_infinity_are_text_in_json(shared: Box) -> None:
    read = fieldgate("client", "read", shared.url("modbus"), "-r", "7", "-t", "4:FLOAT32", "-c", "2", "--json")
    document = json.loads(read.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    jsonschema.validate(document, SCHEMA)
    assert [value["value"] for value in document["values"]] == ["nan", "inf"]


def test_csv_and_plain(shared: Box) -> None:
    table = fieldgate("client", "read", shared.url("modbus"), "-t", "3", "-c", "3", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [(row["reference"], row["address"], row["value"]) for row in rows] == [
        ("1", "0", "17142"),
        ("2", "1", "59769"),
        ("3", "2", "32768"),
    ]
    plain = fieldgate("client", "read", shared.url("modbus"), "-t", "3", "-c", "3", "--format", "plain")
    assert (plain.stdout, plain.stderr) == ("17142 59769 32768\n", "")


@pytest.mark.parametrize("environment", [{"TERM": "dumb", "COLUMNS": "80"}, {"TERM": "", "COLUMNS": "20"}])
def test_a_poor_terminal_changes_nothing(shared: Box, environment: dict[str, str]) -> None:
    assert fieldgate("client", "read", shared.url("modbus"), **environment).stdout == "[1]: \t17142\n"


def polled(box: Box, *args: str, count: int) -> list[str]:
    """Give the first lines of a command that polls, and stop it by closing its output."""
    command = [*FIELDGATE, "client", "read", box.url("modbus"), *args]
    with subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = [process.stdout.readline() for _ in range(count)]
        process.send_signal(2)
        process.stdout.read()
    assert process.returncode == 130
    return found


def test_polling_prints_a_line_a_poll(shared: Box) -> None:
    assert polled(shared, "-l", "10", "--format", "plain", "-c", "2", count=3) == ["17142 59769\n"] * 3
    for line in polled(shared, "--watch", "-l", "10", "--format", "jsonl", count=2):
        jsonschema.validate(json.loads(line), SCHEMA)
    # without a terminal a table is not drawn
    assert polled(shared, "--watch", "-l", "10", count=2) == ["[1]: \t17142\n"] * 2
    header, *rows = polled(shared, "-l", "10", "--format", "csv", count=3)
    assert (header.startswith("time,site,"), [row.startswith("time") for row in rows]) == (True, [False, False])


def test_a_write_as_json_has_old_written_and_read_value(own: Box) -> None:
    written = fieldgate("client", "write", own.url("modbus"), "-r", "1", "-2", "--yes", "--json")
    document = json.loads(written.stdout)
    jsonschema.validate(document, SCHEMA)
    [value] = document["values"]
    assert (value["old"], value["written"], value["value"]) == (0x42F6, 0xFFFE, 0xFFFE)
    assert written.stderr == "[1]: \t17142 -> 65534 (-2)\nWritten 1 references.\n"


async def test_a_device_that_keeps_another_value_is_told() -> None:
    import asyncio

    def clamps(pdu: bytes) -> bytes:
        return b"\x03\x02\x00\x64" if pdu[0] == 3 else pdu[:5]

    async with device(clamps) as box:
        process = await asyncio.create_subprocess_exec(
            *FIELDGATE, "client", "write", "--yes", box.url, "250", env=clean_environment(), stderr=subprocess.PIPE
        )
        _, err = await process.communicate()
    assert process.returncode == 0
    assert err.decode().splitlines() == [
        "[1]: \t100 -> 250",
        "Written 1 references.",
        "fieldgate: warning: [1]: 100 was read back, and 250 was written",
    ]


# on a terminal


class Terminal:
    """A command on a pseudo-terminal: what it shows, and what is typed."""

    def __init__(self, *args: str, **environment: str) -> None:
        ours, theirs = pty.openpty()
        self._terminal = ours
        self.process = subprocess.Popen(
            [*FIELDGATE, *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=clean_environment(**environment),
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(theirs)
        self.raw = ""

    @property
    def seen(self) -> str:
        """What it has shown, without colours and movements."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw)

    def until(self, words: str) -> str:
        """Wait until it shows these words."""
        while words not in self.seen:
            assert select.select([self._terminal], [], [], 30)[0], self.seen
            self.raw += os.read(self._terminal, 4096).decode()
        return self.seen

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def end(self) -> int:
        """Wait for its end; gives the exit code."""
        try:
            while data := os.read(self._terminal, 4096):
                self.raw += data.decode()
        except OSError:
            pass
        os.close(self._terminal)
        return self.process.wait()


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.parametrize(
    ("answer", "code", "value"),
    [("y\n", 0, "-5"), ("YES\n", 0, "-5"), ("\n", 130, "0"), ("n\n", 130, "0"), ("\x04", 130, "0"), ("\x03", 130, "0")],
)
def test_a_write_asks_on_a_terminal(own: Box, answer: str, code: int, value: str) -> None:
    terminal = Terminal("client", "write", own.url("modbus"), "-t", "4:INT16", "-r", "30", "-5")
    terminal.until("[30]: \t0 -> -5\r\nWrite? [y/N] ")
    terminal.type(answer)
    assert terminal.end() == code
    assert (
        fieldgate("client", "read", own.url("modbus"), "-t", "4:INT16", "-r", "30", "--format", "plain").stdout
        == f"{value}\n"
    )


def test_watch_draws_a_table_that_moves(own: Box) -> None:
    command = ("client", "read", own.url("modbus"), "-r", "30", "-c", "2", "--watch", "-l", "20")
    terminal = Terminal(*command, TERM="xterm", COLUMNS="80")
    terminal.until("good")
    assert {"value", "change", "age", "quality"} <= set(re.findall(r"\w+", terminal.seen))
    assert fieldgate("client", "write", own.url("modbus"), "-r", "30", "7", "--yes").returncode == 0
    terminal.until("+7")
    own.process.kill()
    terminal.until("stale")
    terminal.until("refused")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert (
        max(len(line) for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.seen).replace("\r", "\n").split("\n"))
        <= 80
    )


def test_watch_on_a_dumb_terminal_prints_lines(own: Box) -> None:
    terminal = Terminal("client", "read", own.url("modbus"), "--watch", "-l", "20", TERM="dumb")
    terminal.until("[1]: \t17142\r\n[1]: \t17142\r\n")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert "\x1b" not in terminal.raw
