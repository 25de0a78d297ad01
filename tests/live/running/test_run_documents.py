"""Whole runs of a small real model: what is in the folder, and that it agrees with itself and with the static model."""

from pathlib import Path
from typing import Any

import pytest

from modelmeter import DeepseekOCRModel, ModelMeterError, plan_views
from modelmeter.live.running.progress import Progress
from modelmeter.live.running.run import run_documents
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.live.verification.real_run import SMALL
from modelmeter.report.model_report.convert import from_json, from_yaml

from .conftest import Make, read

FILES = {"analytic_hooks", "environment.json", "report.json", "report.yaml", "status.json", "summary.json"}
A_TOKEN = 2 * 4 * 256 * 2  # keys and values, layers, hidden size, bf16
STEPS = 8


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("attention", ["eager", "flash"])
def test_hooks_cache_and_static_model_agree(ask: Make, page: Path, batch: int, attention: str) -> None:
    """A page with tiles, eight decode steps."""
    request = ask(page, mode="gundam", max_tiles=2, max_new_tokens=STEPS + 1, batch_size=batch, attention=attention)
    summary = run_documents(request)
    folder = Path(summary.folder)
    assert {path.name for path in folder.iterdir()} == FILES
    views = plan_views(700, 900, mode="gundam", max_tiles=2)
    assert views.num_tiles == 2
    (found,) = read(folder, "summary.json")["pages"]
    assert found["context_len"] == views.image_tokens + 10
    assert found["kv_cache_bytes"] == batch * (views.image_tokens + 10 + STEPS) * A_TOKEN
    assert len(found["checks"]) == 1 + 2 * 4  # the cache; FLOPs and bytes of three vision modules and the layers
    assert all(check["equal"] for check in found["checks"])
    model = DeepseekOCRModel.from_config(SMALL, implementation="transformers", logits="last", attention=attention)
    model.set_views(views)
    model.start_prefill(views.image_tokens + 10, batch)
    static = {path: cost.flops for path, cost in model.trace().by_layer(2).items()}
    steps = [step for step in read(folder, "analytic_hooks/decoder_steps.json")["steps"] if step["stage"] == "prefill"]
    assert sum(step["flops"] for step in steps) == static["model.layers"]
    for step in read(folder, "analytic_hooks/vision_steps.json")["steps"]:
        static[f"model.{step['module']}"] -= step["flops"]
    assert [static[f"model.{name}"] for name in ("sam_model", "vision_model", "projector")] == [0, 0, 0]


def test_the_summary_is_made_of_its_pages(ask: Make, page: Path) -> None:
    summary = run_documents(ask(page, "300x400", max_new_tokens=4, predict_device="h200", repeats=3))
    data = read(Path(summary.folder), "summary.json")
    assert (data["complete"], data["reason"], data["errors"]) == (True, None, [])
    first, second = (one["stages"] for one in data["pages"])
    assert "host" in first and "host" not in second  # a size is a page of noise: nobody reads it
    for stages in (first, second):
        assert stages["prefill"]["spread"]["repeats"] == 3
        assert stages["decode"]["seconds"] == pytest.approx(stages["decode_step"]["passes"] * mean(data, stages))
        times = [stages[name]["seconds"] for name in ("host", "prefill", "decode") if name in stages]
        assert stages["page"]["seconds"] == pytest.approx(sum(times))
        assert stages["page"]["flops"] == stages["prefill"]["flops"] + stages["decode"]["flops"]
        for stage in stages.values():
            assert stage["ratio"] == pytest.approx(stage["seconds"] / stage["predicted_seconds"])
    for name in ("vision", "prefill", "decode", "page"):
        for quantity in ("seconds", "flops", "io_bytes", "needed_flops", "used_bytes", "predicted_seconds", "tokens"):
            assert data["totals"][name][quantity] == pytest.approx(first[name][quantity] + second[name][quantity])


def mean(data: Any, stages: Any) -> float:
    """The mean decode step of the page that has these stages."""
    (steps,) = [page["decode_step_seconds"] for page in data["pages"] if page["stages"] is stages]
    return sum(steps) / len(steps)


def test_the_report_has_measured_beside_predicted_and_what_was_observed(ask: Make, page: Path) -> None:
    request = ask(page, "300x400", mode="gundam", max_tiles=2, max_new_tokens=4, predict_device="h200")
    folder = Path(run_documents(request).folder)
    report = from_json((folder / "report.json").read_text())
    assert from_yaml((folder / "report.yaml").read_text()) == report
    measured = [page["stages"] for page in read(folder, "summary.json")["pages"]]
    for kind, stages in zip(report.kinds, measured, strict=True):
        for stage, name in (("vision", "vision"), ("prefill", "prefill"), ("decode", "decode_step")):
            time = kind.stages[stage].time
            assert time is not None and time.measured_seconds == stages[name]["seconds"]
        vision = {
            node.path: node.snapshots["vision"].time for _, node in kind.tree.walk() if "vision" in node.snapshots
        }
        sam = vision["model.sam_model"]
        assert sam is not None and sam.measured_seconds == stages["sam"]["seconds"]
    assert report.observed is not None
    tokens = [(one.document, one.context_len, one.decode_tokens) for one in report.observed.pages]
    contexts = [kind.context_len for kind in report.kinds]
    assert tokens == [(str(page), contexts[0], 3), ("300x400", contexts[1], 3)]
    sam_seconds = report.observed.snapshots["vision/image_encoder_vit"].measured_seconds
    assert sam_seconds == pytest.approx(sum(stages["sam"]["seconds"] for stages in measured))


