"""`AnalyticRunStats`: all that a shadow run recorded."""

from typing import Any

import attrs

from modelmeter.live.shadow.records import DecoderStep, PassStep, VisionStep


@attrs.define(kw_only=True, eq=False)
class AnalyticRunStats:
    """Records in the order in which the model ran. `Shadow.flush()` brings them up to date."""

    decoder_steps: list[DecoderStep] = attrs.field(factory=list)
    vision_steps: list[VisionStep] = attrs.field(factory=list)
    passes: list[PassStep] = attrs.field(factory=list)

    def add_decoder_step(self, **fields: Any) -> DecoderStep:
        """Append a `DecoderStep` of these fields, and return it."""
        step = DecoderStep(**fields)
        self.decoder_steps.append(step)
        return step

    def add_vision_step(self, **fields: Any) -> VisionStep:
        """Append a `VisionStep` of these fields, and return it."""
        step = VisionStep(**fields)
        self.vision_steps.append(step)
        return step

    def add_pass(self, **fields: Any) -> PassStep:
        """Append a `PassStep` of these fields, and return it."""
        step = PassStep(**fields)
        self.passes.append(step)
        return step
