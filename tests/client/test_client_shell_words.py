"""Lines of the shell as commands, what Tab offers, and the transcript's text: no terminal, no network."""

from __future__ import annotations

import io
import re

import pytest

from fieldgate_client.points import Point
from fieldgate_client.shell import words
from fieldgate_client.shell.completion import offers
from fieldgate_client.shell.voice import Transcript, printed
from fieldgate_client.values import Encoding
from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import Table

POINTS = (
    Point("flow", Table.INPUT, 0, unit_id=3),
    Point("flow total", Table.INPUT, 1),
    Point("setpoint", Table.HOLDING, 0, Encoding("FLOAT32"), writable=True),
)


@pytest.mark.parametrize(
    ("line", "verb", "args"),
    [
        ("rc 0 8", "read", "-0 -r 0 -t 0 -c 8"),
        ("rc 5", "read", "-0 -r 5 -t 0"),
        ("rr 7 2", "read", "-0 -r 7 -t 4 -c 2"),
        ("ri 7 2", "read", "-0 -r 7 -t 3 -c 2"),
        ("wc 5 1", "write", "-0 -r 5 -t 0 1"),
        ("wr 5 250", "write", "-0 -r 5 -t 4 250"),
        ("wr 5 -1 2 3", "write", "-0 -r 5 -t 4 -1 2 3"),
        ("wr 5 42.5 -t float", "write", "-0 -r 5 -t 4:float 42.5"),
        ("rr -t INT32 --order CDAB -a 9 7 2", "read", "-0 -r 7 -t 4:INT32 --order CDAB -a 9 -c 2"),
        ("rr 7 -t float -B", "read", "-0 -r 7 -t 4:float -B"),
        ("read-coils 0 8", "read", "-0 -r 0 -t 0 -c 8"),
        ("write-coil 5 1", "write", "-0 -r 5 -t 0 1"),
        ("read-registers 7 2", "read", "-0 -r 7 -t 4 -c 2"),
        ("read-inputs 7 2", "read", "-0 -r 7 -t 3 -c 2"),
        ("write-register 5 250", "write", "-0 -r 5 -t 4 250"),
        ("  read flow\tpressure ", "read", "flow pressure"),
        ("write setpoint=42.5", "write", "setpoint=42.5"),
        ("watch flow", "watch", "flow"),
        ("watch read flow", "watch", "flow"),
        ("watch -l 500 rr 7 2", "watch", "-l 500 -0 -r 7 -t 4 -c 2"),
        ("unit 3", "unit", "3"),
        ("demo", "demo", ""),
        ("exit", "quit", ""),
        ("? rr", "help", "rr"),
    ],
)
def test_a_line_is_a_command(line: str, verb: str, args: str) -> None:
    assert words.parse(line) == words.Command(verb, args.split())


def test_quotes_hold_a_name_together_and_comments_are_none() -> None:
    assert words.parse("read 'flow total' \"a b\"") == words.Command("read", ["flow total", "a b"])
    assert words.parse("write tag=a#b") == words.Command("write", ["tag=a#b"])
    assert [words.parse(line) for line in ("", "  ", "# rr 0", " #| [0]: 1")] == [None] * 4


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("raed flow", "raed: is no verb"),
        ("rr", "read-registers: needs an address"),
        ("rr x", "'x' is not what it takes"),
        ("rr -1", "'-1' is not what it takes"),
        ("rr 0 1 2", "'0 1 2' is not what it takes"),
        ("wr 5", "'5' is not what it takes"),
        ("rr 5 -t", "needs a value"),
        ("read 'flow", "no closing quotation"),
        ("watch wr 5 1", "only what is read"),
        ("watch quit", "only what is read"),
        ("rr 0\x1b[2J", "cannot be printed"),
        ("rr 0\u202e", "cannot be printed"),
    ],
)
def test_what_is_no_command_says_why(line: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        words.parse(line)


def test_a_wrong_verb_is_told_what_is_near() -> None:
    with pytest.raises(ConfigError) as caught:
        words.parse("raed flow")
    assert caught.value.hint == "did you mean read?"


@pytest.mark.parametrize(
    ("before", "some"),
    [
        ("read-", {"read-coils", "read-registers", "read-inputs"}),
        (
            "read f",
            {
                "flow",
            },
        ),
        ("read '", {"'flow total'"}),
        ("read flow s", {"setpoint"}),
        ("write ", {"setpoint="}),
        ("watch s", {"setpoint", "status"}),
        ("watch rr 0 -t 4", set()),
        ("watch rr 0 -t fl", {"float"}),
        ("read -t 4:fl", {"4:float"}),
        ("read -t 4:FLOAT", {"4:FLOAT16", "4:FLOAT32", "4:FLOAT64"}),
        ("write -t 3", set()),
        ("rr 0 -t FLOAT", {"FLOAT16", "FLOAT32", "FLOAT64"}),
        ("rr 0 --order C", {"CDAB"}),
        ("rr 0 --o", {"--order"}),
        ("unit ", {"1", "3"}),
        ("read -a ", {"1", "3"}),
        ("read -r ", set()),
        ("help q", {"quit"}),
        ("nonsense x", set()),
        ("status x", set()),
    ],
)
def test_tab_offers(before: str, some: set[str]) -> None:
    word, found = offers(before, POINTS, [1, 3])
    assert before.endswith(word)
    assert set(found) == some


def test_every_verb_has_its_help() -> None:
    for verb in words.VERBS:
        assert verb.name in words.usage()
        for name in (verb.name, *verb.others):
            assert f"{name} {verb.usage}".strip() in words.told(words.verb(name)).splitlines()
    assert all(len(line) <= 80 for verb in words.VERBS for line in words.told(verb).splitlines())


def test_a_transcript_holds_commands_and_all_else_as_comments() -> None:
    file = io.StringIO()
    kept = Transcript(file)
    kept.begin("modbus://127.0.0.1", 7)
    kept.asked("read flow")
    kept.answer("flow  1\nquit\n")
    kept.message("error: x")
    kept.asked("wr 0 1\x1b")
    kept.asked("#| flow  2")
    kept.asked("# a note")
    lines = file.getvalue().splitlines()
    assert [line for line in lines if words.parse(line)] == ["unit 7", "read flow"]
    assert lines[-1] == "# a note"
    assert [line for line in lines if line.startswith(("#|", "#!"))] == [
        "#! the shell of modbus://127.0.0.1",
        "#| flow  1",
        "#| quit",
        "#! error: x",
        "#! not taken: wr 0 1\\x1b",
    ]


def test_what_moves_the_cursor_is_escaped() -> None:
    assert printed("a\x1b[2J\r\u202e\tb\n") == "a\\x1b[2J\\r\\u202e\tb\n"
