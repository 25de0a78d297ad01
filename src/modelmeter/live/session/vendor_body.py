"""The vendor's checkpoint folder with data, run with its own code (transformers 4.46)."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
import torch
import transformers

from modelmeter.core.errors import ModelMeterError
from modelmeter.live.reference.vendor_load import build
from modelmeter.live.reference.vendor_running import StaysHere, flash_attention_here, silent
from modelmeter.live.session.body import Placed
from modelmeter.live.session.inputs import PreparedInputs
from modelmeter.live.session.prompt import IMAGE_TOKEN
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.nn.attention import AttentionKind


@attrs.frozen(kw_only=True, eq=False)
class VendorBody:
    """The model as its `forward` runs: logits of all positions in fp32, of which the last are used; its own routing.

    Position ids are the model's own, [1 q]. Pages of a batch are encoded one after another, each page's tiles before
    its global view: as many FLOPs as all at once, but the vision weights are read for every page.
    """

    model: Any
    config: DeepseekOCRConfig
    attention: AttentionKind
    device: torch.device
    dtype: torch.dtype
    folder: Path

    @property
    def name(self) -> str:
        """What it is, for reports."""
        kind = f"{type(self.model).__name__} ({self.attention})"
        return f"{self.config.name}: transformers {transformers.__version__} {kind}, weights of {self.folder.name}"

    @property
    def conventions(self) -> Conventions:
        """How the twin is run; real routing reaches what it reaches: "expected"."""
        return Conventions(implementation="vendor", attention=self.attention, position_ids="shared", logits="all")

    @property
    def image_token(self) -> int:
        """The released id. Where image tokens are is in the mask: in a smaller vocabulary any id will do."""
        return min(IMAGE_TOKEN, self.config.decoder.vocab_size - 1)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Nothing printed, nothing sent to a device that is not its own; no gradients."""
        with ExitStack() as stack:
            stack.enter_context(silent())
            stack.enter_context(flash_attention_here())
            if self.device.type != "cuda":
                stack.enter_context(StaysHere())
            stack.enter_context(torch.no_grad())
            yield

    def place(self, inputs: PreparedInputs) -> Placed:
        """`infer`'s arguments, a page at a time: (tiles, page), zeros where there are none; places; grid."""
        batch, images = inputs.batch_size, inputs.images
        if images is None or inputs.views is None:
            none = torch.zeros(1, 3, 1, 1, dtype=self.dtype, device=self.device)
            return Placed(ids=inputs.ids.to(self.device), images={"images": [(none, none)] * batch})
        page = images.page.to(self.device)
        tiles = torch.zeros_like(page) if images.tiles is None else images.tiles.to(self.device)
        pairs = list(zip(tiles.chunk(batch), page.chunk(batch), strict=True))
        _check_are_seen(page.chunk(batch) if images.tiles is None else [view for pair in pairs for view in pair])
        places = inputs.image_mask.expand(batch, -1).to(self.device)
        grids = torch.tensor([inputs.views.grid] * batch)
        return Placed(
            ids=inputs.ids.to(self.device),
            images={"images": pairs, "images_seq_mask": places, "images_spatial_crop": grids},
        )

    def new_cache(self) -> Any:
        """As `generate` makes it."""
        return transformers.DynamicCache()

    def prefill(self, inputs: Placed, cache: Any) -> torch.Tensor:
        """[b s] -> [b vocab]."""
        return self._forward(inputs.ids, inputs.ids.shape[1], cache, **inputs.images)

    def decode(self, ids: torch.Tensor, cached: int, cache: Any) -> torch.Tensor:
        """[b 1] -> [b vocab]."""
        return self._forward(ids, cached + 1, cache)

    def projector_calls(self, inputs: PreparedInputs) -> int:
        """For each page one for its tiles, one for its global view."""
        return 0 if inputs.views is None else inputs.batch_size * len(inputs.views.views)

    def _forward(self, ids: torch.Tensor, keys: int, cache: Any, **images: Any) -> torch.Tensor:
        mask = torch.ones(ids.shape[0], keys, dtype=torch.long, device=self.device)
        found = self.model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **images)
        logits: torch.Tensor = found.logits[:, -1]
        return logits


def _check_are_seen(views: Iterable[torch.Tensor]) -> None:
    """Raises `ModelMeterError` for pixels that add up to 0, by which the vendor's code knows that there is no picture.

    A page that is half black and half white would not be encoded; with such tiles its `forward` fails.
    """
    if any(view.sum().item() == 0 for view in views):
        raise ModelMeterError(
            "the vendor's code takes a page whose normalised pixels add up to 0 for none: give another mode, or "
            "another picture"
        )


def vendor_body(
    folder: Path, config: DeepseekOCRConfig, *, device: torch.device, dtype: torch.dtype, attention: AttentionKind
) -> VendorBody:
    """The model of a folder that `checked_folder` has looked at. Raises `ModelMeterError` for missing weights."""
    with silent():
        model = build(folder, attention, str(device), None, dtype)
    return VendorBody(model=model, config=config, attention=attention, device=device, dtype=dtype, folder=folder)
