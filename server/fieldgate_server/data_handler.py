"""What carries out the requests of the Python API: one method a kind of access, to be overridden."""

from __future__ import annotations

from collections.abc import Sequence

from fieldgate_server.constants import EXP_DATA_ADDRESS, EXP_NONE
from fieldgate_server.data_bank import DataBank
from fieldgate_server.server_info import ServerInfo


class DataHandler:
    """Carries requests out on a data bank. A subclass overrides the methods whose answer it wants to decide.

    The methods are called on worker threads: in order for one connection, connections beside each other. Functions
    that do more than one thing call several: 22 reads and writes holding registers; 23 reads, writes and reads them.
    Instead of returning, a method may raise `ModbusExcept`; whatever else it raises is answered with exception 04 and
    logged, and the outcome of a write is unknown then.
    """

    class Return:
        """How a request went: `exp_code` 0 and, for reads, `data`; or a Modbus exception code."""

        def __init__(self, exp_code: int, data: Sequence[bool] | Sequence[int] | None = None) -> None:
            self.exp_code = exp_code
            self.data = data

        def ok(self) -> bool:
            """Tell whether it went well."""
            return self.exp_code == EXP_NONE

        def __repr__(self) -> str:
            return f"Return(exp_code={self.exp_code!r}, data={self.data!r})"

    class ModbusExcept(Exception):  # noqa: N818 - the name is the API's
        """Raised by a method: the request is answered with exception `exp_code`; `data` is not sent."""

        def __init__(self, exp_code: int, data: bytes = b"") -> None:
            super().__init__(exp_code, data)
            self.exp_code = exp_code
            self.data = data

    def __init__(self, data_bank: DataBank | None = None) -> None:
        """Without `data_bank` it gets a new one. Raises TypeError if it is none."""
        if data_bank is not None and not isinstance(data_bank, DataBank):
            raise TypeError(f"data_bank must be a DataBank, not {type(data_bank).__name__}")
        self.data_bank = DataBank() if data_bank is None else data_bank

    def read_coils(self, address: int, count: int, srv_info: ServerInfo) -> DataHandler.Return:
        """Read `count` coils from `address` (function 1); exception 02 if they are not there."""
        return _read(self.data_bank.get_coils(address, count, srv_info))

    def write_coils(self, address: int, bits_l: list[bool], srv_info: ServerInfo) -> DataHandler.Return:
        """Write coils from `address` (functions 5 and 15); exception 02 if they are not there."""
        return _written(self.data_bank.set_coils(address, bits_l, srv_info))

    def read_d_inputs(self, address: int, count: int, srv_info: ServerInfo) -> DataHandler.Return:
        """Read `count` discrete inputs from `address` (function 2); exception 02 if they are not there."""
        return _read(self.data_bank.get_discrete_inputs(address, count, srv_info))

    def read_h_regs(self, address: int, count: int, srv_info: ServerInfo) -> DataHandler.Return:
        """Read `count` holding registers from `address` (functions 3, 22, 23, 24); exception 02 if not there."""
        return _read(self.data_bank.get_holding_registers(address, count, srv_info))

    def write_h_regs(self, address: int, words_l: list[int], srv_info: ServerInfo) -> DataHandler.Return:
        """Write holding registers from `address` (functions 6, 16, 22, 23); exception 02 if they are not there."""
        return _written(self.data_bank.set_holding_registers(address, words_l, srv_info))

    def read_i_regs(self, address: int, count: int, srv_info: ServerInfo) -> DataHandler.Return:
        """Read `count` input registers from `address` (function 4); exception 02 if they are not there."""
        return _read(self.data_bank.get_input_registers(address, count, srv_info))


def _read(data: list[bool] | list[int] | None) -> DataHandler.Return:
    return DataHandler.Return(EXP_DATA_ADDRESS) if data is None else DataHandler.Return(EXP_NONE, data)


def _written(done: bool) -> DataHandler.Return:
    return DataHandler.Return(EXP_NONE if done else EXP_DATA_ADDRESS)
