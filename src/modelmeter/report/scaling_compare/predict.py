"""What the analytic model says of a length: counted FLOPs, and on a device times and what MFU and MBU are made of."""

from collections.abc import Mapping
from fractions import Fraction

import attrs
import numpy as np

from modelmeter.core.dims import Dim, exact_plus
from modelmeter.core.precision import Precision
from modelmeter.hardware.floor import Floor, floor_of
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.page_time import Levels, decode_steps, decoding, mbu, mfu, time_stage, used_bytes
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.report.scaling_compare.measured import MeasuredScaling

PRECISIONS: Mapping[str, Precision] = {"bfloat16": Precision(), "float16": Precision(weights="fp16")}
"""By torch's names: the analytic model has one 16-bit float."""


@attrs.frozen(kw_only=True)
class Prediction:
    """A prefill, or a mean decode step, on a device: seconds at each level; what `steps` of it need and use."""

    machine: Machine
    seconds: Levels
    needed_flops: Mapping[str, Dim]
    used_bytes: Dim
    steps: int = 1

    def mfu(self, seconds: float) -> float:
        """Model FLOPs utilisation where one takes `seconds`: needed FLOPs / (dense peak * time)."""
        return mfu(self.needed_flops, self.machine.device, seconds * self.steps)

    def mbu(self, seconds: float) -> float:
        """Model bandwidth utilisation: (used weights, once a pass, + KV cache) / (bandwidth * time)."""
        return mbu(self.used_bytes, self.machine.device, seconds * self.steps)


class Predictor:
    """The analytic model as it was measured, on a machine."""

    def __init__(self, measured: MeasuredScaling, machine: Machine) -> None:
        conventions = attrs.asdict(measured.conventions)
        precision = PRECISIONS[measured.dtype]
        self.machine = machine
        self._model = DeepseekOCRModel.from_config(measured.config, precision=precision, **conventions)
        self._batch, self._steps = measured.batch_size, measured.decode_steps

    def of(self, length: int) -> tuple[Prediction, Prediction]:
        """(prefill, the mean of the decode steps) of a prompt of `length` tokens of text."""
        self._model.start_prefill(length, self._batch)
        prefill = time_stage(self._model, self.machine)
        cached = exact_plus(length, np.arange(self._steps))
        steps = decode_steps(self._model, self.machine, cached, self._batch)
        probe = decoding(self._model, cached, self._batch)
        floor: Floor = floor_of(probe)
        return (
            Prediction(
                machine=self.machine,
                seconds=prefill.seconds,
                needed_flops=prefill.floor.flops_by_dtype,
                used_bytes=prefill.used_bytes,
            ),
            Prediction(
                machine=self.machine,
                seconds=Levels(**{name: float(np.mean(seconds)) for name, seconds in steps.items()}),
                needed_flops={name: self._over_steps(flops) for name, flops in floor.flops_by_dtype.items()},
                used_bytes=self._over_steps(used_bytes(probe, probe.trace())),
                steps=self._steps,
            ),
        )

    def _over_steps(self, values: Dim) -> int:
        """The sum over the steps; what is the same in each is a number."""
        return int(np.sum(np.broadcast_to(np.asarray(values, dtype=object), (self._steps,))))


def counted_flops(
    config: DeepseekOCRConfig, conventions: Conventions, *, length: int, batch_size: int, decode_steps: int
) -> dict[str, Fraction]:
    """What torch's FlopCounterMode sees of a prefill, and of the mean decode step after it, by the analytic model."""
    model = DeepseekOCRModel.from_config(config, **attrs.asdict(conventions))
    model.start_prefill(length, batch_size)
    run = model.simulate_run(decode_tokens=decode_steps)
    return {
        "prefill": Fraction(run.prefill.cost.counted_flops),
        "decode": Fraction(run.decode.cost.counted_flops, decode_steps),
    }
