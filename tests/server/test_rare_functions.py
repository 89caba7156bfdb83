"""The answers of functions 7, 8, 11, 12, 17, 20, 21, 24 and 43/14, byte for byte, by V1.1b3, 6.7 to 6.21."""

from __future__ import annotations

from pathlib import Path

import pytest

from fieldgate_core.modbus import exception_pdu
from fieldgate_server.device import Device
from fieldgate_server.unit_settings import FileSettings, IdentificationSettings, TableSettings, UnitSettings
from support.bench import Bench

READ, READ_REPLY = "03 00 00 00 01", "03 02 00 05"
NOT_THERE, NOT_THERE_REPLY = "03 00 64 00 01", "83 02"
RESTART, RESTART_AND_CLEAR, LISTEN = "08 00 01 00 00", "08 00 01 ff 00", "08 00 04 00 00"


def settings(*, exception_status: int | None = None) -> UnitSettings:
    return UnitSettings(
        holding=TableSettings(100, 5, {"40": (2, 0x01B8, 0x1284), "50": (0,), "60": (31,), "70": (32,), "98": (1, 7)}),
        coils=TableSettings(100, 0, {"16": (1, 0, 1, 1, 0, 0, 0, 1, 1)}),
        file=(FileSettings(4, 10, (0x0DFE, 0x0020)), FileSettings(3, 10000, 9), FileSettings(65535, 130)),
        identification=IdentificationSettings("ACME", "X1", "2.0"),
        server_id="boiler",
        exception_status=exception_status,
    )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, settings())


# function 7


def test_exception_status_shows_eight_coils(tmp_path: Path) -> None:
    bench = Bench(tmp_path, settings(exception_status=16))
    assert bench.ask("07") == "07 8d"
    assert bench.ask("05 00 11 ff 00") == "05 00 11 ff 00"
    assert bench.ask("07") == "07 8f"
    assert bench.ask("07 00") == "87 03"


def test_without_such_coils_all_outputs_are_off(bench: Bench) -> None:
    assert bench.ask("0f 00 00 00 08 01 ff") == "0f 00 00 00 08"
    assert bench.ask("07") == "07 00"


def test_the_last_eight_coils_will_do(tmp_path: Path) -> None:
    bench = Bench(tmp_path, settings(exception_status=92))
    assert bench.ask("0f 00 5c 00 08 01 81") == "0f 00 5c 00 08"
    assert bench.ask("07") == "07 81"


@pytest.mark.parametrize("first", [93, 100, 65535, -1])
def test_exception_status_has_to_name_eight_coils_that_are_there(first: int) -> None:
    with pytest.raises(ValueError, match="exception_status"):
        settings(exception_status=first)


# function 8


@pytest.mark.parametrize("data", ["00 00", "a5 37", "00 01 02 03", "ff" * 250])
def test_query_data_comes_back(bench: Bench, data: str) -> None:
    asked = bytes.fromhex("08 00 00" + data).hex(" ")
    assert bench.ask(asked) == asked


COUNTERS = ("02", "0b", "0c", "0d", "0e", "0f", "10", "11", "12")


def counters(bench: Bench) -> dict[str, int]:
    """Read every counter; each adds itself to the messages of those after it."""
    found = {}
    for sub in COUNTERS:
        reply = bench.ask(f"08 00 {sub} 00 00")
        assert reply.startswith(f"08 00 {sub} ")
        found[sub] = int(reply[9:].replace(" ", ""), 16)
    return found


def test_every_counter_of_a_unit_that_nobody_has_asked(bench: Bench) -> None:
    # 0B, the second, is the second message; 0E the fifth
    assert counters(bench) == {"02": 0, "0b": 2, "0c": 0, "0d": 0, "0e": 5, "0f": 0, "10": 0, "11": 0, "12": 0}


def test_every_counter_after_two_replies_and_three_exceptions(bench: Bench) -> None:
    for asked in (READ, NOT_THERE, "63", "03", READ):
        bench.ask(asked)
    assert counters(bench) == {"02": 1, "0b": 7, "0c": 0, "0d": 3, "0e": 10, "0f": 0, "10": 0, "11": 0, "12": 0}


