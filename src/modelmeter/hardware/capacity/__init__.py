"""Capacity: pages a second that a GPU sustains under latency limits, in closed form and by simulation."""
