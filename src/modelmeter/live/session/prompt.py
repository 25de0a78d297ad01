"""Token ids of a prompt with one page: by the folder's tokenizer, or random ones of a stated number."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch

from modelmeter.core.errors import ModelMeterError
from modelmeter.live.session.inputs import whole

IMAGE: Final = "<image>"
PROMPT: Final = f"{IMAGE}\n<|grounding|>Convert the document to markdown."
"""The released model card's prompt for a document."""
BOS: Final = 0
"""Begins every sequence: `bos_id` in the vendor's `infer`, `bos_token_id` of the released configuration."""
IMAGE_TOKEN: Final = 128815
"""The id of `<image>` in the released tokenizer (`image_token_id` in the vendor's `infer`)."""
_FILES: Final = ("tokenizer.json", "tokenizer_config.json")
_UNREADABLE: Final = (AttributeError, ImportError, KeyError, OSError, TypeError, ValueError)
"""What transformers raises for files that hold something else than they should."""


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer by transformers; None where it has none. Nothing is downloaded, and no code of it runs.

    Raises `ModelMeterError` where its files cannot be read.
    """
    if not any((folder / name).is_file() for name in _FILES):
        return None
    auto: Any = import_module("transformers")
    try:
        return auto.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the class itself is what the tokenizers library raises, from Rust
        if type(error) is not Exception and not isinstance(error, _UNREADABLE):
            raise
        cause = " ".join(str(error).split())
        raise ModelMeterError(
            f"the tokenizer in {folder} cannot be loaded ({cause}): download {' and '.join(_FILES)} again, or remove "
            "them to run with a prompt of a stated length"
        ) from error


def prompt_ids(tokenizer: Any, prompt: str | None, image_tokens: int, image_token: int) -> list[int]:
    """BOS, then the prompt's tokens with `<image>` as so many image tokens. Raises unless `<image>` is in it once.

    As the vendor's `infer` does: the text on either side of it is encoded by itself, without special tokens.
    """
    text = PROMPT if prompt is None else prompt
    parts = text.strip().split(IMAGE)
    if len(parts) != 2:
        raise ModelMeterError(f"prompt {text!r} has {IMAGE} {len(parts) - 1} times: a page takes it once")
    before, after = ([int(i) for i in tokenizer.encode(part, add_special_tokens=False)] for part in parts)
    if image_token in (*before, *after):
        raise ModelMeterError(f"prompt {text!r} has the image token's id {image_token} in its text: reword it")
    return [BOS, *before, *[image_token] * image_tokens, *after]


def random_ids(image_tokens: int, prompt_tokens: int, *, image_token: int, vocab_size: int, seed: int = 0) -> list[int]:
    """BOS (where there is a prompt), image tokens, random text: `prompt_tokens` of it, BOS included."""
    text = whole(prompt_tokens, "prompt_tokens", least=0)
    random = torch.Generator().manual_seed(seed)
    ids: Sequence[int] = torch.randint(0, vocab_size - 1, (max(text - 1, 0),), generator=random).tolist()
    others = [i + 1 if i >= image_token else i for i in ids]  # any id but the image token's
    return [*[BOS] * min(text, 1), *[image_token] * image_tokens, *others]