def test_exceptions_of_who_may_not_are_counted_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path, settings(), {"coil 0": '{ units = "1", read = "coils 0" }'})
    assert bench.ask(READ, "coil 0") == "83 01"
    assert counters(bench)["0d"] == 1


@pytest.mark.parametrize("reset", ["08 00 0a 00 00", RESTART, RESTART_AND_CLEAR])
def test_clear_and_restart_set_every_counter_to_zero(bench: Bench, reset: str) -> None:
    for asked in (READ, NOT_THERE, READ):
        bench.ask(asked)
    assert bench.ask(reset) == reset
    assert bench.ask("0b") == "0b 00 00 00 00"
    assert bench.ask(reset) == reset
    assert counters(bench) == {"02": 0, "0b": 2, "0c": 0, "0d": 0, "0e": 5, "0f": 0, "10": 0, "11": 0, "12": 0}


def test_the_overrun_counter_is_cleared_alone(bench: Bench) -> None:
    bench.ask(NOT_THERE)
    assert bench.ask("08 00 14 00 00") == "08 00 14 00 00"
    assert counters(bench)["0d"] == 1


def test_the_delimiter_is_kept_until_a_restart(bench: Bench) -> None:
    assert bench.ask("08 00 03 0d 00") == "08 00 03 0d 00"
    assert bench.unit.device.delimiter == 0x0D
    assert bench.ask("08 00 03 0a 01") == "88 03"
    assert bench.unit.device.delimiter == 0x0D
    bench.ask(RESTART)
    assert bench.unit.device.delimiter == 0x0A


@pytest.mark.parametrize("sub", ["00 05", "00 09", "00 13", "00 15", "01 00", "ff ff"])
def test_an_unknown_sub_function_is_an_unknown_function(bench: Bench, sub: str) -> None:
    assert bench.ask(f"08 {sub} 00 00") == "88 01"


WORD_0 = ("02", "04", "0a", "0b", "0c", "0d", "0e", "0f", "10", "11", "12", "14")
MALFORMED = [
    "08",
    "08 00",
    "08 00 00",
    "08 00 00 01",
    "08 00 00 01 02 03",
    "08 00 01 00 01",
    "08 00 01 fe 00",
    "08 00 01",
    *(f"08 00 {sub} {data}" for sub in WORD_0 for data in ("", "00", "00 01", "ff 00", "00 00 00 00")),
]


@pytest.mark.parametrize("pdu", MALFORMED)
def test_a_malformed_diagnostic_is_03_and_does_nothing(bench: Bench, pdu: str) -> None:
    bench.ask(READ)
    assert bench.ask(pdu) == "88 03"
    assert bench.ask("0b") == "0b 00 00 00 01"


# functions 11 and 12


def log(bench: Bench) -> str:
    """Read the event log, newest first."""
    reply = bench.ask("0c").split()
    assert reply[:4] == ["0c", f"{len(reply) - 2:02x}", "00", "00"]
    return " ".join(reply[8:])


def test_the_event_counter_counts_what_was_carried_out(bench: Bench) -> None:
    assert bench.ask("0b") == "0b 00 00 00 00"
    bench.ask(READ)
    bench.ask("06 00 00 00 09")
    assert bench.ask("0b") == "0b 00 00 00 02"
    bench.ask(NOT_THERE)
    bench.ask("63")
    # neither exceptions nor the question itself count
    assert bench.ask("0b") == "0b 00 00 00 02"
    assert bench.ask("0b 00") == "8b 03"


def test_counters_have_16_bits(bench: Bench) -> None:
    bench.unit.device.received = 0xFFFF
    bench.ask(READ)
    assert bench.ask("0b") == "0b 00 00 00 00"
    assert bench.ask("08 00 0b 00 00") == "08 00 0b 00 02"


def test_the_event_log_shows_the_newest_first(bench: Bench) -> None:
    assert bench.ask("0c") == "0c 07 00 00 00 00 00 01 00"
    bench.ask(READ)
    bench.ask(NOT_THERE)
    # status 0, 1 event, 4 messages; then exception sent, received, sent, received, and function 12 itself
    assert bench.ask("0c") == "0c 0d 00 00 00 01 00 04 41 80 40 80 40 80 00"
    assert bench.ask("0c 00") == "8c 03"


