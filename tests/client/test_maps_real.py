"""Two devices as the register maps of four tools name them: all four are read as the same points."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from fieldgate_client.grouping import plan
from fieldgate_client.maps import home_assistant, modbus_exporter, modpoll, telegraf
from fieldgate_client.maps.model import Imported
from fieldgate_client.maps.modpoll import AddressBase
from fieldgate_client.points import Point
from fieldgate_client.values import Encoding
from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import Table

MAPS = Path(__file__).parent / "maps"
FLOAT = Encoding("FLOAT32")
TEXT = Encoding("STRING", length=16)


def holding(name: str, address: int, encoding: Encoding, scale: float = 1.0, unit: str = "") -> Point:
    return Point(name, Table.HOLDING, address, encoding, scale=scale, unit=unit)


SUNSPEC = [
    holding("manufacturer", 40004, TEXT),
    holding("model", 40020, TEXT),
    holding("serial_number", 40052, TEXT),
    holding("sunspec_did", 40069, Encoding("UINT16")),
    holding("ac_current", 40071, Encoding("UINT16"), 0.01, "A"),
    holding("ac_current_sf", 40075, Encoding("INT16")),
    holding("ac_voltage_an", 40079, Encoding("UINT16"), 0.1, "V"),
    holding("ac_voltage_bn", 40080, Encoding("UINT16"), 0.1, "V"),
    holding("ac_voltage_cn", 40081, Encoding("UINT16"), 0.1, "V"),
    holding("ac_power", 40083, Encoding("INT16"), 1, "W"),
    holding("ac_frequency", 40085, Encoding("UINT16"), 0.01, "Hz"),
    holding("ac_energy", 40093, Encoding("UINT32"), 0.001, "kWh"),
    holding("dc_voltage", 40098, Encoding("UINT16"), 0.1, "V"),
    holding("dc_power", 40100, Encoding("INT16"), 1, "W"),
    holding("sink_temperature", 40103, Encoding("INT16"), 0.01, "°C"),
    holding("status", 40107, Encoding("UINT16")),
]
METER_UNITS = {
    "V": {"voltage_l1": 0, "voltage_l2": 2, "voltage_l3": 4},
    "A": {"current_l1": 6, "current_l2": 8, "current_l3": 10},
    "W": {"power_l1": 12, "power_l2": 14, "power_l3": 16, "power_total": 52},
    "": {"power_factor": 62},
    "Hz": {"frequency": 70},
    "kWh": {"import_energy": 72, "export_energy": 74, "total_energy": 342},
}
METER = [
    Point(name, Table.INPUT, address, FLOAT, unit=unit)
    for unit, names in METER_UNITS.items()
    for name, address in names.items()
] + [holding("demand_period", 2, FLOAT, unit="min"), holding("modbus_node", 20, FLOAT)]

Read = Callable[[str, str], Imported]
FILES: dict[str, tuple[Read, list[Point], int]] = {
    "sunspec-103.telegraf.toml": (telegraf.read, SUNSPEC, 126),
    "sdm630.telegraf.toml": (telegraf.read, METER, 1),
    "sunspec-103.home-assistant.yaml": (home_assistant.read, SUNSPEC, 126),
    "sdm630.home-assistant.yaml": (home_assistant.read, METER, 1),
    "sunspec-103.modpoll.csv": (
        lambda text, where: modpoll.read(text, where, base=AddressBase.ZERO),
        SUNSPEC,
        126,
    ),
    "sdm630.modpoll.csv": (lambda text, where: modpoll.read(text, where, base=AddressBase.MODICON), METER, 1),
    "sunspec-103.modbus-exporter.yml": (
        lambda text, where: modbus_exporter.read(text, where, device="inverter"),
        [point for point in SUNSPEC if point.encoding != TEXT],
        126,
    ),
    "sdm630.modbus-exporter.yml": (modbus_exporter.read, METER, 1),
}
WARNINGS = {
    "sunspec-103.telegraf.toml": ["left out: timeout, controller"],
    "sdm630.telegraf.toml": ["left out: tags", "left out: optimization", "left out: controller, interval"],
    "sunspec-103.home-assistant.yaml": ["(ac_power): left out: device_class, state_class, scan_interval", "type, host"],
    "sdm630.home-assistant.yaml": ["left out: type, host, port, climates"],
    "sunspec-103.modpoll.csv": [],
    "sdm630.modpoll.csv": [],
    "sunspec-103.modbus-exporter.yml": ["left out: protocol, timeout, workarounds"],
    "sdm630.modbus-exporter.yml": ["is named 'voltage_l2' here, for 'voltage' is taken", "left out: protocol"],
}


def shape(points: list[Point] | tuple[Point, ...]) -> dict[tuple[Table, int], tuple[str, float]]:
    return {(point.table, point.address): (str(point.encoding), point.scale) for point in points}


@pytest.mark.parametrize("name", FILES)
def test_a_map_of_another_tool_is_read(name: str) -> None:
    read, expected, unit = FILES[name]
    found = read((MAPS / name).read_text(), name)
    assert shape(found.points) == shape(expected)
    carries_units = "home" in name or "modpoll" in name
    for point, meant in zip(found.points, expected, strict=True):
        assert point.name == meant.name or ("exporter" in name and point.name == meant.name.removesuffix("_l1"))
        assert point.unit == (meant.unit if carries_units else "")
        assert point.unit_id == (None if "exporter" in name else unit)
        assert point.writable is (name == "sdm630.modpoll.csv" and meant.table is Table.HOLDING)
    for line in WARNINGS[name]:
        assert any(line in warning for warning in found.warnings), (line, found.warnings)
    assert bool(found.warnings) is bool(WARNINGS[name])


def test_every_format_reads_two_devices() -> None:
    assert sorted(path.name for path in MAPS.iterdir()) == sorted(FILES)


def test_values_of_the_inverter() -> None:
    """The registers of a SunSpec inverter that makes 4.2 kW, by hand."""
    points = {point.name: point for point in SUNSPEC}
    assert points["manufacturer"].decode([0x536F, 0x6C61, 0x7245, 0x6467, 0x6500, *[0] * 11]) == "SolarEdge"
    assert points["ac_voltage_an"].decode([2304]) == 230.4
    assert points["ac_power"].decode([0xFFFB]) == -5
    assert points["ac_energy"].decode([0x0012, 0xD687]) == 1234.567
    assert points["sink_temperature"].decode([0xFF38]) == -2.0


def test_the_meter_is_read_with_few_requests() -> None:
    alone = plan(METER, unit=1)
    assert [(str(read.table), str(read.range)) for read in alone] == [
        ("holding", "2-3"),
        ("holding", "20-21"),
        ("input", "0-17"),
        ("input", "52-53"),
        ("input", "62-63"),
        ("input", "70-75"),
        ("input", "342-343"),
    ]
    gaps = plan(METER, unit=1, gap=40)
    assert [(str(read.table), str(read.range)) for read in gaps] == [
        ("holding", "2-21"),
        ("input", "0-75"),
        ("input", "342-343"),
    ]


# what is wrong in such a file, and where


@pytest.mark.parametrize(
    ("read", "text", "where", "problem"),
    [
        (telegraf.read, "[[inputs.modbus]]\nx = [", "m", "not valid TOML"),
        (telegraf.read, "", "m", "holds no points"),
        (telegraf.read, '[[inputs.modbus]]\nconfiguration_type = "old"', "configuration_type", "no style"),
        (
            telegraf.read,
            '[[inputs.modbus]]\nholding_registers = [{name="a", byte_order="AB", data_type="INT32", address=[1]}]',
            "holding_registers[0]: address",
            "INT32 does not fill 1 registers",
        ),
        (
            telegraf.read,
            '[[inputs.modbus]]\nholding_registers = [{name="a", byte_order="AB", data_type="STRING", address=[1]}]',
            "holding_registers[0]: data_type",
            "STRING has no place in the register style",
        ),
        (
            telegraf.read,
            '[[inputs.modbus]]\ncoils = [{name="a", address=[1,3]}]',
            "coils[0]: address",
            "not consecutive",
        ),
        (
            telegraf.read,
            '[[inputs.modbus]]\nconfiguration_type="metric"\n[[inputs.modbus.metric]]\n'
            'fields = [{address=1, name="a", type="INT24"}]',
            "fields[0]",
            "'INT24' is no type",
        ),
        (home_assistant.read, "modbus: [", "m, line 1", "not valid YAML"),
        (home_assistant.read, "modbus: 5", "modbus", "must be a list"),
        (
            home_assistant.read,
            "modbus: [{sensors: [{name: a, address: x}]}]",
            "sensors[0]: address",
            "must be a whole number",
        ),
        (
            home_assistant.read,
            "modbus: [{sensors: [{name: a, address: 1, swap: both}]}]",
            "sensors[0]",
            "'both' is no swap",
        ),
        (
            home_assistant.read,
            "modbus: [{sensors: [{name: a, address: 65535, data_type: int32}]}]",
            "sensors[0]",
            "address 65535",
        ),
        (
            modbus_exporter.read,
            "modules: [{name: m, metrics: [{name: a, help: '', address: 500001, dataType: int16}]}]",
            "metrics[0]: address",
            "begin with a function",
        ),
        (
            modbus_exporter.read,
            "modules: [{name: m, metrics: [{name: a, address: 300001, dataType: int8}]}]",
            "metrics[0]",
            "'int8' is no dataType",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(read: Read, text: str, where: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text, "m")
    assert where in caught.value.where
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    ("rows", "line", "problem"),
    [
        ("ref,a,1,int16,r", 1, "comes after a device and a poll"),
        ("device,d,1\npoll,register,0,1,BE_BE", 2, "'register' is no table"),
        ("device,d,1\npoll,coil,0,1,XX", 2, "'XX' is no byte order"),
        ("device,d,one", 1, "must be a whole number"),
        ("device,d,1\npoll,holding_register,0,9,BE_BE\nref,a,x,int16,r", 3, "address must be a whole number"),
        ("device,d,1\npoll,holding_register,0,9,BE_BE\nref,a,1,int8,r", 3, "'int8' is no type"),
        ("device,d,1\npoll,input_register,0,9,BE_BE\nref,a,1,int16,rw", 3, "never written"),
        ("device,d,1\npoll,coil,0,8,BE_BE\nref,a,1,bool,r", 3, "a lies outside its poll"),
        ("device,d,1\npoll,coil,0,8,BE_BE\nref,a,0,int16,r", 3, "are BOOL"),
        ("poller,d,1", 1, "'poller' is no row"),
        ("device,d,1\rpoller,d,1", 2, "'poller' is no row"),
        ('device,"' + 200_000 * "d", 1, "is not valid CSV"),
    ],
)
def test_a_wrong_row_of_modpoll_is_told_with_its_line(rows: str, line: int, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        modpoll.read(rows, "m", base=AddressBase.ZERO)
    assert caught.value.where == f"m, line {line}"
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    ("base", "table", "number", "address"),
    [
        ("0", Table.HOLDING, 40001, 40001),
        ("1", Table.HOLDING, 1, 0),
        ("modicon", Table.HOLDING, 40001, 0),
        ("modicon", Table.HOLDING, 400001, 0),
        ("modicon", Table.HOLDING, 465536, 65535),
        ("modicon", Table.INPUT, 39999, 9998),
        ("modicon", Table.DISCRETE, 10001, 0),
        ("modicon", Table.COILS, 1, 0),
        ("modicon", Table.COILS, 65536, 65535),
    ],
)
def test_the_base_of_addresses(base: str, table: Table, number: int, address: int) -> None:
    assert AddressBase(base).address(table, number) == address


@pytest.mark.parametrize(("table", "number"), [(Table.HOLDING, 30001), (Table.INPUT, 40001), (Table.COILS, 0)])
def test_a_number_of_another_table_is_refused(table: Table, number: int) -> None:
    with pytest.raises(ValueError, match="by Modicon's numbers"):
        AddressBase.MODICON.address(table, number)


def test_telegrafs_old_float32_is_no_float() -> None:
    """In the register style FLOAT32 is an old word for UFIXED; the float is called FLOAT32-IEEE there."""
    text = """[[inputs.modbus]]
    holding_registers = [
      { name = "a", byte_order = "ABCD", data_type = "FLOAT32", scale = 0.1, address = [0, 1] },
      { name = "b", byte_order = "CDAB", data_type = "FLOAT32-IEEE", scale = 1.0, address = [2, 3] },
      { name = "c", byte_order = "GHEFCDAB", data_type = "INT64", scale = 1.0, address = [4, 5, 6, 7] },
      { name = "d", byte_order = "BA", data_type = "FIXED", scale = 1.0, address = [8] },
    ]"""
    found = telegraf.read(text, "m").points
    shown = ["UINT32 ABCD", "FLOAT32 CDAB", "INT64 CDAB", "INT16 BA"]
    assert [str(point.encoding) for point in found] == shown


def test_home_assistants_own_ways() -> None:
    text = """
    - name: hub
      sensors:
        - {name: custom float, address: 1, data_type: custom, structure: ">f", count: 2}
        - {name: turned, address: 9, data_type: string, count: 4, swap: word}
        - {name: swapped, address: 13, data_type: string, count: 4, swap: byte}
        - {name: two numbers, address: 3, data_type: custom, structure: ">hh", count: 2}
      binary_sensors:
        - {name: door, address: 5, input_type: discrete_input}
        - {name: flag, address: 6, input_type: holding}
      switches:
        - {name: pump, address: 7}
        - {name: mode, address: 8, write_type: holding, command_on: 2}
    """
    found = home_assistant.read(text, "m")
    assert [(point.name, str(point.encoding), str(point.table), point.writable) for point in found.points] == [
        ("custom float", "FLOAT32 ABCD", "holding", False),
        ("swapped", "STRING 4 BA", "holding", False),
        ("door", "BOOL", "discrete", False),
        ("flag", "BIT 0 AB", "holding", False),
        ("pump", "BOOL", "coils", True),
        ("mode", "UINT16 AB", "holding", True),
    ]
    assert any("two numbers is left out" in line for line in found.warnings)
    assert any("turned is left out" in line for line in found.warnings)
    assert any("(mode): left out: command_on" in line for line in found.warnings)


def test_modpolls_own_ways() -> None:
    """As modpoll 1.6 reads it: coils in groups of eight from the poll's start, texts without a byte order."""
    rows = """device,one,1
poll,holding_register,0x0,9,LE_BE
ref,alarm,3:15,bool,r
ref,status,3,bool,r
ref,text,4,string5,rw
ref,small,8,float16,r
poll,holding_register,20,2
ref,unsaid,20,int32,r
poll,coil,0,10,
ref,group,0,bool8,rw
ref,rest,1,bool8,rw
poll,coil,40,1,BE_BE
ref,pump,40,bool,rw
device,two,2
poll,coil,9,1,BE_BE
ref,pump,9,bool,r,,,more"""
    found = modpoll.read(rows, "m", base=AddressBase.ZERO)
    coils = [(f"group_{number}", number, "BOOL", 1) for number in range(8)]
    assert [(point.name, point.address, str(point.encoding), point.unit_id) for point in found.points] == [
        ("alarm", 3, "BIT 15 BA", 1),
        ("text", 4, "STRING 3 AB", 1),
        ("small", 8, "FLOAT16 BA", 1),
        ("unsaid", 20, "INT32 CDAB", 1),
        *coils,
        ("rest_0", 8, "BOOL", 1),
        ("rest_1", 9, "BOOL", 1),
        ("pump", 40, "BOOL", 1),
        ("pump_two", 9, "BOOL", 2),
    ]
    for part in (
        "status is left out",
        "group is 8 coils: group_0 to group_7 here",
        "rest is 2 coils",
        "left out: more",
    ):
        assert any(part in line for line in found.warnings), part
    assert [point.name for point in modpoll.read(rows, "m", base=AddressBase.ZERO, device="two").points] == ["pump"]


