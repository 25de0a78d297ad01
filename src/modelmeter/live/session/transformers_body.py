"""transformers 5's UnlimitedOcr with data: random weights of a configuration, or those of a checkpoint folder."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import torch
import transformers
from safetensors import SafetensorError
from transformers import DynamicCache, UnlimitedOcrConfig, UnlimitedOcrForConditionalGeneration

from modelmeter.core.errors import ModelMeterError
from modelmeter.live.reference.adapter import ExpertsRun
from modelmeter.live.reference.choose import quietly
from modelmeter.live.reference.transformers5 import SDPA_OR_EAGER, build, choose_attention, choose_experts, config_like
from modelmeter.live.reference.vendor_load import check_all_found, one_line
from modelmeter.live.session.body import Placed
from modelmeter.live.session.inputs import PreparedInputs
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.nn.attention import AttentionKind


@attrs.frozen(kw_only=True, eq=False)
class TransformersBody:
    """The model as its `forward` runs: attention masks of ones as `generate` makes them, logits of the last position.

    Position ids are the model's own, [1 q]. All pages of a batch are encoded at once, the global views before the
    tiles.
    """

    model: Any
    config: DeepseekOCRConfig
    attention: AttentionKind
    experts: ExpertsRun
    device: torch.device
    dtype: torch.dtype
    image_token: int
    weights: str

    @property
    def name(self) -> str:
        """What it is, for reports."""
        kernels = f"{SDPA_OR_EAGER[self.attention]}, experts {self.experts}"
        return f"{self.config.name}: transformers {transformers.__version__} UnlimitedOcr ({kernels}), {self.weights}"

    @property
    def conventions(self) -> Conventions:
        """How the twin is run; real routing reaches what it reaches: "expected"."""
        return Conventions(
            implementation="transformers",
            attention=self.attention,
            experts="loop" if self.experts == "eager" else "grouped",
            position_ids="shared",
            logits="last",
        )

    def running(self) -> AbstractContextManager[Any]:
        """Nothing but no gradients."""
        return torch.no_grad()

    def place(self, inputs: PreparedInputs) -> Placed:
        """Pages, tiles of all pages in a row, their number and grid for each page."""
        images: dict[str, Any] = {}
        if inputs.images is not None and inputs.views is not None:
            images["pixel_values"] = inputs.images.page.to(self.device)
            if inputs.images.tiles is not None:
                images |= {
                    "pixel_values_local": inputs.images.tiles.to(self.device),
                    "num_local_patches": [inputs.views.num_tiles] * inputs.batch_size,
                    "patches_grid": [list(inputs.views.grid)] * inputs.batch_size,
                }
        return Placed(ids=inputs.ids.to(self.device), images=images)

    def new_cache(self) -> DynamicCache:
        """As `generate` makes it."""
        return DynamicCache(config=self.model.config.text_config)

    def prefill(self, inputs: Placed, cache: Any) -> torch.Tensor:
        """[b s] -> [b vocab]."""
        return self._forward(inputs.ids, inputs.ids.shape[1], cache, **inputs.images)

    def decode(self, ids: torch.Tensor, cached: int, cache: Any) -> torch.Tensor:
        """[b 1] -> [b vocab]."""
        return self._forward(ids, cached + 1, cache)

    def projector_calls(self, inputs: PreparedInputs) -> int:
        """One for the global views, one for the tiles."""
        return 0 if inputs.views is None else len(inputs.views.views)

    def _forward(self, ids: torch.Tensor, keys: int, cache: Any, **images: Any) -> torch.Tensor:
        mask = torch.ones(ids.shape[0], keys, dtype=torch.long, device=self.device)
        found = self.model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=1, **images
        )
        logits: torch.Tensor = found.logits[:, -1]
        return logits


def random_body(
    config: DeepseekOCRConfig,
    *,
    seed: int,
    device: torch.device,
    dtype: torch.dtype,
    attention: AttentionKind,
    experts: ExpertsRun,
) -> TransformersBody:
    """Random weights as transformers initialises them, made on `device`: the same for a seed on one kind of device.

    The random state of torch is as before afterwards, that of other devices (which `torch.manual_seed` sets) too.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), device, quietly():
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.default_generators[device.index].manual_seed(seed)
        model: Any = build(config_like(config), attention=SDPA_OR_EAGER[attention], experts=experts, dtype=dtype)
    image_token = config.decoder.vocab_size - 1  # the released id may be beyond a small vocabulary
    model.config.image_token_id = image_token
    return TransformersBody(
        model=model,
        config=config,
        attention=attention,
        experts=experts,
        device=device,
        dtype=dtype,
        image_token=image_token,
        weights=f"random weights of seed {seed}",
    )


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    logging = transformers.utils.logging
    before = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            logging.enable_progress_bar()


def local_body(
    folder: Path,
    config: DeepseekOCRConfig,
    *,
    device: torch.device,
    dtype: torch.dtype,
    attention: AttentionKind,
    experts: ExpertsRun,
) -> TransformersBody:
    """The weights of a folder that transformers wrote, loaded on the host in `dtype`, then moved.

    Raises `ModelMeterError` where weights cannot be read, or some of the model's are not there.
    """
    theirs: Any = UnlimitedOcrConfig.from_pretrained(folder, local_files_only=True)
    choose_attention(theirs, SDPA_OR_EAGER[attention])
    try:
        with quietly(), _no_progress_bars():
            loaded: Any = UnlimitedOcrForConditionalGeneration.from_pretrained(
                folder,
                config=theirs,
                dtype=dtype,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except (OSError, SafetensorError) as error:
        raise ModelMeterError(
            f"the weights in {folder} cannot be read ({one_line(error)}): download them again"
        ) from error
    model, read = loaded
    check_all_found(folder, model, read)
    choose_experts(model.config, experts)
    return TransformersBody(
        model=model.to(device).eval(),
        config=config,
        attention=attention,
        experts=experts,
        device=device,
        dtype=dtype,
        image_token=int(theirs.image_token_id),
        weights=f"weights of {folder.name}",
    )
