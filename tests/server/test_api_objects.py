"""The API's names, the identification objects, the containers, and what a server is made of."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable

import pytest

import fieldgate_server
from fieldgate_server import DataBank, DataHandler, DeviceIdentification, ModbusServer, constants
from fieldgate_server.server_info import SessionData


def test_the_package_gives_its_four_names_and_imports_no_event_loop_for_that() -> None:
    for name in ("DataBank", "DataHandler", "DeviceIdentification", "ModbusServer"):
        assert name in fieldgate_server.__all__
        assert getattr(fieldgate_server, name).__name__ == name
    with pytest.raises(AttributeError, match="NoSuch"):
        fieldgate_server.NoSuch  # noqa: B018
    probe = "import sys, fieldgate_server; print('asyncio' in sys.modules); fieldgate_server.ModbusServer; "
    probe += "print('asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


PAGE = {
    ModbusServer: [
        "__init__(self, host='localhost', port=502, no_block=False, ipv6=False, data_bank=None, data_hdl=None, "
        "ext_engine=None, device_id=None, *, policy=None, audit=None)",
        "start(self)",
        "stop(self)",
        "is_run(self)",
    ],
    DataBank: [
        "__init__(self, coils_size=65536, coils_default_value=False, d_inputs_size=65536, "
        "d_inputs_default_value=False, h_regs_size=65536, h_regs_default_value=0, i_regs_size=65536, "
        "i_regs_default_value=0, virtual_mode=False)",
        "get_coils(self, address, number=1, srv_info=None)",
        "set_coils(self, address, bit_list, srv_info=None)",
        "get_discrete_inputs(self, address, number=1, srv_info=None)",
        "set_discrete_inputs(self, address, bit_list)",
        "get_holding_registers(self, address, number=1, srv_info=None)",
        "set_holding_registers(self, address, word_list, srv_info=None)",
        "get_input_registers(self, address, number=1, srv_info=None)",
        "set_input_registers(self, address, word_list)",
        "on_coils_change(self, address, from_value, to_value, srv_info)",
        "on_holding_registers_change(self, address, from_value, to_value, srv_info)",
        "get_bits(*_args, **_kwargs)",
        "set_bits(*_args, **_kwargs)",
        "get_words(*_args, **_kwargs)",
        "set_words(*_args, **_kwargs)",
    ],
    DataHandler: [
        "__init__(self, data_bank=None)",
        "read_coils(self, address, count, srv_info)",
        "write_coils(self, address, bits_l, srv_info)",
        "read_d_inputs(self, address, count, srv_info)",
        "read_h_regs(self, address, count, srv_info)",
        "write_h_regs(self, address, words_l, srv_info)",
        "read_i_regs(self, address, count, srv_info)",
    ],
    DeviceIdentification: [
        "__init__(self, vendor_name=b'', product_code=b'', major_minor_revision=b'', vendor_url=b'', "
        "product_name=b'', model_name=b'', user_application_name=b'', objects_id=None)",
        "__getitem__(self, key)",
        "__setitem__(self, key, value)",
        "items(self)",
    ],
}
"""The page's signatures, with `policy` and `audit` added."""


@pytest.mark.parametrize(("owner", "text"), [(owner, text) for owner, texts in PAGE.items() for text in texts])
def test_the_signatures_are_the_page_s(owner: type, text: str) -> None:
    name = text.partition("(")[0]
    signature = inspect.signature(getattr(owner, name))
    bare = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
    assert name + str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)) == text


def test_the_constants_are_those_of_the_standard() -> None:
    assert constants.READ_COILS == 1
    assert constants.WRITE_READ_MULTIPLE_REGISTERS == 23
    assert constants.ENCAPSULATED_INTERFACE_TRANSPORT == 0x2B
    assert [constants.EXP_NONE, constants.EXP_ILLEGAL_FUNCTION, constants.EXP_DATA_ADDRESS] == [0, 1, 2]
    assert [constants.EXP_DATA_VALUE, constants.EXP_SLAVE_DEVICE_FAILURE] == [3, 4]
    assert constants.EXP_GATEWAY_TARGET_DEVICE_FAILED_TO_RESPOND == 0x0B


def test_identification_objects_are_read_and_set_by_item() -> None:
    about = DeviceIdentification(vendor_name=b"v", model_name=b"m", objects_id={0x80: b"own"})
    assert (about.vendor_name, about.model_name, about.product_code) == (b"v", b"m", b"")
    assert about[0x80] == b"own"
    about[1] = b"code"
    about[255] = b"last"
    assert about.product_code == about[1] == b"code"
    assert list(about.items()) == [
        (0, b"v"), (1, b"code"), (2, b""), (3, b""), (4, b""), (5, b"m"), (6, b""), (0x80, b"own"), (255, b"last"),
    ]  # fmt: skip
    names = "vendor_name", "product_code", "major_minor_revision", "vendor_url"
    names += "product_name", "model_name", "user_application_name"  # type: ignore[assignment]
    assert [getattr(about, name) for name in names] == [about[key] for key in range(7)]


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        (256, b"", ValueError),
        (-1, b"", ValueError),
        ("1", b"", TypeError),
        (1, "text", TypeError),
        (1, b"x" * 245, ValueError),
    ],
)
def test_what_is_no_identification_object_is_refused(key: int, value: bytes, error: type[Exception]) -> None:
    about = DeviceIdentification()
    with pytest.raises(error):
        about[key] = value
    with pytest.raises(error):
        DeviceIdentification(objects_id={key: value})
    assert set(dict(about.items()).values()) == {b""}
    about[1] = b"x" * 244


