"""A Modbus server in a background thread, with the interface that pyModbusTCP's users know."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from threading import Lock, current_thread

from fieldgate_core.errors import ConfigError
from fieldgate_core.url import is_loopback
from fieldgate_server import server_info
from fieldgate_server.app import App
from fieldgate_server.background import Background
from fieldgate_server.bank_unit import BankUnit, Engine, UserUnit, has_user_code
from fieldgate_server.constants import MODBUS_PORT
from fieldgate_server.data_bank import DataBank
from fieldgate_server.data_handler import DataHandler
from fieldgate_server.device import Device
from fieldgate_server.device_identification import DeviceIdentification, Shown
from fieldgate_server.lanes import Lanes
from fieldgate_server.settings import ListenSettings, Settings
from fieldgate_server.units import Units

log = logging.getLogger("fieldgate.api")


class ModbusServer:
    """A guarded Modbus/TCP server on loopback; every unit identifier names its one unit.

    It runs in a thread of its own. User code (what subclasses of DataBank and DataHandler override, and an external
    engine) runs on up to 64 worker threads: in order for one connection, connections beside each other.
    """

    Error = server_info.Error
    NetworkError = server_info.NetworkError
    DataFormatError = server_info.DataFormatError
    ClientInfo = server_info.ClientInfo
    ServerInfo = server_info.ServerInfo
    SessionData = server_info.SessionData
    Frame = server_info.Frame
    MBAP = server_info.MBAP
    PDU = server_info.PDU

    def __init__(  # noqa: PLR0913
        self,
        host: str = "localhost",
        port: int = MODBUS_PORT,
        no_block: bool = False,
        ipv6: bool = False,
        data_bank: DataBank | None = None,
        data_hdl: DataHandler | None = None,
        ext_engine: Engine | None = None,
        device_id: DeviceIdentification | None = None,
        *,
        policy: Path | str | None = None,
        audit: Path | str | None = None,
    ) -> None:
        """Prepare a server; nothing is opened before `start`.

        `host` is a loopback address, or "localhost": 127.0.0.1, or ::1 with `ipv6`. Port 0 takes a free one. Without
        `no_block` the server keeps the process alive until `stop` or Ctrl-C; with it, it ends with the process.
        `ext_engine` is called with a SessionData for every request that the policy allows, instead of the handler.
        `policy` is a policy file; without one the user of this process may do everything, and nobody else anything.
        `audit` is the trail's file; without one its lines go to the log, at level INFO of "fieldgate.audit".

        Raises TypeError for an argument of a wrong type, ValueError if `data_hdl` has another bank than `data_bank`.
        """
        _check("host", host, str)
        _check("port", port, int)
        if isinstance(port, bool):
            raise TypeError("port must be an int, not bool")
        _check_optional("data_bank", data_bank, DataBank)
        _check_optional("data_hdl", data_hdl, DataHandler)
        _check_optional("device_id", device_id, DeviceIdentification)
        if ext_engine is not None and not callable(ext_engine):
            raise TypeError(f"ext_engine must be callable, not {type(ext_engine).__name__}")
        if data_hdl is None:
            # an engine needs no tables
            data_hdl = DataHandler(DataBank(virtual_mode=ext_engine is not None) if data_bank is None else data_bank)
        elif data_bank is not None and data_hdl.data_bank is not data_bank:
            raise ValueError("data_hdl has a data bank of its own, which is not data_bank: give only one of the two")
        self._host = host
        self._port = port
        self._bound_port = port
        self._no_block = no_block
        self._ipv6 = ipv6
        self._data_hdl = data_hdl
        self._ext_engine = ext_engine
        self._device_id = device_id
        self._device = _device(device_id)
        self._policy = policy
        self._audit = audit
        self._starting = Lock()
        self._run: Background | None = None
        self._lanes: Lanes | None = None
        self.last_error: server_info.Error | None = None
        """Why the last start() gave False; None if it did not."""

    def start(self) -> bool:
        """Start the server, and return once it listens; True too if it runs already.

        False if it cannot, or is stopped meanwhile: the cause is in the log and in `last_error`.
        """
        with self._starting:
            if self.is_run():
                return True
            try:
                self._await_the_end()
                self._launch()
            except server_info.Error as error:
                # one like it, whose traceback does not keep all alive that was tried
                self.last_error = type(error)(*error.args)
                log.error("the server cannot start: %s", self.last_error)
            except Exception as error:
                self.last_error = server_info.Error(repr(error))
                log.exception("the server cannot start")
            else:
                self.last_error = None
                return True
            if self._run is not None and self._run.has_ended():
                self._run = None
            return False

    def stop(self) -> None:
        """Stop the server and close all its connections; it may be started again. Does nothing if it does not run.

        May be called from any thread. It returns when the server has stopped, or after 10 s; user code that is at
        work gets 5 s to answer. From user code which the server has called it returns at once.
        """
        run = self._run
        if run is None:
            return
        if self._lanes is not None and self._lanes.owns(current_thread()):
            run.ask_to_stop()
        else:
            run.stop()

    def is_run(self) -> bool:
        """Tell whether the server runs."""
        run = self._run
        return run is not None and run.is_running()

    @property
    def host(self) -> str:
        """Where the server listens, as it was given."""
        return self._host

    @property
    def port(self) -> int:
        """The port it listens on; before it runs, the one that was given."""
        return self._bound_port if self.is_run() else self._port

    @property
    def data_bank(self) -> DataBank:
        """The data bank of the handler."""
        return self._data_hdl.data_bank

    @property
    def data_hdl(self) -> DataHandler:
        """The data handler."""
        return self._data_hdl

    @property
    def device_identification(self) -> DeviceIdentification | None:
        """What function 43/14 tells, to be read and set at any time. Setting raises TypeError for anything else."""
        return self._device_id

    @device_identification.setter
    def device_identification(self, value: DeviceIdentification | None) -> None:
        _check_optional("device_identification", value, DeviceIdentification)
        self._device_id = value
        self._device.identification = _shown(value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(host={self._host!r}, port={self.port}, is_run={self.is_run()})"

    def _launch(self) -> None:
        """Begin a run. Raises Error if somebody stops it meanwhile, and what keeps it from serving."""
        run = Background(self._serving, daemon=self._no_block)
        run.start()
        # other threads may stop it from here on
        self._run = run
        run.wait_started()
        if not run.is_running():
            raise server_info.Error("the server was stopped while it was starting")

    def _await_the_end(self) -> None:
        """See the run before this one off. Raises Error if it has not ended."""
        run = self._run
        if run is None:
            return
        self.stop()
        if not run.has_ended():
            raise server_info.Error("the server is still stopping")

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        """Serve. Raises Error that says why it cannot."""
        settings = self._settings()
        self._device = _device(self._device_id)
        self._lanes = lanes = Lanes()
        bank = BankUnit(self._data_hdl.data_bank, self._device)
        user = None
        if self._ext_engine is not None or has_user_code(self._data_hdl):
            user = UserUnit(bank, self._data_hdl, self._ext_engine, lanes, self._host, self._port)
        async with contextlib.AsyncExitStack() as stack:
            with _raised_as(server_info.Error):
                app = App(settings, owner_rights=settings.policy is None, units=Units.single(user or bank))
            with _raised_as(server_info.NetworkError):
                await stack.enter_async_context(app.running())
            self._bound_port = app.ports["modbus"]
            if user is not None:
                user.port = self._bound_port
                # after the app, so that what runs is answered before its connection closes
                await stack.enter_async_context(lanes)
            yield

    def _settings(self) -> Settings:
        """Check the address. Raises NetworkError."""
        host = ("::1" if self._ipv6 else "127.0.0.1") if self._host == "localhost" else self._host
        where = f"listen {f'[{host}]' if ':' in host else host}:{self._port}"
        if not is_loopback(host):
            raise server_info.NetworkError(
                f"{where}: plain Modbus is served on loopback only; "
                "for a network run `fieldgate server run`, which has an SSH and a TLS door"
            )
        if (":" in host) is not self._ipv6:
            raise server_info.NetworkError(f"{where}: not an address of IPv{6 if self._ipv6 else 4}; see ipv6=")
        try:
            listen = ListenSettings(host, self._port)
        except ValueError as error:
            raise server_info.NetworkError(f"{where}: {error}") from None
        return Settings(
            listen=listen,
            policy=None if self._policy is None else Path(self._policy),
            audit=None if self._audit is None else Path(self._audit),
            # all of its peers may well be one user
            max_sessions_per_identity=Settings.max_sessions,
        )


@contextlib.contextmanager
def _raised_as(kind: type[server_info.Error]) -> Iterator[None]:
    """Raise a ConfigError as an error of the API, its hint included."""
    try:
        yield
    except ConfigError as error:
        raise kind(f"{error}; {error.hint}" if error.hint else str(error)) from error


def _shown(identification: DeviceIdentification | None) -> Shown | None:
    return None if identification is None else Shown(identification)


def _device(identification: DeviceIdentification | None) -> Device:
    return Device(_shown(identification))


def _check(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, not {type(value).__name__}")


def _check_optional(name: str, value: object, kind: type) -> None:
    if value is not None:
        _check(name, value, kind)
