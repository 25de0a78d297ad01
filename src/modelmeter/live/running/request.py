"""What `modelmeter run` is asked for, checked before anything is read or loaded."""

from pathlib import Path
from typing import Any, cast

import attrs
import torch

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.roofline import machine_of
from modelmeter.live.calibration.rates import catalogued
from modelmeter.live.reference.adapter import ExpertsRun
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.models.deepseek_ocr.config import DeepseekOCRConfig
from modelmeter.nn.attention import AttentionKind
from modelmeter.report.analysis import Workload


@attrs.frozen(kw_only=True)
class ModelChoice:
    """Which model, and how it is built: a checkpoint folder, or random weights of a configuration.

    Raises `ModelMeterError` where both or neither is chosen, and where an option goes with the other one.
    """

    model_path: Path | None = None
    trust_remote_code: bool = False
    random_weights: bool = False
    layers: int | None = None
    config: Path | None = None
    seed: int | None = None
    device: str = "cpu"
    dtype: str | None = None
    attention: str = "eager"
    experts: str | None = None

    def __attrs_post_init__(self) -> None:
        if (self.model_path is None) != self.random_weights:
            raise ModelMeterError("a model is needed, one of the two: --model-path DIR, or --random-weights")
        only = {"--layers": self.layers, "--config": self.config, "--seed": self.seed}
        given = [name for name, value in only.items() if value is not None]
        if not self.random_weights and given:
            raise ModelMeterError(f"{given[0]} goes with --random-weights: a checkpoint folder brings its own")
        if self.random_weights and self.trust_remote_code:
            raise ModelMeterError("--trust-remote-code goes with --model-path: no other model brings code of its own")

    def open(self) -> DeepSeekOCRSession:
        """The model, loaded or built. Raises `ModelMeterError` as the session does, for unknown choices first."""
        attention = cast("AttentionKind", self.attention)
        experts = cast("ExpertsRun | None", self.experts)
        if self.model_path is not None:
            return DeepSeekOCRSession.from_local(
                self.model_path,
                device=self.device,
                dtype=self.dtype,
                attention=attention,
                experts=experts,
                trust_remote_code=self.trust_remote_code,
            )
        return DeepSeekOCRSession.from_config(
            None if self.config is None else DeepseekOCRConfig.from_hf(self.config),
            seed=self.weights_seed or 0,
            device=self.device,
            dtype=self.dtype or "bfloat16",
            attention=attention,
            experts=experts or "eager",
            layers=self.layers,
        )

    @property
    def weights_seed(self) -> int | None:
        """The seed of random weights, 0 unless given; None for a checkpoint's."""
        return (self.seed or 0) if self.random_weights else None


def _at_least(least: int, option: str) -> Any:
    def check(instance: Any, attribute: "attrs.Attribute[int | None]", value: int | None) -> None:
        if value is not None and value < least:
            raise ModelMeterError(f"{option} {value}: give {least} or more")

    return check


@attrs.frozen(kw_only=True)
class RunRequest:
    """A run: which files, which model, how each page is run and watched, where the results go."""

    files: tuple[str, ...]
    model: ModelChoice
    workload: Workload
    """Its decode steps are one less than the new tokens: the prefill gives the first."""
    prompt: str | None = None
    dpi: float = 144.0
    ignore_eos: bool = False
    hooks: bool = True
    observe_experts: bool = False
    warm_up: int | None = attrs.field(default=None, validator=_at_least(0, "--warm-up"))
    repeats: int | None = attrs.field(default=None, validator=_at_least(1, "--repeats"))
    predict_device: str | None = None
    output: Path = Path("runs")
    run_id: str | None = None
    html: bool = True

    def __attrs_post_init__(self) -> None:
        if self.observe_experts and not self.hooks:
            raise ModelMeterError("--observe-experts counts by a hook: leave out --no-hooks")

    @property
    def new_tokens(self) -> int:
        """Tokens that come out of a page at most."""
        return self.workload.decode_tokens + 1


def workload_of(*, mode: str, max_tiles: int, prompt_tokens: int, max_new_tokens: int, batch_size: int) -> Workload:
    """How each page is run. Raises `ModelMeterError` for sizes that cannot be."""
    if max_new_tokens < 1:
        raise ModelMeterError(f"--max-new-tokens {max_new_tokens}: give 1 or more, the prefill gives the first")
    sizes = {"prompt_tokens": prompt_tokens, "decode_tokens": max_new_tokens - 1, "batch_size": batch_size}
    return Workload(mode=mode, max_tiles=max_tiles, **sizes)


def machine_for(named: str | None, device: torch.device) -> Machine | None:
    """The device to predict on: as named, or as the CUDA device calls itself; None where no one knows it.

    The real model runs from Python, kernel by kernel: "eager".
    """
    if named is not None:
        return machine_of(named, execution="eager")
    found = catalogued(device)
    return None if found is None else machine_of(found, execution="eager")
