"""The package's version, and that of the numbers it gives."""

__version__ = "0.1.0"

ANALYTIC_MODEL_VERSION = "2"
"""Changes whenever any number changes that an unchanged question gets."""
