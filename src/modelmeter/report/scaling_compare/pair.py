"""Which two files a comparison of predicted and measured scaling is of."""

from pathlib import Path
from typing import Final

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.report.compare.read import load
from modelmeter.report.scaling_compare import analytic, measured
from modelmeter.report.scaling_compare.analytic import attention_in
from modelmeter.report.study.scaling import SCHEMA as ANALYTIC_SCHEMA

_ROLES: Final = {ANALYTIC_SCHEMA: "analytic", measured.SCHEMA: "measured"}


@attrs.frozen(kw_only=True)
class ScalingPair:
    """The two files, each given by name or as the folder that holds it."""

    analytic: Path
    measured: Path


def scaling_pair(a: str | Path, b: str | Path) -> ScalingPair | None:
    """The pair that two files or folders are, in either order; None where they are none.

    Of a study's folder it is the file with the measurement's kind of attention. Raises `ModelMeterError` for a
    measurement beside something that is no scaling study, and for files that cannot be read.
    """
    sides = [_roles(Path(a)), _roles(Path(b))]
    for (place, one), other in zip(zip((a, b), sides, strict=True), sides[::-1], strict=True):
        if "analytic" in one and "measured" in other:
            found = one["analytic"] if one["analytic"] == Path(place) else _of_kind(one["analytic"], other["measured"])
            return ScalingPair(analytic=found, measured=other["measured"])
    alone = [place for place, side in zip((a, b), sides, strict=True) if set(side) == {"measured"}]
    if len(alone) == 1:
        other_place = b if alone[0] is a else a
        raise ModelMeterError(
            f"{alone[0]} is measured scaling, and {other_place} holds no {analytic.FILE} to lay beside it: make one "
            "with modelmeter sweep seq-len -o DIR"
        )
    return None


def _roles(path: Path) -> dict[str, Path]:
    """What a file is, or a folder holds, of the two."""
    try:
        if path.is_dir():
            files = {"analytic": path / analytic.FILE, "measured": path / measured.FILE}
            return {role: file for role, file in files.items() if file.is_file()}
    except OSError:  # of names that no file can have; reading says it better
        pass
    role = _ROLES.get(schema_of(path))
    return {} if role is None else {role: path}


def schema_of(path: Path) -> str:
    """The schema that a JSON file names; empty where it names none."""
    data = load(path)
    schema = data.get("schema") if isinstance(data, dict) else None
    return schema if isinstance(schema, str) else ""


def _of_kind(file: Path, beside: Path) -> Path:
    """Of a study's files that with the measurement's kind of attention, where there is one."""
    other = file.with_name(f"{file.stem}_{attention_in(beside)}{file.suffix}")
    return other if other.is_file() else file