def test_the_event_log_ends_after_64_bytes(bench: Bench) -> None:
    for _ in range(31):
        bench.ask(READ)
    assert log(bench) == "40 80 " * 31 + "00"
    assert log(bench) == ("40 80 " * 32).rstrip()
    bench.ask(NOT_THERE)
    assert log(bench) == "41 80 " + ("40 80 " * 31).rstrip()


@pytest.mark.parametrize(
    ("code", "event"), [(1, "41"), (2, "41"), (3, "41"), (4, "42"), (5, "44"), (6, "44"), (7, "48"), (0x0B, "40")]
)
def test_every_exception_has_its_bit_in_the_log(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, code: int, event: str
) -> None:
    monkeypatch.setattr(type(bench.unit), "perform", lambda *_: exception_pdu(3, code))
    assert bench.ask(READ) == f"83 {code:02x}"
    monkeypatch.undo()
    assert log(bench) == f"{event} 80 00"
    assert counters(bench) | {"0b": 0, "0e": 0} == dict.fromkeys(COUNTERS, 0) | {
        "02": 1,
        "0d": 1,
        "10": int(code == 7),
        "11": int(code == 6),
    }


def test_a_restart_comes_after_its_reply(bench: Bench) -> None:
    """V1.1b3, 6.8.1, 01: "a normal response is returned. This occurs before the restart is executed"."""
    bench.ask(NOT_THERE)
    assert bench.ask(RESTART) == RESTART
    assert log(bench) == "00 40 80 41 80 00"


def test_a_restart_may_clear_the_event_log(bench: Bench) -> None:
    bench.ask(NOT_THERE)
    assert bench.ask(RESTART_AND_CLEAR) == RESTART_AND_CLEAR
    assert log(bench) == "00"


def test_clearing_the_counters_leaves_the_log(bench: Bench) -> None:
    bench.ask(NOT_THERE)
    bench.ask("08 00 0a 00 00")
    assert log(bench) == "40 80 41 80 00"


# listen-only mode


def test_a_unit_that_listens_says_nothing_until_it_is_restarted(bench: Bench) -> None:
    assert bench.ask(LISTEN) == ""
    assert bench.unit.device.listen_only
    for pdu in (READ, "06 00 00 00 09", "03", "63", "08", "2b", "0b", "08 00 00 00 00", LISTEN, "08 00 01 00 01"):
        for unit in (1, 0, 255):
            assert bench.ask(pdu, unit=unit) == ""
    assert bench.ask("63", "nothing") == ""
    assert bench.ask(READ, unit=9) == "83 0a", "another unit is not silent"
    assert bench.ask(RESTART) == ""
    assert bench.ask(READ) == READ_REPLY, "and the write above was not carried out"
    assert bench.ask("0b") == "0b 00 00 00 01"


def test_what_is_heard_while_listening_is_in_the_log(bench: Bench) -> None:
    bench.ask(LISTEN)
    bench.ask(READ)
    bench.ask("63", "nothing")
    assert bench.unit.device.unanswered == 3
    bench.ask(RESTART)
    # restarted, then (going back) the three messages heard, listening began, and the message that began it
    assert log(bench) == "00 a0 a0 a0 04 80 00"
    bench.ask(LISTEN)
    bench.ask(RESTART_AND_CLEAR)
    assert log(bench) == "00"


def test_only_who_may_restart_brings_a_unit_back(tmp_path: Path) -> None:
    grants = {
        "reads": '{ units = "all", read = "all", write = "all" }, { units = "all", function = "diagnose" }',
        "others": ", ".join(f'{{ units = "1", function = "8/{sub}" }}' for sub in ("03", "04", "0A", "14")),
        "elsewhere": '{ units = "2-254", function = "8/01" }, { units = "1", read = "all" }',
        "restarts": '{ units = "1", function = "8/01" }',
    }
    bench = Bench(tmp_path, settings(), grants)
    bench.ask(LISTEN, "others")
    for role in ("nothing", "reads", "others", "elsewhere"):
        assert bench.ask(RESTART, role) == ""
        assert bench.ask(READ) == "", role
    assert bench.ask(RESTART, "restarts") == ""
    assert bench.ask(READ) == READ_REPLY


