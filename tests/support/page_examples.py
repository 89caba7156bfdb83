"""The five examples of the API's page as they stand there, but for import lines, address and a missing import."""

from __future__ import annotations

BASIC = """
from fieldgate_server import ModbusServer, DataBank

# Create data bank with initial values
data_bank = DataBank()
data_bank.set_holding_registers(0, [100, 200, 300, 400, 500])
data_bank.set_coils(0, [True, False, True, False])

# Create and start server
server = ModbusServer(host="127.0.0.1", port=0, data_bank=data_bank)

if server.start():
    print("Server started successfully")
    # Server runs in background thread
    # Call server.stop() when done
else:
    print("Failed to start server")
"""

MONITORED = """
from fieldgate_server import ModbusServer, DataBank

class MonitoredDataBank(DataBank):
    def on_holding_registers_change(self, address, from_value, to_value, srv_info):
        print(f"Registers {address}-{address+len(to_value)-1} changed:")
        print(f" From: {from_value}")
        print(f" To: {to_value}")
        print(f" Client: {srv_info.get('client_addr', 'unknown')}")

    def on_coils_change(self, address, from_value, to_value, srv_info):
        print(f"Coils {address}-{address+len(to_value)-1} changed:")
        print(f" From: {from_value}")
        print(f" To: {to_value}")

# Use custom data bank
custom_data_bank = MonitoredDataBank()
server = ModbusServer(port=0, data_bank=custom_data_bank)
server.start()
"""

IDENTIFIED = """
from fieldgate_server import ModbusServer, DataBank, DeviceIdentification

# Create device identification
device_id = DeviceIdentification(
    vendor_name=b'My Company',
    product_code=b'MC-001',
    major_minor_revision=b'1.0',
    vendor_url=b'https://mycompany.com',
    product_name=b'Industrial Controller',
    model_name=b'IC-2024',
    user_application_name=b'Factory Automation'
)

# Configure server with device identification
data_bank = DataBank()
server = ModbusServer(port=0, data_bank=data_bank)
server.device_identification = device_id
server.start()
"""

HANDLED = """
from fieldgate_server import ModbusServer, DataBank, DataHandler
from fieldgate_server.constants import EXP_DATA_VALUE, EXP_ILLEGAL_FUNCTION

class CustomDataHandler(DataHandler):
    def read_h_regs(self, address, count, srv_info):
        # Custom logic for holding register reads
        if address >= 1000:  # Restrict access to certain addresses
            return self.Return(exp_code=EXP_ILLEGAL_FUNCTION)

        # Log the request
        client_addr = srv_info.get('client_addr', 'unknown')
        print(f"Client {client_addr} reading {count} registers from {address}")

        # Use default implementation
        return super().read_h_regs(address, count, srv_info)

    def write_h_regs(self, address, words_l, srv_info):
        # Custom validation for writes
        if any(w > 1000 for w in words_l):  # Limit register values
            return self.Return(exp_code=EXP_DATA_VALUE)

        return super().write_h_regs(address, words_l, srv_info)

# Use custom handler
data_bank = DataBank()
custom_handler = CustomDataHandler(data_bank)
server = ModbusServer(port=0, data_bank=data_bank, data_hdl=custom_handler)
server.start()
"""

VIRTUAL = '''
from fieldgate_server import ModbusServer, DataBank
import time
import threading
import random

class VirtualDataBank(DataBank):
    def __init__(self):
        super().__init__()
        self._running = True
        self._thread = threading.Thread(target=self._update_data)
        self._thread.daemon = True
        self._thread.start()

    def _update_data(self):
        """Generate virtual data continuously."""
        while self._running:
            # Simulate sensor readings
            temperature = int(random.uniform(18.0, 25.0) * 10)  # Temperature * 10
            humidity = int(random.uniform(30.0, 70.0))
            pressure = int(random.uniform(990.0, 1020.0))

            # Update input registers (sensor readings)
            self.set_input_registers(0, [temperature, humidity, pressure])

            # Update status coils
            self.set_discrete_inputs(0, [True, temperature > 220, humidity > 60])

            time.sleep(1)

    def stop(self):
        self._running = False

# Use virtual data bank
virtual_data = VirtualDataBank()
server = ModbusServer(port=0, data_bank=virtual_data)
server.start()
'''