def test_the_exporter_swaps_one_register_for_little_only() -> None:
    def encoding(kind: str, endianness: str) -> str:
        metric = f"{{name: a, address: 300001, dataType: {kind}, endianness: {endianness}}}"
        text = f"modules: [{{name: m, metrics: [{metric}]}}]"
        return str(modbus_exporter.read(text, "m").points[0].encoding)

    assert [encoding("int16", word) for word in ("big", "little", "mixed", "yolo")] == [
        f"INT16 {order}" for order in ("AB", "BA", "AB", "AB")
    ]
    assert [encoding("int32", word) for word in ("big", "little", "mixed", "yolo")] == [
        f"INT32 {order}" for order in ("ABCD", "DCBA", "BADC", "CDAB")
    ]


def test_a_name_that_is_taken_is_told_apart_and_said() -> None:
    points = [dataclasses.replace(METER[0], name=name) for name in ("a b", "a_b", "7")]
    exported = modbus_exporter.write(points)
    names = [point.name for point in modbus_exporter.read(exported.text, "m").points]
    assert names == ["a_b", "a_b_2", "_7"]
    assert [line for line in exported.warnings if "is named" in line] == [
        "is named a_b there, for it has no such names: a b",
        "is named a_b_2 there, for it has no such names: a_b",
        "is named _7 there, for it has no such names: 7",
    ]
