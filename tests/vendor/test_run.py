"""`modelmeter run` on the vendor's code: a page from a file to the run's folder."""

import json
from pathlib import Path

import pytest
from PIL import Image

from modelmeter import ModelMeterError
from modelmeter.live.running.request import ModelChoice, RunRequest, workload_of
from modelmeter.live.running.run import run_documents
from modelmeter.live.running.summary import RunSummary

A_TOKEN = 2 * 3 * 32 * 2  # keys and values, layers, hidden size, bf16
STEPS = 8


def run(folder: Path, out: Path, batch: int, mode: str) -> RunSummary:
    """A run of a picture, 8 decode steps."""
    picture = out / "page.png"
    Image.effect_noise((600, 500), 90).save(picture)
    return run_documents(
        RunRequest(
            files=(str(picture),),
            model=ModelChoice(model_path=folder, trust_remote_code=True),
            workload=workload_of(mode=mode, max_tiles=9, prompt_tokens=10, max_new_tokens=STEPS + 1, batch_size=batch),
            warm_up=0,
            repeats=1,
            html=False,
            output=out / "runs",
            run_id="one",
        )
    )


@pytest.mark.parametrize(("batch", "mode", "image_tokens"), [(1, "tiny", 73), (2, "tiny", 73), (1, "gundam", 273)])
def test_hooks_cache_and_static_model_agree(
    small_weights: Path, tmp_path: Path, batch: int, mode: str, image_tokens: int
) -> None:
    """A page within one tile has none in Gundam mode. The vendor's code encodes the pages of a batch one by one."""
    summary = run(small_weights, tmp_path, batch, mode)
    assert not summary.errors
    data = json.loads((tmp_path / "runs/one/summary.json").read_text())
    assert (data["conventions"]["implementation"], data["conventions"]["logits"]) == ("vendor", "all")
    (page,) = data["pages"]
    assert page["context_len"] == image_tokens + 10
    assert page["kv_cache_bytes"] == batch * (image_tokens + 10 + STEPS) * A_TOKEN
    assert [check for check in page["checks"] if not check["equal"]] == []
    assert len(page["checks"]) == 1 + 2 * 4  # the cache; FLOPs and bytes of three vision modules and the layers


def test_the_code_in_a_folder_has_to_be_trusted(small_weights: Path, tmp_path: Path) -> None:
    request = RunRequest(
        files=("300x400",),
        model=ModelChoice(model_path=small_weights),
        workload=workload_of(mode="tiny", max_tiles=9, prompt_tokens=10, max_new_tokens=2, batch_size=1),
        html=False,
        output=tmp_path / "runs",
    )
    with pytest.raises(ModelMeterError, match="trust"):
        run_documents(request)
    assert list((tmp_path / "runs").iterdir()) == []
