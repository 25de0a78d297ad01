"""A stand-in for platformdirs: a machine lent for measuring may lack it, and has no devices of a user's own."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

NAME = "platformdirs"


def stand_in() -> bool:
    """Put it in place where there is no platformdirs; whether that was so.

    It names a folder that cannot be: the catalogue then has the built-in devices, and files that are given.
    """
    try:
        import_module(NAME)
    except ModuleNotFoundError:
        module = ModuleType(NAME, __doc__)
        vars(module)["user_config_path"] = lambda *_args, **_kwargs: Path(sys.executable) / "no settings"
        sys.modules[NAME] = module
        return True
    return False
