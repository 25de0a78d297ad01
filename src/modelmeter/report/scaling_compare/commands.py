"""The commands that make both sides again, the analytic one as the measured one was run."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.report.scaling_compare.compare import ScalingComparison
from modelmeter.report.scaling_compare.measured import CONFIG
from modelmeter.report.study.read import FILE as STUDY

_OPTIONS: Final = ("implementation", "attention", "experts", "cache", "logits", "coverage")
_PYTHON_ONLY: Final = ("position_ids", "causal", "elementwise")
"""Conventions that `sweep seq-len` has no option for."""
_WEIGHTS: Final = {"float16": "fp16"}


def sweep_command(found: ScalingComparison) -> str:
    """`modelmeter sweep seq-len` that makes the analytic file match the measured one."""
    measured, place = found.measured, found.files.analytic.parent
    folder = place if place != Path() and (place / STUDY).is_file() else Path("scaling")
    words: list[object] = ["modelmeter", "sweep", "seq-len", "--seq-lens", *measured.lengths]
    words += ["--decode-steps", measured.decode_steps, "--batch-size", measured.batch_size]
    for name in _OPTIONS:
        words += [f"--{name}", getattr(measured.conventions, name)]
    if measured.config != DeepseekOCRConfig():
        words += ["--config", found.files.measured.parent / CONFIG]
    if measured.dtype in _WEIGHTS:
        words += ["--weights", _WEIGHTS[measured.dtype]]
    return _line([*words, "-o", folder, *(["--force"] if folder is place else [])])


def not_in_command(found: ScalingComparison) -> list[str]:
    """What of the measured conventions the command cannot say: "position_ids 'batch'"."""
    usual, mine = Conventions(), found.measured.conventions
    return [f"{name} {getattr(mine, name)!r}" for name in _PYTHON_ONLY if getattr(mine, name) != getattr(usual, name)]


def commands(found: ScalingComparison) -> list[str]:
    """What to run for both sides and the comparison again; those of which the command is known."""
    return [sweep_command(found), *[each for each in (found.measured.command, found.command) if each is not None]]


def _line(words: Sequence[object]) -> str:
    return shlex.join(map(str, words))
