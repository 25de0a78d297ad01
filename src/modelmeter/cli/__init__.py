"""The command line. `main` is the program's entry point."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the program. It is imported here, so that an interrupt while it loads is exit code 130 and no traceback."""
    try:
        from modelmeter.cli.app import run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
