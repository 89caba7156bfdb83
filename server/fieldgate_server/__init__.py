"""The Modbus server: framing, guard, units and audit behind every door."""
