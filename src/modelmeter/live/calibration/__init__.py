"""Measures kernels on this machine, fits the efficiencies of a device to them, and writes a device file."""
