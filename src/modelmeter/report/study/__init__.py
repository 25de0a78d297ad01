"""A study as a folder of files: `write_study` writes it whole or not at all, `read_study` reads it back."""

from modelmeter.report.study.read import read_study
from modelmeter.report.study.write import write_study

__all__ = ["read_study", "write_study"]