def test_an_object_that_is_not_there_is_a_key_error_and_the_names_are_read_only() -> None:
    about = DeviceIdentification()
    with pytest.raises(KeyError):
        about[7]
    with pytest.raises(AttributeError):
        about.vendor_name = b"x"  # type: ignore[misc]


def test_the_frame_containers_read_and_write_frames() -> None:
    frame = ModbusServer.Frame(
        ModbusServer.MBAP(transaction_id=258, unit_id=9), ModbusServer.PDU(b"\x03\x00\x01\x00\x02")
    )
    assert frame.raw == bytes.fromhex("0102 0000 0006 09 03 0001 0002")
    assert frame.mbap.length == 6
    header = ModbusServer.MBAP()
    header.raw = frame.raw[:7]
    assert header == frame.mbap
    assert frame.pdu.unpack(">HH", 1, 5) == (1, 2)
    assert (frame.pdu.func_code, frame.pdu.is_except, len(frame.pdu)) == (3, False, 5)
    reply = ModbusServer.PDU().build_except(3, 2)
    assert (reply.raw, reply.func_code, reply.is_except, reply.except_code) == (b"\x83\x02", 0x83, True, 2)
    reply.clear()
    reply.add_pack(">BH", 6, 513)
    assert reply.raw == b"\x06\x02\x01"


def set_header(raw: bytes) -> None:
    ModbusServer.MBAP().raw = raw


@pytest.mark.parametrize(
    "bad",
    [
        lambda: set_header(bytes(6)),
        lambda: set_header(bytes.fromhex("0001 0001 0006 01")),
        lambda: set_header(bytes.fromhex("0001 0000 0001 01")),
        lambda: set_header(bytes.fromhex("0001 0000 00ff 01")),
        lambda: ModbusServer.MBAP(transaction_id=65536).raw,
        lambda: ModbusServer.PDU(b"\x03").unpack(">H"),
        lambda: ModbusServer.PDU().add_pack("B", 256),
        lambda: ModbusServer.PDU().build_except(3, 256),
        lambda: ModbusServer.PDU().func_code,
        lambda: ModbusServer.PDU(b"\x83").except_code,
    ],
)
def test_what_is_no_frame_is_a_data_format_error(bad: Callable[[], object]) -> None:
    with pytest.raises(ModbusServer.DataFormatError):
        bad()


def test_the_errors_are_a_family() -> None:
    assert issubclass(ModbusServer.NetworkError, ModbusServer.Error)
    assert issubclass(ModbusServer.DataFormatError, ModbusServer.Error)
    refused = DataHandler.ModbusExcept(2, b"more")
    assert (refused.exp_code, refused.data) == (2, b"more")


def test_what_is_known_of_a_request_is_read_by_attribute_by_item_and_by_get() -> None:
    info = ModbusServer.ServerInfo(
        client=ModbusServer.ClientInfo("127.0.0.1", 50000),
        recv_frame=ModbusServer.Frame(ModbusServer.MBAP(7, 0, 6, 9)),
        identity="unix:1000",
    )
    assert info.get("client_addr", "unknown") == info["client_addr"] == info.client_addr == info.client.address
    assert (info.client_port, info.unit_id, info.transaction_id) == (50000, 9, 7)
    assert info.get("nothing", "unknown") == "unknown"
    assert "raw" not in info
    assert dict(info)["identity"] == "unix:1000"
    data = SessionData(info)
    assert (data.client_addr, data.unit_id, data.transaction_id) == ("127.0.0.1", 9, 7)
    assert data.request is info.recv_frame
    assert data.response.pdu.raw == b""


def test_a_return_is_ok_by_its_code() -> None:
    assert DataHandler.Return(exp_code=0, data=[1]).ok() is True
    assert DataHandler.Return(exp_code=2).ok() is False


def test_bank_and_handler_go_together_or_are_refused() -> None:
    bank, other = DataBank(), DataBank()
    handler = DataHandler(bank)
    assert ModbusServer(data_bank=bank, data_hdl=handler).data_bank is bank
    assert ModbusServer(data_hdl=handler).data_bank is bank
    assert ModbusServer(data_bank=other).data_hdl.data_bank is other
    assert ModbusServer().data_bank.get_coils(65535) == [False]
    assert ModbusServer(ext_engine=print).data_bank.get_coils(0) is None
    with pytest.raises(ValueError, match="not data_bank"):
        ModbusServer(data_bank=other, data_hdl=handler)


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": 1},
        {"host": None},
        {"port": "502"},
        {"port": None},
        {"port": True},
        {"data_bank": {}},
        {"data_hdl": DataBank()},
        {"ext_engine": 1},
        {"device_id": b"x"},
    ],
)
def test_an_argument_of_a_wrong_type_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=next(iter(wrong))):
        ModbusServer(**wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="data_bank"):
        DataHandler(1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="device_identification"):
        ModbusServer().device_identification = b"x"  # type: ignore[assignment]


def test_the_defaults_are_the_page_s() -> None:
    server = ModbusServer()
    assert (server.host, server.port, server.is_run(), server.device_identification) == ("localhost", 502, False, None)
    assert server.last_error is None
    server.stop()
