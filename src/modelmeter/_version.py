"""The package's version, and that of the numbers it gives."""

__version__ = "0.1.0"

ANALYTIC_MODEL_VERSION = "2026.11.21"
"""CalVer (YYYY.MM.DD) of the last change that moved a number which an unchanged question gets.

Every JSON file and every dataset carries it. A second such change on one day ends in ".1", the next in ".2". The
section "Analytic model versions" of CHANGELOG.md says what each moved.
"""