def test_control_leaves_its_lines_in_the_trail(bench: Bench) -> None:
    bench.ask(LISTEN)
    bench.ask(RESTART)
    bench.ask("08 00 0a 00 00", "nothing")
    events = [tuple(line.split("event=")[1].split()[0:1]) for line in bench.trail()]
    assert events == [("control",)] * 4 + [("refused",)]
    outcomes = [part for line in bench.trail() for part in line.split() if part.startswith(("outcome=", "function="))]
    assert outcomes == [
        *("outcome=intent", "function=8/04", "outcome=done", "function=8/04"),
        *("outcome=intent", "function=8/01", "outcome=done", "function=8/01"),
        "function=8/0A",
    ]


# function 17


def test_the_server_id_says_who_runs(bench: Bench) -> None:
    assert bytes.fromhex(bench.ask("11")) == b"\x11\x07boiler\xff"
    assert bench.ask("11 00") == "91 03"


def test_a_long_server_id_fits_into_its_reply(tmp_path: Path) -> None:
    bench = Bench(tmp_path, UnitSettings(identification=IdentificationSettings("v" * 244, "p" * 244, "r" * 244)))
    reply = bytes.fromhex(bench.ask("11"))
    assert reply == b"\x11\xf5" + b"p" * 244 + b"\xff"


# functions 20 and 21


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("14 07 06 00 04 00 00 00 02", "14 06 05 06 0d fe 00 20"),
        ("14 07 06 00 04 00 09 00 01", "14 04 03 06 00 00"),
        ("14 0e 06 00 04 00 01 00 01 06 00 03 27 0f 00 01", "14 08 03 06 00 20 03 06 00 09"),
        ("14 07 06 ff ff 00 00 00 01", "14 04 03 06 00 00"),
        ("14 0e 06 00 04 00 00 00 01 06 00 04 00 00 00 01", "14 08 03 06 0d fe 03 06 0d fe"),
    ],
)
def test_file_records_are_read(bench: Bench, asked: str, answered: str) -> None:
    assert bench.ask(asked) == answered


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("14 07 05 00 04 00 00 00 01", "reference type"),
        ("14 07 06 00 05 00 00 00 01", "no such file"),
        ("14 07 06 00 00 00 00 00 01", "file 0"),
        ("14 07 06 00 04 00 0a 00 01", "record 10 of 10"),
        ("14 07 06 00 04 00 09 00 02", "records 9 and 10 of 10"),
        ("14 07 06 00 03 27 10 00 01", "record 10000"),
        ("14 07 06 00 03 ff ff 00 02", "records past 65535"),
        ("14 0e 06 00 04 00 00 00 01 06 00 04 00 0a 00 01", "one group of two"),
        ("14 0e 07 00 04 00 00 00 01 06 00 04 00 00 00 01", "reference type of one of two"),
    ],
)
def test_file_records_that_are_not_there_are_02(bench: Bench, asked: str, why: str) -> None:
    assert bench.ask(asked) == "94 02", why


@pytest.mark.parametrize(
    "asked",
    [
        "14",
        "14 00",
        "14 06 06 00 04 00 00 00",
        "14 07 06 00 04 00 00 00",
        "14 08 06 00 04 00 00 00 01",
        "14 08 06 00 04 00 00 00 01 06",
        "14 06 06 00 04 00 00 00 01",
        "14 07 06 00 04 00 00 00 01 06",
        "14 07 06 00 04 00 00 00 00",
        "14 fc" + " 06 00 04 00 00 00 01" * 36,
    ],
)
def test_a_malformed_file_request_is_03(bench: Bench, asked: str) -> None:
    bytes_sent = bytes.fromhex(asked)[:253].hex(" ")
    assert bench.ask(bytes_sent) == "94 03"


