"""Derived tables: what a list of candidate shapes costs, holds and asks of a device, a row or a few for each shape."""
