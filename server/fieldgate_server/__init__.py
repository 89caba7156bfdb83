"""The Modbus server: framing, guard, units and audit behind every door; and a Python API to run one in a thread."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fieldgate_server.data_bank import DataBank
    from fieldgate_server.data_handler import DataHandler
    from fieldgate_server.device_identification import DeviceIdentification
    from fieldgate_server.modbus_server import ModbusServer

__all__ = ["DataBank", "DataHandler", "DeviceIdentification", "ModbusServer"]

_MODULES = {
    "DataBank": "data_bank",
    "DataHandler": "data_handler",
    "DeviceIdentification": "device_identification",
    "ModbusServer": "modbus_server",
}


def __getattr__(name: str) -> object:
    # the command line imports this package, and must not wait for an event loop that it does not need
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