def test_the_longest_file_reply_has_253_bytes(bench: Bench) -> None:
    # 2 for function and byte count, 2 for the group, 249 for 124 records and a half
    reply = bytes.fromhex(bench.ask("14 07 06 ff ff 00 00 00 7c"))
    assert reply[:4] == bytes((0x14, 250, 249, 6))
    assert len(reply) == 252
    assert bench.ask("14 07 06 ff ff 00 00 00 7d") == "94 03"
    assert bench.ask("14 0e 06 ff ff 00 00 00 3e 06 ff ff 00 00 00 3d").startswith("14 fa 7d 06")
    assert bench.ask("14 0e 06 ff ff 00 00 00 3e 06 ff ff 00 00 00 3e") == "94 03"
    assert bench.ask("14 07 06 00 04 00 00 ff ff") == "94 03", "it comes before 02"


def test_the_most_groups_of_a_request_are_35(bench: Bench) -> None:
    reply = bench.ask("14 f5" + " 06 00 04 00 00 00 01" * 35)
    assert reply == "14 8c" + " 03 06 0d fe" * 35


WRITE_FILE = "15 0d 06 00 04 00 07 00 03 06 af 04 be 10 0d"


def test_file_records_are_written(bench: Bench) -> None:
    assert bench.ask(WRITE_FILE) == WRITE_FILE
    assert bench.ask("14 07 06 00 04 00 06 00 04") == "14 0a 09 06 00 00 06 af 04 be 10 0d"
    both = "15 12 06 00 04 00 00 00 01 11 11 06 00 03 27 0f 00 01 22 22"
    assert bench.ask(both) == both
    assert bench.ask("14 0e 06 00 04 00 00 00 02 06 00 03 27 0e 00 02") == "14 0c 05 06 11 11 00 20 05 06 00 09 22 22"


def test_of_two_groups_on_the_same_records_the_later_one_stands(bench: Bench) -> None:
    bench.ask("15 12 06 00 04 00 00 00 01 11 11 06 00 04 00 00 00 01 22 22")
    assert bench.ask("14 07 06 00 04 00 00 00 01") == "14 04 03 06 22 22"


@pytest.mark.parametrize(
    "second",
    [
        "06 00 04 00 0a 00 01 22 22",
        "06 00 05 00 00 00 01 22 22",
        "07 00 04 00 00 00 01 22 22",
        "06 00 04 00 09 00 02 22 22 33 33",
    ],
)
def test_a_write_of_which_one_group_is_missing_writes_nothing(bench: Bench, second: str) -> None:
    first = "06 00 04 00 00 00 01 11 11"
    for groups in (f"{first} {second}", f"{second} {first}"):
        size = len(bytes.fromhex(groups))
        assert bench.ask(f"15 {size:02x} {groups}") == "95 02"
    assert bench.ask("14 07 06 00 04 00 00 00 02") == "14 06 05 06 0d fe 00 20"
    assert bench.ask("14 07 06 00 04 00 09 00 01") == "14 04 03 06 00 00"


@pytest.mark.parametrize(
    "asked",
    [
        "15",
        "15 00",
        "15 07 06 00 04 00 00 00 00",
        "15 08 06 00 04 00 00 00 01 11",
        "15 09 06 00 04 00 00 00 01 11",
        "15 08 06 00 04 00 00 00 01 11 11",
        "15 09 06 00 04 00 00 00 02 11 11",
        "15 0a 06 00 04 00 00 00 01 11 11 22",
        "15 0b 06 00 04 00 00 00 01 11 11 22 22",
        "15 0c 06 00 04 00 00 00 01 11 11 06 00 04",
        "15 10 06 00 04 00 00 00 01 11 11 06 00 04 00 00 00 00",
        "15 09 06 00 04 00 00 ff ff 11 11",
        "15 0d 06 00 04 00 07 00 03 06 af 04 be 10 0d 00",
    ],
)
def test_a_malformed_write_of_files_is_03_and_writes_nothing(bench: Bench, asked: str) -> None:
    assert bench.ask(asked) == "95 03"
    assert bench.ask("14 07 06 00 04 00 00 00 02") == "14 06 05 06 0d fe 00 20"


def test_the_longest_write_of_a_file(bench: Bench) -> None:
    # 251 bytes: a group of 122 records
    asked = "15 fb 06 ff ff 00 00 00 7a" + " 12 34" * 122
    assert bench.ask(asked) == asked
    assert bench.ask("14 07 06 ff ff 00 79 00 02") == "14 06 05 06 12 34 00 00"


