"""What this machine is and can hold: devices, number formats, memory, operations."""
