"""The points of a scaling analysis, read from a small YAML file."""

import re
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Final

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.live.verification.points import MOST_SEQUENCES, MOST_STEPS, MOST_TOKENS, check_size

KEYS: Final = {"lengths": MOST_TOKENS, "decode_steps": MOST_STEPS, "batches": MOST_SEQUENCES}
"""What a grid file may hold, and the largest value of each."""
_WHOLE: Final = re.compile(r"-?\d{1,18}", re.ASCII)
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
        # Nodes alone: made into values, some texts (a date of month 13) are errors of many kinds.
        node = yaml.compose(Path(file).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ModelMeterError(f"cannot read {file}: {error.strerror}: name a YAML file with a grid") from error
    except UnicodeDecodeError as error:
        raise ModelMeterError(f"{file} is no text: name a YAML file with a grid, {EXAMPLE}") from error
    except yaml.YAMLError as error:
        raise ModelMeterError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    except RecursionError:
        raise ModelMeterError(f"{file} is nested too deeply for a grid: write {EXAMPLE}") from None
    try:
        return _grid(node)
    except ModelMeterError as error:
        raise ModelMeterError(f"{file}: {error}") from error


def _grid(node: Any) -> Grid:
    import yaml

    if not isinstance(node, yaml.MappingNode):
        raise ModelMeterError(f"a grid is a mapping of lists: write {EXAMPLE}")
    found: dict[str, tuple[int, ...]] = {}
    for key, values in node.value:
        name = _text(key)
        if name not in KEYS:
            raise ModelMeterError(f"unknown {name}: a grid has {', '.join(KEYS)}")
        if name in found:
            raise ModelMeterError(f"{name} is there twice: give all its values at once")
        if not isinstance(values, yaml.SequenceNode):
            raise ModelMeterError(f"{name} is {_text(values)}: give a list of whole numbers, {EXAMPLE}")
        found[name] = tuple(_whole(name, _text(value)) for value in values.value)
    if "lengths" not in found:
        raise ModelMeterError(f"a grid needs lengths: write {EXAMPLE}")
    return Grid(**found)


def _text(node: Any) -> str:
    """What stands in the file, of a list or mapping only that it is one."""
    import yaml

    return " ".join(str(node.value).split())[:40] if isinstance(node, yaml.ScalarNode) else f"a {node.id}"


def _whole(name: str, text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ModelMeterError(f"{name} has {text}: give whole numbers, {EXAMPLE}")
    return int(text)