def test_a_file_write_is_in_the_trail_with_old_and_new_values(bench: Bench) -> None:
    bench.ask("15 12 06 00 04 00 00 00 01 11 11 06 00 03 27 0f 00 01 22 22")
    intent, outcome = bench.trail()
    assert "outcome=intent" in intent
    assert (
        'outcome=done unit=1 function=21 range="file 4 0, file 3 9999"'
        in " ".join(outcome.split())[outcome.find("outcome=done") :]
    )
    assert "old=0dfe0009 new=11112222" in outcome


# function 24


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("18 00 28", "18 00 06 00 02 01 b8 12 84"),
        ("18 00 32", "18 00 02 00 00"),
        ("18 00 3c", "18 00 40 00 1f" + " 00 05" * 9 + " 00 20" + " 00 05" * 21),
        ("18 00 46", "98 03"),
        ("18 00 62", "18 00 04 00 01 00 07"),
        ("18 00 63", "98 02"),
        ("18 00 64", "98 02"),
        ("18 ff ff", "98 02"),
        ("18", "98 03"),
        ("18 00", "98 03"),
        ("18 00 28 00", "98 03"),
    ],
)
def test_a_queue_has_at_most_31_values(bench: Bench, asked: str, answered: str) -> None:
    assert bench.ask(asked) == answered


def test_reading_a_queue_takes_nothing_from_it(bench: Bench) -> None:
    before = bench.unit.holding.read(0, 100)
    bench.ask("18 00 28")
    assert bench.unit.holding.read(0, 100) == before


# function 43/14

VENDOR, CODE, REVISION = "00 04 41 43 4d 45", "01 02 58 31", "02 03 32 2e 30"
BASIC = f"{VENDOR} {CODE} {REVISION}"


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("2b 0e 01 00", f"2b 0e 01 81 00 00 03 {BASIC}"),
        ("2b 0e 01 01", f"2b 0e 01 81 00 00 02 {CODE} {REVISION}"),
        ("2b 0e 01 02", f"2b 0e 01 81 00 00 01 {REVISION}"),
        ("2b 0e 01 07", f"2b 0e 01 81 00 00 03 {BASIC}"),
        ("2b 0e 01 ff", f"2b 0e 01 81 00 00 03 {BASIC}"),
        ("2b 0e 02 00", f"2b 0e 02 81 00 00 03 {BASIC}"),
        ("2b 0e 03 00", f"2b 0e 03 81 00 00 03 {BASIC}"),
        ("2b 0e 04 01", f"2b 0e 04 81 00 00 01 {CODE}"),
        ("2b 0e 04 03", "ab 02"),
        ("2b 0e 04 ff", "ab 02"),
        ("2b 0e 00 00", "ab 03"),
        ("2b 0e 05 00", "ab 03"),
        ("2b 0e 01", "ab 03"),
        ("2b 0e 01 00 00", "ab 03"),
        ("2b 0e", "ab 03"),
        ("2b", "ab 03"),
        ("2b 0d 01 00", "ab 01"),
        ("2b 00", "ab 01"),
    ],
)
def test_the_identification_of_a_basic_device(bench: Bench, asked: str, answered: str) -> None:
    assert bench.ask(asked) == answered


@pytest.mark.parametrize(
    ("extra", "level"),
    [
        (IdentificationSettings("A", "B", "C"), 0x81),
        (IdentificationSettings("A", "B", "C", vendor_url="u"), 0x82),
        (IdentificationSettings("A", "B", "C", user_application_name="n"), 0x82),
        (IdentificationSettings("A", "B", "C", objects={"127": "x"}), 0x82),
        (IdentificationSettings("A", "B", "C", objects={"128": "x"}), 0x83),
        (IdentificationSettings("A", "B", "C", vendor_url="u", objects={"255": "x"}), 0x83),
    ],
)
def test_the_conformity_level_is_that_of_the_last_object(
    tmp_path: Path, extra: IdentificationSettings, level: int
) -> None:
    bench = Bench(tmp_path, UnitSettings(identification=extra))
    for asked in ("2b 0e 01 00", "2b 0e 04 00", "2b 0e 03 00"):
        assert bytes.fromhex(bench.ask(asked))[3] == level


