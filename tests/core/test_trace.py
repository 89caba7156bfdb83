"""A frame's text: the recorded analysis word for word, every function's fields, and any bytes without a fault."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fieldgate_core.trace import Tracer, text

EXCHANGES: list[dict[str, str]] = json.loads(
    (Path(__file__).parents[1] / "vectors/seed-001-pipelined.json").read_text()
)["exchanges"]
FUNCTIONS = (*range(1, 9), 11, 12, 15, 16, 17, 20, 21, 22, 23, 24, 43, 0x83, 100)

GOLDEN = {
    "request: 00 01 00 00 00 06 00 05 00 01 ff 00": """\
  Transaction Identifier: 1 (00 01)
  Protocol Identifier: 0 (00 00)
  Length: 6 (00 06)
  Unit Identifier: 0 (00)
  Function Code: Write Single Coil (5) (05)
  Reference Number: 1 (00 01)
  Data: ff00 (ff 00)
    Data: 0xff (ff)
    Padding: 0x00 (00)""",
    "reply: 00 02 00 00 00 04 00 01 01 01": """\
  Transaction Identifier: 2 (00 02)
  Protocol Identifier: 0 (00 00)
  Length: 4 (00 04)
  Unit Identifier: 0 (00)
  Function Code: Read Coil (1) (01)
  Byte Count: 1 (01)
  Data: 01 (01)""",
}


@pytest.mark.parametrize("title", GOLDEN)
def test_the_recorded_analysis_is_given_word_for_word(title: str) -> None:
    direction, _, frame = title.partition(": ")
    assert text(bytes.fromhex(frame), reply=direction == "reply") == f"{title}\n{GOLDEN[title]}"


def frame(pdu: str, transaction: int = 7) -> bytes:
    """Put a PDU in hex into a frame for unit 1."""
    body = b"\x01" + bytes.fromhex(pdu)
    return transaction.to_bytes(2) + b"\0\0" + len(body).to_bytes(2) + body


def pdu_lines(pdu: str, *, reply: bool, request: str = "") -> list[str]:
    """Give the lines that follow the header, from the function code on."""
    shown = text(frame(pdu), reply=reply, request=frame(request) if request else b"").splitlines()
    assert [line.split(":")[0].strip() for line in shown[1:5]] == [
        "Transaction Identifier",
        "Protocol Identifier",
        "Length",
        "Unit Identifier",
    ]
    return [line[2:] for line in shown[5:]]


# a request, its lines, its reply, its lines; the function code's own line comes first and is left out where it repeats
CASES = {
    "Read Coil (1) (01)": (
        "01 0013 000a",
        ["Reference Number: 19 (00 13)", "Bit Count: 10 (00 0a)"],
        "01 02 cd 6b",
        ["Byte Count: 2 (02)", "Data: cd6b (cd 6b)", "  Bits 19-26: 1 0 1 1 0 0 1 1", "  Bits 27-28: 1 1"],
    ),
    "Read Discrete Inputs (2) (02)": (
        "02 0000 0009",
        ["Reference Number: 0 (00 00)", "Bit Count: 9 (00 09)"],
        "02 02 00 01",
        ["Byte Count: 2 (02)", "Data: 0001 (00 01)", "  Bits 0-7: 0 0 0 0 0 0 0 0", "  Bit 8: 1"],
    ),
    "Read Holding Registers (3) (03)": (
        "03 006b 0002",
        ["Reference Number: 107 (00 6b)", "Word Count: 2 (00 02)"],
        "03 04 022b ffff",
        ["Byte Count: 4 (04)", "Register 107: 555 (02 2b)", "Register 108: 65535 (ff ff)"],
    ),
    "Read Input Registers (4) (04)": (
        "04 0008 0001",
        ["Reference Number: 8 (00 08)", "Word Count: 1 (00 01)"],
        "04 02 000a",
        ["Byte Count: 2 (02)", "Register 8: 10 (00 0a)"],
    ),
    "Write Single Coil (5) (05)": (
        "05 00ac 0000",
        ["Reference Number: 172 (00 ac)", "Data: 0000 (00 00)", "  Data: 0x00 (00)", "  Padding: 0x00 (00)"],
        "05 00ac 0000",
        ["Reference Number: 172 (00 ac)", "Data: 0000 (00 00)", "  Data: 0x00 (00)", "  Padding: 0x00 (00)"],
    ),
    "Write Single Register (6) (06)": (
        "06 0001 0003",
        ["Reference Number: 1 (00 01)", "Register 1: 3 (00 03)"],
        "06 0001 0003",
        ["Reference Number: 1 (00 01)", "Register 1: 3 (00 03)"],
    ),
    "Read Exception Status (7) (07)": ("07", [], "07 6d", ["Exception Status: 6d (6d)"]),
    "Diagnostics (8) (08)": (
        "08 0000 a537",
        ["Diagnostic Code: 0 (00 00)", "Data: a537 (a5 37)"],
        "08 0000 a537",
        ["Diagnostic Code: 0 (00 00)", "Data: a537 (a5 37)"],
    ),
    "Get Comm Event Counter (11) (0b)": (
        "0b",
        [],
        "0b ffff 0108",
        ["Status: ffff (ff ff)", "Event Count: 264 (01 08)"],
    ),
    "Get Comm Event Log (12) (0c)": (
        "0c",
        [],
        "0c 08 0000 0108 0121 20 00",
        [
            "Byte Count: 8 (08)",
            "Status: 0000 (00 00)",
            "Event Count: 264 (01 08)",
            "Message Count: 289 (01 21)",
            "Events: 2000 (20 00)",
        ],
    ),
    "Write Multiple Coils (15) (0f)": (
        "0f 0013 000a 02 cd 01",
        [
            "Reference Number: 19 (00 13)",
            "Bit Count: 10 (00 0a)",
            "Byte Count: 2 (02)",
            "Data: cd01 (cd 01)",
            "  Bits 19-26: 1 0 1 1 0 0 1 1",
            "  Bits 27-28: 1 0",
        ],
        "0f 0013 000a",
        ["Reference Number: 19 (00 13)", "Bit Count: 10 (00 0a)"],
    ),
    "Write Multiple Registers (16) (10)": (
        "10 0001 0002 04 000a 0102",
        [
            "Reference Number: 1 (00 01)",
            "Word Count: 2 (00 02)",
            "Byte Count: 4 (04)",
            "Register 1: 10 (00 0a)",
            "Register 2: 258 (01 02)",
        ],
        "10 0001 0002",
        ["Reference Number: 1 (00 01)", "Word Count: 2 (00 02)"],
    ),
    "Report Server ID (17) (11)": ("11", [], "11 03 41 42 ff", ["Byte Count: 3 (03)", "Data: 4142ff (41 42 ff)"]),
    "Read File Record (20) (14)": (
        "14 0e 06 0004 0001 0002 06 0003 0009 0001",
        [
            "Byte Count: 14 (0e)",
            "Reference Type: 6 (06)",
            "File Number: 4 (00 04)",
            "Record Number: 1 (00 01)",
            "Record Length: 2 (00 02)",
            "Reference Type: 6 (06)",
            "File Number: 3 (00 03)",
            "Record Number: 9 (00 09)",
            "Record Length: 1 (00 01)",
        ],
        "14 0a 05 06 0dfe 0020 03 06 33cd",
        [
            "Byte Count: 10 (0a)",
            "File Response Length: 5 (05)",
            "Reference Type: 6 (06)",
            "Record Data: 0dfe0020 (0d fe 00 20)",
            "File Response Length: 3 (03)",
            "Reference Type: 6 (06)",
            "Record Data: 33cd (33 cd)",
        ],
    ),
    "Write File Record (21) (15)": (
        "15 09 06 0004 0007 0001 06af",
        [
            "Byte Count: 9 (09)",
            "Reference Type: 6 (06)",
            "File Number: 4 (00 04)",
            "Record Number: 7 (00 07)",
            "Record Length: 1 (00 01)",
            "Record Data: 06af (06 af)",
        ],
        "15 09 06 0004 0007 0001 06af",
        [
            "Byte Count: 9 (09)",
            "Reference Type: 6 (06)",
            "File Number: 4 (00 04)",
            "Record Number: 7 (00 07)",
            "Record Length: 1 (00 01)",
            "Record Data: 06af (06 af)",
        ],
    ),
    "Mask Write Register (22) (16)": (
        "16 0004 00f2 0025",
        ["Reference Number: 4 (00 04)", "AND Mask: 00f2 (00 f2)", "OR Mask: 0025 (00 25)"],
        "16 0004 00f2 0025",
        ["Reference Number: 4 (00 04)", "AND Mask: 00f2 (00 f2)", "OR Mask: 0025 (00 25)"],
    ),
    "Read/Write Multiple Registers (23) (17)": (
        "17 0003 0002 000e 0001 02 00ff",
        [
            "Read Reference Number: 3 (00 03)",
            "Read Word Count: 2 (00 02)",
            "Write Reference Number: 14 (00 0e)",
            "Write Word Count: 1 (00 01)",
            "Byte Count: 2 (02)",
            "Register 14: 255 (00 ff)",
        ],
        "17 04 00fe 0acd",
        ["Byte Count: 4 (04)", "Register 3: 254 (00 fe)", "Register 4: 2765 (0a cd)"],
    ),
    "Read FIFO Queue (24) (18)": (
        "18 04de",
        ["FIFO Pointer Address: 1246 (04 de)"],
        "18 0006 0002 01b8 1284",
        ["Byte Count: 6 (00 06)", "FIFO Count: 2 (00 02)", "Register: 440 (01 b8)", "Register: 4740 (12 84)"],
    ),
    "Encapsulated Interface Transport (43) (2b)": (
        "2b 0e 01 00",
        [
            "MEI Type: Read Device Identification (14) (0e)",
            "Read Device ID Code: 1 (01)",
            "Object ID: 0 (00)",
        ],
        "2b 0e 01 82 00 00 02 00 04 41636d65 01 03 0a4122",
        [
            "MEI Type: Read Device Identification (14) (0e)",
            "Read Device ID Code: 1 (01)",
            "Conformity Level: 82 (82)",
            "More Follows: 0 (00)",
            "Next Object ID: 0 (00)",
            "Number of Objects: 2 (02)",
            "Object ID: 0 (00)",
            "Object Length: 4 (04)",
            "Object Value: Acme (41 63 6d 65)",
            "Object ID: 1 (01)",
            "Object Length: 3 (03)",
            'Object Value: \\nA\\" (0a 41 22)',
        ],
    ),
}


@pytest.mark.parametrize("function", CASES)
def test_every_function_has_its_fields(function: str) -> None:
    request, asked, reply, answered = CASES[function]
    assert pdu_lines(request, reply=False) == [f"Function Code: {function}", *asked]
    assert pdu_lines(reply, reply=True, request=request) == [f"Function Code: {function}", *answered]


def test_an_exception_is_named() -> None:
    shown = ["Function Code: Read Holding Registers, exception (131) (83)"]
    assert pdu_lines("83 02", reply=True) == [*shown, "Exception Code: illegal data address (2) (02)"]
    assert pdu_lines("83 63", reply=True) == [*shown, "Exception Code: unknown exception (99) (63)"]


@pytest.mark.parametrize(
    ("request_pdu", "transaction"), [("03 006b 0001", 8), ("04 006b 0001", 7), ("", 7), ("03 00", 7)]
)
def test_a_request_that_is_not_the_replys_tells_no_addresses(request_pdu: str, transaction: int) -> None:
    shown = text(frame("03 02 022b"), reply=True, request=frame(request_pdu, transaction))
    assert shown.splitlines()[-1] == "  Register: 555 (02 2b)"


@pytest.mark.parametrize(
    ("pdu", "reply", "last"),
    [
        ("83 02", False, ["Function Code: Unknown (131) (83)", "Data: 02 (02)"]),
        (
            "e4 02",
            True,
            ["Function Code: Unknown, exception (228) (e4)", "Exception Code: illegal data address (2) (02)"],
        ),
        ("64 0102", False, ["Function Code: Unknown (100) (64)", "Data: 0102 (01 02)"]),
        ("03 00", False, ["Function Code: Read Holding Registers (3) (03)", "Data: 00 (00)"]),
        ("03 0001 0002 99", False, ["Word Count: 2 (00 02)", "Data: 99 (99)"]),
        ("03 04 0001", True, ["Byte Count: 4 (04)", "Data: 0001 (00 01)"]),
        ("03 03 0001 02", True, ["Register: 1 (00 01)", "Data: 02 (02)"]),
        ("01 05 cd", True, ["Byte Count: 5 (05)", "Data: cd (cd)"]),
        ("0c 05 0000 0108 0121 20", True, ["Message Count: 289 (01 21)", "Data: 20 (20)"]),
        ("14 03 00 06 01", True, ["Reference Type: 6 (06)", "Data: 01 (01)"]),
        (
            "2b 0e 01 82 00 00 02 05 00 06 01 41",
            True,
            [
                "Object ID: 5 (05)",
                "Object Length: 0 (00)",
                "Object ID: 6 (06)",
                "Object Length: 1 (01)",
                "Object Value: A (41)",
            ],
        ),
        ("2b 0d 01", False, ["MEI Type: CANopen General Reference (13) (0d)", "Data: 01 (01)"]),
        ("2b", False, ["Function Code: Encapsulated Interface Transport (43) (2b)"]),
    ],
)
def test_what_no_field_accounts_for_is_data(pdu: str, reply: bool, last: list[str]) -> None:
    assert pdu_lines(pdu, reply=reply)[-len(last) :] == last


@pytest.mark.parametrize(
    ("part", "lines"),
    [
        ("", ["request: "]),
        ("00", ["request: 00", "  Data: 00 (00)"]),
        ("0001 00", ["request: 00 01 00", "  Transaction Identifier: 1 (00 01)", "  Data: 00 (00)"]),
    ],
)
def test_a_cut_header_is_shown_as_far_as_it_goes(part: str, lines: list[str]) -> None:
    assert text(bytes.fromhex(part), reply=False).splitlines() == lines


def test_a_peer_stands_before_the_direction_on_one_line() -> None:
    assert text(b"\0", reply=True, peer='a"\nb').splitlines()[0] == 'a\\"\\nb reply: 00'


FRAMES = st.binary(max_size=300) | st.builds(
    lambda code, rest: frame(bytes((code, *rest)).hex()), st.sampled_from(FUNCTIONS), st.binary(max_size=252)
)


@given(FRAMES, st.booleans(), FRAMES, st.text(max_size=20))
@example(frame("14 04 00 06 00 06"), True, b"", "")
def test_any_bytes_have_a_text_whose_fields_are_all_of_them(
    data: bytes, reply: bool, request: bytes, peer: str
) -> None:
    if reply and request:
        # give half of them a request that counts
        request = data[:2] + request[2:7] + data[7:8] + request[8:]
    shown = text(data, reply=reply, request=request, peer=peer)
    title, *lines = shown.split("\n")
    assert all(line.isascii() and line.isprintable() for line in (title, *lines))
    assert title.endswith(f"{'reply' if reply else 'request'}: {data.hex(' ')}")
    parts = [re.fullmatch(r"  (\S.*): .* ?\(([0-9a-f ]*)\)", line) for line in lines if not line.startswith("   ")]
    assert bytes.fromhex(" ".join(part[2] if part else "?" for part in parts)) == data


@given(st.lists(st.integers(1, 40), min_size=1))
def test_replies_are_whole_however_the_stream_is_cut(sizes: list[int]) -> None:
    shown: list[str] = []
    wanted: list[str] = []
    tracer = Tracer(shown.append)
    for exchange in EXCHANGES:
        request, reply = bytes.fromhex(exchange["request"]), bytes.fromhex(exchange["reply"])
        tracer.request(request)
        at = 0
        for size in (*sizes, len(reply)):
            tracer.received(reply[at : at + size])
            at += size
        wanted += [text(request, reply=False), text(reply, reply=True, request=request)]
    tracer.ended()
    assert shown == wanted


def test_replies_in_one_piece_are_cut() -> None:
    shown: list[str] = []
    replies = [bytes.fromhex(exchange["reply"]) for exchange in EXCHANGES]
    Tracer(shown.append).received(b"".join(replies))
    assert shown == [text(reply, reply=True) for reply in replies]


@pytest.mark.parametrize("head", ["0001 0000 0000", "0001 0000 0001 01", "0001 0000 00ff 01", "0001 0001 0006 01"])
def test_bytes_that_cannot_become_a_reply_are_shown_at_once(head: str) -> None:
    shown: list[str] = []
    tracer = Tracer(shown.append)
    tracer.received(frame("83 02") + bytes.fromhex(head))
    assert shown == [text(frame("83 02"), reply=True), text(bytes.fromhex(head), reply=True)]


def test_the_start_of_a_reply_is_shown_when_the_rest_cannot_come_any_more() -> None:
    shown: list[str] = []
    tracer = Tracer(shown.append)
    tracer.received(frame("83 02")[:-1])
    assert shown == []
    tracer.ended()
    tracer.ended()
    assert shown == [text(frame("83 02")[:-1], reply=True)]
