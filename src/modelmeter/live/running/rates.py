"""What a stage did in its measured time: FLOP/s, bytes/s, MFU and MBU, as docs/time.md defines them."""

from collections.abc import Mapping
from functools import reduce

import attrs

from modelmeter.core.cost import Cost
from modelmeter.hardware.device import Device
from modelmeter.hardware.page_time import Levels, mbu, mfu, required_rates
from modelmeter.live.calibration.clock import Timing


@attrs.frozen(kw_only=True)
class Work:
    """What the analytic model says of a stage: its exact cost, needed matrix FLOPs by dtype, used bytes."""

    cost: Cost
    needed_flops: Mapping[str, int] = attrs.field(factory=dict)
    used_bytes: int = 0

    def __add__(self, other: "Work") -> "Work":
        names = dict.fromkeys((*self.needed_flops, *other.needed_flops))
        return Work(
            cost=self.cost + other.cost,
            needed_flops={n: self.needed_flops.get(n, 0) + other.needed_flops.get(n, 0) for n in names},
            used_bytes=self.used_bytes + other.used_bytes,
        )


@attrs.frozen(kw_only=True)
class StageRun:
    """A stage as it ran: `seconds` of one pass; `passes` of them did `work` on `tokens`.

    `spread` is None for a sum of several times. `predicted` are seconds of a pass, `levels` the same at each level;
    None without a known device. `device` is that device. A part of vision and the host's work have no MFU or MBU.
    """

    seconds: float
    work: Work
    tokens: int
    passes: int = 1
    spread: Timing | None = None
    predicted: float | None = None
    levels: Levels | None = None
    device: Device | None = None
    is_part: bool = False

    @property
    def tokens_per_second(self) -> float:
        """Tokens of all sequences a second."""
        return self.tokens / self._seconds

    @property
    def flops_per_second(self) -> float:
        """All FLOPs of the stage, elementwise ones too, a second."""
        return required_rates(self.work.cost, self._seconds).flops

    @property
    def bytes_per_second(self) -> float:
        """All bytes that its operators move a second."""
        return required_rates(self.work.cost, self._seconds).num_bytes

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilisation; None without a known device, and of what is no stage."""
        if self.device is None or self.is_part:
            return None
        return mfu(self.work.needed_flops, self.device, self._seconds)

    @property
    def mbu(self) -> float | None:
        """Model bandwidth utilisation; None without a known device, and of what is no stage."""
        if self.device is None or self.is_part:
            return None
        return mbu(self.work.used_bytes, self.device, self._seconds)

    @property
    def ratio(self) -> float | None:
        """Measured over predicted."""
        return None if self.predicted is None else self.seconds / self.predicted

    @property
    def _seconds(self) -> float:
        """Of all that `work` is."""
        return self.seconds * self.passes


def in_turn(stages: list[StageRun]) -> StageRun:
    """Stages one after the other: times, work and tokens add up; predictions where all have one. At least one stage."""
    predicted = [stage.predicted * stage.passes for stage in stages if stage.predicted is not None]
    levels = [stage.levels * stage.passes for stage in stages if stage.levels is not None]
    return StageRun(
        seconds=sum(stage.seconds * stage.passes for stage in stages),
        work=reduce(Work.__add__, [stage.work for stage in stages]),
        tokens=sum(stage.tokens for stage in stages),
        predicted=sum(predicted) if len(predicted) == len(stages) else None,
        levels=reduce(Levels.__add__, levels) if len(levels) == len(stages) else None,
        device=stages[0].device,
        is_part=all(stage.is_part for stage in stages),
    )
