"""Token ids: the tokenizer's around the image tokens, as the vendor's `infer` has them, or random ones."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modelmeter import ModelMeterError, plan_views
from modelmeter.live.session.body import Body
from modelmeter.live.session.prompt import PROMPT, load_tokenizer, prompt_ids, random_ids
from modelmeter.live.session.session import DeepSeekOCRSession

from .conftest import TILED

WORDS = {"<bos>": 0, "<eos>": 1, "\n": 2, "<|grounding|>": 3, "document": 4, "<image>": 511, "[UNK]": 6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer of a few words, all special or split at spaces."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = ["\n", "<|grounding|>", "<image>"]
    fast: Any = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", unk_token="[UNK]"
    )
    fast.add_special_tokens({"additional_special_tokens": special})
    where = tmp_path_factory.mktemp("tokenizer")
    fast.save_pretrained(where)
    return where


def test_the_released_prompt(folder: Path) -> None:
    """BOS, image tokens, then the text after `<image>`: newline, grounding, five words of which one is known."""
    ids = prompt_ids(load_tokenizer(folder), None, 7, 511)
    assert ids == [0, *[511] * 7, 2, 3, 6, 6, 4, 6, 6]
    assert PROMPT == "<image>\n<|grounding|>Convert the document to markdown."


def test_text_before_the_page(folder: Path) -> None:
    assert prompt_ids(load_tokenizer(folder), " document <image> document\n", 2, 511) == [0, 4, 511, 511, 4]


@pytest.mark.parametrize(("prompt", "times"), [("document", 0), ("<image> and <image>", 2)])
def test_a_prompt_has_one_page(folder: Path, prompt: str, times: int) -> None:
    with pytest.raises(ModelMeterError, match=f"{times} times: a page takes it once"):
        prompt_ids(load_tokenizer(folder), prompt, 2, 511)


def test_a_prompt_that_spells_an_image_token(folder: Path) -> None:
    with pytest.raises(ModelMeterError, match="image token's id 4"):
        prompt_ids(load_tokenizer(folder), "<image> document", 2, 4)


def test_a_session_with_a_tokenizer(session: DeepSeekOCRSession, folder: Path, quick: Any) -> None:
    body: Body = session.body
    own = DeepSeekOCRSession(body, load_tokenizer(folder))
    inputs = own.prepare_inputs(Image.new("RGB", (700, 300)), mode="tiny", prompt="<image> document", batch_size=2)
    views = plan_views(700, 300, mode="tiny")
    assert inputs.ids.tolist() == [[0, *[511] * views.image_tokens, 4]] * 2
    assert inputs.image_mask.tolist() == [False, *[True] * views.image_tokens, False]
    assert (inputs.image_tokens, inputs.prompt_tokens) == (73, 2)
    result = own.run(inputs, 3, **quick)
    assert result.text == own.tokenizer.decode(list(result.generated_ids[0]), skip_special_tokens=True)
    assert own.stop_ids == (1,) and session.stop_ids == ()


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert load_tokenizer(tmp_path) is None


def test_a_broken_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    with pytest.raises(ModelMeterError, match=r"the tokenizer in .* cannot be loaded") as error:
        load_tokenizer(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        b'{"version": "9.0", "added_tokens": [], "model": {}}',
        b'{"version": "1.0", "added_tokens": [], "model": {"type": "Nope"}}',
        b"5",
        b"[]",
    ],
)
def test_a_tokenizer_of_another_kind(tmp_path: Path, content: bytes) -> None:
    """Sound JSON that is no tokenizer: the library raises what it likes, of the class Exception, too."""
    (tmp_path / "tokenizer.json").write_bytes(content)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    with pytest.raises(ModelMeterError, match=r"the tokenizer in .* cannot be loaded"):
        load_tokenizer(tmp_path)


def test_a_token_beyond_the_vocabulary(session: DeepSeekOCRSession, folder: Path) -> None:
    """A tokenizer of another model: on CUDA the look-up would break the device for the process."""
    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens([f"word{number}" for number in range(600)])
    own = DeepSeekOCRSession(session.body, tokenizer)
    with pytest.raises(ModelMeterError, match="the model has 512"):
        own.prepare_inputs(Image.new("RGB", (64, 64)), mode="tiny", prompt="<image> word599")


def test_random_text() -> None:
    """Of the length asked for, BOS included, and without the image token's id."""
    ids = random_ids(5, 300, image_token=3, vocab_size=9)
    assert ids[:6] == [0, 3, 3, 3, 3, 3] and len(ids) == 305
    assert set(ids[6:]) == {0, 1, 2, 4, 5, 6, 7, 8}
    assert ids == random_ids(5, 300, image_token=3, vocab_size=9)
    assert ids != random_ids(5, 300, image_token=3, vocab_size=9, seed=1)
    assert random_ids(2, 0, image_token=3, vocab_size=9) == [3, 3]
    assert random_ids(2, 1, image_token=3, vocab_size=9) == [0, 3, 3]
    with pytest.raises(ModelMeterError, match="prompt_tokens"):
        random_ids(2, -1, image_token=3, vocab_size=9)


def test_a_page_without_a_tokenizer(session: DeepSeekOCRSession) -> None:
    page = Image.new("RGB", (1300, 640))
    inputs = session.prepare_inputs(page, batch_size=2, prompt_tokens=12)
    views = plan_views(1300, 640)
    assert inputs.views == views and inputs.context_len == views.image_tokens + 12
    assert int(inputs.image_mask.sum()) == views.image_tokens
    assert inputs.images is not None and inputs.images.tiles is not None
    assert inputs.images.tiles.shape[0] == 2 * views.num_tiles
    with pytest.raises(ModelMeterError, match="needs a tokenizer"):
        session.prepare_inputs(page, prompt="<image>")
    with pytest.raises(ModelMeterError, match="unknown mode"):
        session.prepare_inputs(page, mode="grand")
    with pytest.raises(ModelMeterError, match="batch_size"):
        session.prepare_inputs(page, batch_size=0)


def test_synthetic_inputs_are_as_long_as_asked(session: DeepSeekOCRSession) -> None:
    text = session.synthetic_inputs(33, batch_size=3)
    assert text.ids.shape == (3, 33) and text.images is None and not text.image_mask.any()
    assert len({tuple(ids) for ids in text.ids.tolist()}) == 3
    page = session.synthetic_inputs(40, views=TILED)
    assert (page.context_len, page.image_tokens, page.prompt_tokens) == (40, 31, 9)
    assert session.synthetic_inputs(31, views=TILED).prompt_tokens == 0
    with pytest.raises(ModelMeterError, match="seq_len 30 is shorter than the 31 image tokens"):
        session.synthetic_inputs(30, views=TILED)
    with pytest.raises(ModelMeterError, match="seq_len must be one whole number"):
        session.synthetic_inputs([3, 4])  # type: ignore[arg-type]