def test_what_hooks_saw_is_summed_up(ask: Make) -> None:
    """By layer, stage, document and token, of two pages: each adds up to all, and to the records."""
    folder = Path(run_documents(ask("300x400", "500x400", max_new_tokens=4)).folder)
    sums = read(folder, "analytic_hooks/summary.json")
    decoder = read(folder, "analytic_hooks/decoder_steps.json")["steps"]
    vision = read(folder, "analytic_hooks/vision_steps.json")["steps"]
    flops = sum(step["flops"] for step in (*decoder, *vision))
    assert sums["hooked"]["flops"] == flops
    for name in ("by_layer", "by_stage", "by_document"):
        assert sum(total["flops"] for total in sums[name].values()) == flops
    assert sums["by_layer"]["model.layers.2"]["flops"] == sum(s["flops"] for s in decoder if s["layer_idx"] == 2)
    assert list(sums["by_stage"]) == ["prefill", "decode"]
    assert list(sums["by_document"]) == ["300x400", "500x400"]
    assert [token["kv_len"] for token in sums["tokens"]] == [84, 85, 86] * 2  # 83 in the prefill
    assert sum(token["cost"]["flops"] for token in sums["tokens"]) == sums["by_stage"]["decode"]["flops"]


def test_without_hooks_there_is_a_report_and_nothing_observed(ask: Make) -> None:
    folder = Path(run_documents(ask("300x400", hooks=False)).folder)
    assert {path.name for path in folder.iterdir()} == FILES - {"analytic_hooks"}
    assert from_json((folder / "report.json").read_text()).observed is None
    (found,) = read(folder, "summary.json")["pages"]
    assert [check["of"] for check in found["checks"]] == ["KV cache"]


def test_experts_that_tokens_reach_are_counted_on_demand(ask: Make) -> None:
    folder = Path(run_documents(ask("300x400", observe_experts=True, max_new_tokens=3)).folder)
    experts = read(folder, "summary.json")["experts"]
    decode = [one for one in experts if one["stage"] == "decode"]
    assert [one["layer_idx"] for one in decode] == [1, 2, 3]  # layer 0 has none
    assert all((one["hit"], one["expected"], one["passes"]) == (3, 3, 2) for one in decode)  # one token: its own three
    assert all(one["weight_bytes"] == one["weight_bytes_observed"] for one in decode)


def test_one_token_is_the_prefill_alone(ask: Make) -> None:
    folder = Path(run_documents(ask("300x400", max_new_tokens=1)).folder)
    (found,) = read(folder, "summary.json")["pages"]
    assert found["generated_tokens"] == 1 and found["decode_step_seconds"] == []
    assert "decode" not in found["stages"]
    assert found["stages"]["page"]["seconds"] == found["stages"]["prefill"]["seconds"]


def test_it_stops_at_the_end_of_the_text(ask: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that comes later stands for the tokenizer's end: the run goes no further, unless told to."""
    first = Path(run_documents(ask("300x400", max_new_tokens=6, run_id="first")).folder)
    (ids,) = read(first, "summary.json")["pages"][0]["generated_ids"]
    end = next(n for n in range(1, 6) if ids[n] not in ids[:n])
    monkeypatch.setattr(DeepSeekOCRSession, "stop_ids", (ids[end],))
    for ignored, tokens in ((False, end + 1), (True, 6)):
        run = ask("300x400", max_new_tokens=6, ignore_eos=ignored, run_id=f"ignored-{ignored}")
        folder = Path(run_documents(run).folder)
        (page,) = read(folder, "summary.json")["pages"]
        assert (page["generated_tokens"], page["stop_reason"]) == (tokens, "length" if ignored else "stop")
        assert all(check["equal"] for check in page["checks"])
        observed = read(folder, "report.json")["observed"]["pages"]
        assert [one["decode_tokens"] for one in observed] == [tokens - 1]


def test_it_says_where_it_is(ask: Make) -> None:
    heard: list[Progress] = []
    run_documents(ask("300x400", max_new_tokens=3, repeats=2, warm_up=1), watch=heard.append)
    places = [progress.place for progress in heard]
    assert places == [
        "loading",
        "preparing of 300x400",
        *["prefill of 300x400", *[f"prefill of 300x400 ({n} of 3)" for n in (1, 2, 3)]],
        *[f"decode of 300x400 ({n} of 3)" for n in (1, 2, 3)],
        "writing of 300x400",
        "writing the report",
    ]


def test_the_model_is_left_without_hooks(ask: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[DeepSeekOCRSession] = []
    build = DeepSeekOCRSession.from_config

    def kept(*args: Any, **kwargs: Any) -> DeepSeekOCRSession:
        made.append(build(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(DeepSeekOCRSession, "from_config", kept)
    run_documents(ask("300x400", observe_experts=True))
    modules = list(made[0].model.modules())
    assert sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules) == 0


def test_two_runs_into_one_folder(ask: Make) -> None:
    first = Path(run_documents(ask("300x400")).folder)
    before = {path: path.read_bytes() for path in first.rglob("*.json")}
    with pytest.raises(ModelMeterError, match="is there already"):
        run_documents(ask("500x400"))
    assert {path: path.read_bytes() for path in first.rglob("*.json")} == before
