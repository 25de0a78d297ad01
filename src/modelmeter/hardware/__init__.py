"""Devices, and what they make of a cost: time, memory, capacity."""
