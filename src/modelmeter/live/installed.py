"""Packages that modelmeter does not bring itself: one line where one is missing or broken."""

from importlib import import_module
from typing import Final

from modelmeter.core.errors import ModelMeterError

BROKEN: Final = (AttributeError, ImportError, NameError, OSError, RuntimeError)
"""What a package raises while it loads where a library of its own, or half of the package, is not there."""


def check_import(name: str, remedy: str) -> None:
    """Import a module of another package. Raises `ModelMeterError` where that is missing or broken, with the cause."""
    package = name.partition(".")[0]
    try:
        import_module(package)  # by itself: what is missing is then the package, not a module of it
        import_module(name)
    except BROKEN as error:
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            raise ModelMeterError(f"this needs {package}, which is not installed: {remedy}") from None
        cause = " ".join(str(error).split())
        raise ModelMeterError(
            f"{package} is installed but cannot be imported ({cause}): install it anew, {remedy}"
        ) from error
