"""What the comparison takes from `analytic_scaling.json` (schema `modelmeter.scaling/1`)."""

from pathlib import Path
from reprlib import repr as short
from typing import Any, Final

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.config import Conventions, make_conventions
from modelmeter.report.compare.read import load
from modelmeter.report.scaling_compare.measured import MOST, check_schema
from modelmeter.report.study.scaling import SCHEMA

FILE: Final = "analytic_scaling.json"
_ANEW: Final = "make it anew with modelmeter sweep seq-len"


@attrs.frozen(kw_only=True)
class AnalyticPoint:
    """One length of the prompt: counted FLOPs of its prefill, and of all its decode steps together."""

    seq_len_prefill: int
    prefill_flops: int
    decode_flops: int


@attrs.frozen(kw_only=True)
class AnalyticScaling:
    """The analytic model over lengths of the prompt."""

    analytic_model_version: str
    model: str
    conventions: Conventions
    precision: str
    batch_size: int
    decode_steps: int
    points: tuple[AnalyticPoint, ...]

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths that it has."""
        return tuple(point.seq_len_prefill for point in self.points)


def read_analytic(file: Path) -> AnalyticScaling:
    """The analytic side in a file. Raises `ModelMeterError`, in one line, for what is none."""
    data = load(file)
    check_schema(file, data, SCHEMA)
    try:
        return _of(data)
    except KeyError as error:
        raise ModelMeterError(f"{file} has no {error.args[0]}: {_ANEW}") from None
    except (TypeError, ValueError) as error:
        raise ModelMeterError(f"{file} is no whole {SCHEMA} ({error}): {_ANEW}") from None


def attention_in(file: Path) -> str | None:
    """The kind of attention that a scaling file is of, for choosing among several; None where it names none."""
    data = load(file)
    chosen = data.get("conventions") if isinstance(data, dict) else None
    found = chosen.get("attention") if isinstance(chosen, dict) else None
    return found if isinstance(found, str) else None


def _of(data: dict[str, Any]) -> AnalyticScaling:
    points = tuple(_point(point) for point in data["points"])
    lengths = [point.seq_len_prefill for point in points]
    if len(set(lengths)) != len(lengths):
        raise ValueError("a length is there twice")
    chosen = {name: value for name, value in dict(data["conventions"]).items() if name != "notes"}
    return AnalyticScaling(
        analytic_model_version=_text(data["analytic_model_version"]),
        model=_text(data["model"]),
        conventions=make_conventions(chosen),
        precision=_text(data["precision"]),
        batch_size=_count(data["batch_size"], 1),
        decode_steps=_count(data["decode_steps"], 1),
        points=points,
    )


def _point(point: Any) -> AnalyticPoint:
    return AnalyticPoint(
        seq_len_prefill=_count(point["seq_len_prefill"], 1),
        prefill_flops=_count(point["prefill"]["counted_flops"], 0),
        decode_flops=_count(point["decode"]["counted_flops"], 0),
    )


def _count(value: Any, least: int) -> int:
    if type(value) is not int or not least <= value < MOST:
        raise ValueError(f"{short(value)} is no whole number from {least} to {MOST:g}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value
