"""What `modelmeter measure` is asked for."""

from collections.abc import Iterable
from typing import Any, Final

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.live.session.inputs import whole

DECODE_STEPS: Final = 16


def _at_least(least: int) -> Any:
    def check(instance: Any, attribute: "attrs.Attribute[int | None]", value: int | None) -> None:
        if value is not None:
            whole(value, attribute.name, least)

    return check


def _once(values: Iterable[int]) -> tuple[int, ...]:
    """A length that is named twice is one."""
    return tuple(dict.fromkeys(values))


def _lengths(instance: Any, attribute: "attrs.Attribute[tuple[int, ...]]", values: tuple[int, ...]) -> None:
    if not values:
        raise ModelMeterError("measure needs lengths of the prompt: give --seq-lens 256 512 1024")
    for value in values:
        whole(value, attribute.name)


@attrs.frozen(kw_only=True)
class MeasureRequest:
    """Lengths of the prompt (text alone), and `decode_steps` after each; with `flops` these are counted, untimed.

    `repeats` whole runs are timed at each length, after `warm_up` prefills; None: as a session does on its device.
    """

    seq_lens: tuple[int, ...] = attrs.field(converter=_once, validator=_lengths)
    decode_steps: int = attrs.field(default=DECODE_STEPS, validator=_at_least(1))
    batch_size: int = attrs.field(default=1, validator=_at_least(1))
    flops: bool = True
    warm_up: int | None = attrs.field(default=None, validator=_at_least(0))
    repeats: int | None = attrs.field(default=None, validator=_at_least(1))
