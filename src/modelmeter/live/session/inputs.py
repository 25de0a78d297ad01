"""What a run starts from: token ids and the views of a page, on the host."""

from typing import Any, Final

import attrs
import torch

from modelmeter.core.dims import as_dim, is_number
from modelmeter.core.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.views import ViewPlan

MOST_SEED: Final = 2**63 - 1
"""Torch's generators take 64 bits; a batch of texts counts on from its seed."""


@attrs.frozen(kw_only=True, eq=False)
class Images:
    """Pixels of the views, normalised, in the session's dtype, on the CPU: page [b 3 s s], tiles [b*n 3 t t] or None.

    The tiles of a page follow one another, row by row; those of the first page come first.
    """

    page: torch.Tensor
    tiles: torch.Tensor | None


@attrs.frozen(kw_only=True, eq=False)
class PreparedInputs:
    """`batch_size` equal sequences: ids [b s] (torch.long, CPU); where `image_mask` [s] is true they are image tokens.

    Without views (text only) there are no images and the mask is false everywhere.
    """

    ids: torch.Tensor
    image_mask: torch.Tensor
    images: Images | None = None
    views: ViewPlan | None = None

    @property
    def batch_size(self) -> int:
        """Sequences."""
        return self.ids.shape[0]

    @property
    def context_len(self) -> int:
        """Tokens of a sequence, image tokens included."""
        return self.ids.shape[1]

    @property
    def image_tokens(self) -> int:
        """Image tokens of a sequence."""
        return 0 if self.views is None else self.views.image_tokens

    @property
    def prompt_tokens(self) -> int:
        """Text tokens of a sequence, BOS included."""
        return self.context_len - self.image_tokens


def check_inputs(inputs: PreparedInputs, vocab_size: int, dtype: torch.dtype) -> None:
    """Raises `ModelMeterError` for token ids or pixels that a model does not take: on CUDA a look-up beyond the table
    would break the device for the whole process.
    """
    last = int(inputs.ids.max())
    if last >= vocab_size:
        raise ModelMeterError(
            f"the inputs have token id {last}, the model has {vocab_size}: take its tokenizer and config.json from one "
            "place, and prepare inputs with the session that runs them"
        )
    if inputs.images is not None and inputs.images.page.dtype != dtype:
        raise ModelMeterError(
            f"the inputs' pixels are {inputs.images.page.dtype}, the model computes in {dtype}: prepare inputs with "
            "the session that runs them"
        )


def whole(value: Any, name: str, least: int = 1, most: int | None = None) -> int:
    """A whole number of at least `least`, and at most `most`. Raises `ModelMeterError` naming it otherwise."""
    number = as_dim(value, name, least=least)
    if not is_number(number):
        raise ModelMeterError(f"{name} must be one whole number, not {value!r}")
    if most is not None and number > most:
        raise ModelMeterError(f"{name} must be at most {most}, not {value!r}")
    return int(number)