def test_each_category_has_those_before_it(tmp_path: Path) -> None:
    told = IdentificationSettings("A", "B", "C", product_name="P", objects={"127": "x", "128": "y", "255": "z"})
    bench = Bench(tmp_path, UnitSettings(identification=told))
    basic, regular, extended = "00 01 41 01 01 42 02 01 43", "04 01 50 7f 01 78", "80 01 79 ff 01 7a"
    assert bench.ask("2b 0e 01 00") == f"2b 0e 01 83 00 00 03 {basic}"
    assert bench.ask("2b 0e 02 00") == f"2b 0e 02 83 00 00 05 {basic} {regular}"
    assert bench.ask("2b 0e 03 00") == f"2b 0e 03 83 00 00 07 {basic} {regular} {extended}"
    assert bench.ask("2b 0e 03 80") == f"2b 0e 03 83 00 00 02 {extended}"
    # an object that is not there, or not of the category: from the first one on
    assert bench.ask("2b 0e 03 03") == f"2b 0e 03 83 00 00 07 {basic} {regular} {extended}"
    assert bench.ask("2b 0e 02 80") == f"2b 0e 02 83 00 00 05 {basic} {regular}"
    assert bench.ask("2b 0e 04 ff") == "2b 0e 04 83 00 00 01 ff 01 7a"


def stream(bench: Bench, category: int) -> list[bytes]:
    """Follow "more follows" from object 0 to the end."""
    replies = [bytes.fromhex(bench.ask(f"2b 0e {category:02x} 00"))]
    while replies[-1][4] == 0xFF:
        replies.append(bytes.fromhex(bench.ask(f"2b 0e {category:02x} {replies[-1][5]:02x}")))
        assert len(replies) < 256
    return replies


def objects(replies: list[bytes]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for reply in replies:
        rest = reply[7:]
        for _ in range(reply[6]):
            found[rest[0]] = rest[2 : 2 + rest[1]]
            rest = rest[2 + rest[1] :]
        assert rest == b""
    return found


def test_what_does_not_fit_into_one_reply_follows(tmp_path: Path) -> None:
    sizes = {128: 244, 129: 120, 130: 122, 131: 1, 200: 200, 201: 40, 202: 0, 255: 244}
    told = IdentificationSettings(
        "A", "B", "C", objects={str(key): chr(65 + key % 26) * size for key, size in sizes.items()}
    )
    bench = Bench(tmp_path, UnitSettings(identification=told))
    replies = stream(bench, 3)
    # 246 bytes of objects fit into a reply: 129 and 130 fill one; 201 were one byte too many behind 131 and 200
    assert [(reply[4], reply[5], reply[6]) for reply in replies] == [
        (0xFF, 128, 3),
        (0xFF, 129, 1),
        (0xFF, 131, 2),
        (0xFF, 201, 2),
        (0xFF, 255, 2),
        (0, 0, 1),
    ]
    assert [len(reply) for reply in replies] == [16, 253, 253, 212, 51, 253]
    assert {key: len(value) for key, value in objects(replies).items()} == {0: 1, 1: 1, 2: 1} | sizes
    assert len(stream(bench, 1)) == 1


@pytest.mark.parametrize("size", [244, 245])
def test_an_object_has_at_most_244_bytes(size: int) -> None:
    objects = {"128": "x" * size}
    if size == 244:
        UnitSettings(identification=IdentificationSettings(objects=objects))
        return
    with pytest.raises(ValueError, match="object 128"):
        UnitSettings(identification=IdentificationSettings(objects=objects))


def test_a_unit_without_objects_has_none_to_show(bench: Bench) -> None:
    bench.unit.device = Device()
    assert bench.ask("2b 0e 01 00") == "ab 02"
    assert bench.ask("2b 0e 04 00") == "ab 02"
    assert bench.ask("11") == "11 01 ff"


def test_objects_may_come_in_any_order(bench: Bench) -> None:
    bench.unit.device = Device({2: b"c", 128: b"d", 0: b"a", 1: b"b"})
    assert bench.ask("2b 0e 03 00") == "2b 0e 03 83 00 00 04 00 01 61 01 01 62 02 01 63 80 01 64"
