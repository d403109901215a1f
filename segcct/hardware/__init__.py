"""The machine: devices, arithmetic that is fast on them, processor cores that belong to this process."""
