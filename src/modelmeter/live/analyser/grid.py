"""The points of a scaling analysis, read from a small YAML file."""

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Final

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.live.verification.points import MOST_SEQUENCES, MOST_STEPS, MOST_TOKENS, check_size

KEYS: Final = {"lengths": MOST_TOKENS, "decode_steps": MOST_STEPS, "batches": MOST_SEQUENCES}
"""What a grid file may hold, and the largest value of each."""
EXAMPLE: Final = "lengths: [256, 512], decode_steps: [1], batches: [1]"


def _sizes(instance: Any, attribute: "attrs.Attribute[tuple[int, ...]]", values: tuple[int, ...]) -> None:
    if not values:
        raise ModelMeterError(f"a grid needs {attribute.name}: write {EXAMPLE}")
    for value in values:
        check_size(value, attribute.name, KEYS[attribute.name])


def _each_once(values: Any) -> tuple[int, ...]:
    return tuple(dict.fromkeys(values))


@attrs.frozen(kw_only=True)
class Grid:
    """Every length of text at every batch size; of the decode steps each number, counted from the first."""

    lengths: tuple[int, ...] = attrs.field(converter=_each_once, validator=_sizes)
    decode_steps: tuple[int, ...] = attrs.field(default=(1,), converter=_each_once, validator=_sizes)
    batches: tuple[int, ...] = attrs.field(default=(1,), converter=_each_once, validator=_sizes)

    def __attrs_post_init__(self) -> None:
        if max(self.lengths) * max(self.batches) > MOST_TOKENS:
            raise ModelMeterError(f"a length times a batch must be at most {MOST_TOKENS:,}: make one smaller")

    def runs(self) -> Iterator[tuple[int, int]]:
        """(length, batch) of each prefill."""
        return ((length, batch) for batch in self.batches for length in self.lengths)

    @property
    def size(self) -> int:
        """How many points there are."""
        return len(self.lengths) * len(self.batches) * len(self.decode_steps)


def read_grid(file: str | PathLike[str]) -> Grid:
    """The grid in a YAML file. Raises `ModelMeterError` naming the file, what is wrong with it, and what to write."""
    import yaml

    try:
        data = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelMeterError(f"cannot read {file}: {error.strerror}: name a YAML file with a grid") from error
    except UnicodeDecodeError as error:
        raise ModelMeterError(f"{file} is no text: name a YAML file with a grid, {EXAMPLE}") from error
    except yaml.YAMLError as error:
        raise ModelMeterError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    try:
        return _grid(data)
    except ModelMeterError as error:
        raise ModelMeterError(f"{file}: {error}") from error


def _grid(data: Any) -> Grid:
    if not isinstance(data, dict):
        raise ModelMeterError(f"a grid is a mapping of lists: write {EXAMPLE}")
    unknown = [str(name) for name in data if name not in KEYS]
    if unknown:
        raise ModelMeterError(f"unknown {', '.join(unknown)}: a grid has {', '.join(KEYS)}")
    if "lengths" not in data:
        raise ModelMeterError(f"a grid needs lengths: write {EXAMPLE}")
    for name, values in data.items():
        if not isinstance(values, list):
            raise ModelMeterError(f"{name} is {values!r}: give a list of whole numbers, {EXAMPLE}")
        if any(type(value) is not int for value in values):  # True is an int, too
            wrong = next(value for value in values if type(value) is not int)
            raise ModelMeterError(f"{name} has {wrong!r}: give whole numbers, {EXAMPLE}")
    return Grid(**data)
