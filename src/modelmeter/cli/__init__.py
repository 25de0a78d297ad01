"""The command line. `main` is the program's entry point."""

from modelmeter.cli.app import main

__all__ = ["main"]
