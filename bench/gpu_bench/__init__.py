"""The parts of bench/gpu.py: what it measures, how it keeps its time, what it says."""
