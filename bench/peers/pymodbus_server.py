"""Serve 1000 holding registers with pymodbus as it is; over mutual TLS when an identity folder is given."""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path

from pymodbus.server import ModbusTcpServer, ModbusTlsServer
from pymodbus.simulator import DataType, SimData, SimDevice


def tls_context(identity: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=identity / "tls-client-ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the file holds the issuing CA, which is no root
    context.load_cert_chain(identity / "tls-chain.pem", identity / "tls-key.pem")
    return context


async def main(arguments: list[str]) -> None:
    device = SimDevice(1, simdata=[SimData(0, count=1000, values=17, datatype=DataType.REGISTERS)])
    address = ("127.0.0.1", 0)
    if arguments:
        server: ModbusTcpServer = ModbusTlsServer(device, address=address, sslctx=tls_context(Path(arguments[0])))
    else:
        server = ModbusTcpServer(device, address=address)
    await server.serve_forever(background=True)
    listener = server.transport
    assert isinstance(listener, asyncio.Server)
    port: int = listener.sockets[0].getsockname()[1]
    print(f"listening: modbus 127.0.0.1:{port}\nready", flush=True)
    await server.serving


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
