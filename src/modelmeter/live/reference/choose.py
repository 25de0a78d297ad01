"""The real model to verify against, as a user asks for it."""

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from typing import Final

from modelmeter.core.errors import ModelMeterError
from modelmeter.live.installed import check_import
from modelmeter.live.reference.adapter import EXPERTS_RUN, Adapter
from modelmeter.models.deepseek_ocr.config import DeepseekOCRConfig
from modelmeter.nn.attention import ATTENTION_KINDS

_NEEDED: Final = (5, 23)


def choose_adapter(
    config_file: str | PathLike[str] | DeepseekOCRConfig | None = None,
    model_path: str | PathLike[str] | None = None,
    trust_remote_code: bool = False,
    attention: str = "eager",
    experts: str | None = None,
    *,
    weights: bool = True,
) -> Adapter:
    """transformers' model of a configuration (the released one by default), or the vendor's of a checkpoint folder.

    With `weights` those in the folder are read and it runs with data; without, it runs without, as all others do.
    Raises `ModelMeterError` where a choice is unknown, two exclude each other, or what they need is not installed.
    """
    check_choice("attention", attention, ATTENTION_KINDS)
    kind = next(kind for kind in ATTENTION_KINDS if kind == attention)
    if model_path is not None:
        _check_vendor_only(config_file, experts)
        check_transformers((4, 46), "'transformers==4.46.3'")
        from modelmeter.live.reference.vendor import VendorCheckpoint

        return VendorCheckpoint(model_path, trust_remote_code=trust_remote_code, attention=kind, weights=weights)
    if trust_remote_code:
        raise ModelMeterError("--trust-remote-code goes with --model-path: no other model brings code of its own")
    check_choice("experts", experts or "eager", EXPERTS_RUN)
    check_transformers()
    from modelmeter.live.reference.transformers5 import UnlimitedOcr

    if isinstance(config_file, DeepseekOCRConfig):
        config = config_file
    else:
        config = DeepseekOCRConfig() if config_file is None else DeepseekOCRConfig.from_hf(config_file)
    return UnlimitedOcr(config, kind, next(run for run in EXPERTS_RUN if run == (experts or "eager")))


def check_transformers(least: tuple[int, int] = _NEEDED, package: str | None = None, *, what: str = "this") -> None:
    """Raises `ModelMeterError` unless transformers is installed, works, and is at least as new as `what` needs."""
    needed = ".".join(map(str, least))
    remedy = f"pip install {package or repr(f'transformers>={needed}')}"
    if package is None:
        remedy += ", or name a checkpoint folder with --model-path (transformers 4.46.3)"
    try:
        found = version("transformers")
    except PackageNotFoundError:
        raise ModelMeterError(f"{what} needs transformers {needed} or newer, and there is none: {remedy}") from None
    numbers = re.match(r"(\d+)\.(\d+)", found)
    if numbers is not None and tuple(map(int, numbers.groups())) < least:
        raise ModelMeterError(f"{what} needs transformers {needed} or newer, not {found}: {remedy}")
    check_import("transformers", remedy)


@contextmanager
def quietly() -> Iterator[None]:
    """While this runs, libraries say nothing: no warnings, no log, no progress bars."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # read while transformers is imported
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises `ModelMeterError` naming the choice unless it is allowed."""
    if value not in allowed:
        raise ModelMeterError(f"{name} {value!r} is unknown: choose {', '.join(allowed[:-1])} or {allowed[-1]}")


def _check_vendor_only(config_file: str | PathLike[str] | DeepseekOCRConfig | None, experts: str | None) -> None:
    if config_file is not None:
        raise ModelMeterError("--config and --model-path exclude each other: the folder has its own config.json")
    if experts is not None:
        raise ModelMeterError("--experts is a choice of transformers 5: the vendor's code has one way, drop it")
