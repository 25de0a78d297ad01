"""Pages, models and memory that are not as they should be: what can still be run is, and what stays is told."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from PIL import Image
from torch import nn

from modelmeter import ModelMeterError
from modelmeter.live.running.request import ModelChoice
from modelmeter.live.running.run import run_documents
from modelmeter.live.session import memory
from modelmeter.live.session.run import Run
from modelmeter.live.session.session import DeepSeekOCRSession

from .conftest import Make, left, read


@pytest.fixture
def change_model(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[DeepSeekOCRSession], object]], None]:
    """change_model(change): the sessions that are made are changed before they are used."""

    def use(change: Callable[[DeepSeekOCRSession], object]) -> None:
        build = ModelChoice.open

        def changed(choice: ModelChoice) -> DeepSeekOCRSession:
            session = build(choice)
            change(session)
            return session

        monkeypatch.setattr(ModelChoice, "open", changed)

    return use


def test_a_picture_that_is_none_among_others(ask: Make, tmp_path: Path) -> None:
    """One has no picture's header, one is cut inside, which its header does not tell: the third still runs."""
    (tmp_path / "text.png").write_text("no picture")
    torn = tmp_path / "torn.jpg"
    torn.write_bytes(broken_jpeg())
    summary = run_documents(ask(tmp_path / "text.png", torn, "300x400"))
    assert [Path(error.source).name for error in summary.errors] == ["text.png", "torn.jpg"]
    status, data = left(Path(summary.folder))
    assert (status["state"], status["pages_finished"], status["pages_failed"]) == ("complete", 1, 2)
    assert [page["source"] for page in data["pages"]] == ["300x400"]
    assert [error["source"] for error in data["errors"]] == [str(tmp_path / "text.png"), str(torn)]


def broken_jpeg() -> bytes:
    """A JPEG file with a sound header and a sound end, and nothing in between."""
    out = io.BytesIO()
    Image.effect_noise((400, 400), 90).save(out, "JPEG")
    whole = out.getvalue()
    scan = whole.index(b"\xff\xda")  # T.81, B.2.3: the scan begins
    return whole[: scan + 2] + b"\xff\xd9"


def test_a_page_longer_than_the_model_has_positions(ask: Make) -> None:
    """It is said before anything is run, and there is no report of no pages."""
    summary = run_documents(ask("300x400", prompt_tokens=8190))
    (error,) = summary.errors
    assert "8266 tokens are more than the model's 8192 positions" in error.message  # 73 + 8190 + 3 decode steps
    assert summary.complete and summary.pages == ()
    assert not (Path(summary.folder) / "report.json").exists()


def test_not_one_page_can_be_read(ask: Make, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    request = ask(tmp_path / "text.png")
    with pytest.raises(ModelMeterError, match=r"no page could be read: .*text\.png"):
        run_documents(request)
    assert not request.output.exists()


def test_logits_that_are_no_numbers(ask: Make, change_model: Any) -> None:
    """The model is at fault, so the run ends; the page's part is kept."""

    def spoil(session: DeepSeekOCRSession) -> None:
        model: Any = session.model
        with torch.no_grad():
            model.lm_head.weight.fill_(float("nan"))

    change_model(spoil)
    request = ask("300x400", "500x400")
    with pytest.raises(ModelMeterError, match=r"(?i)logits.*prefill.*marked incomplete"):
        run_documents(request)
    status, summary = left(request.output / "one")
    assert (status["state"], status["pages_finished"]) == ("incomplete", 0)
    assert "logits" in status["reason"].lower()
    assert [page["complete"] for page in summary["pages"]] == [False]


def test_a_model_whose_names_fit_no_adapter(ask: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelmeter.live.session import session as module

    points = module.hook_points

    def renamed(model: nn.Module) -> Any:
        model.add_module("another", model._modules.pop("model"))
        return points(model)

    monkeypatch.setattr(module, "hook_points", renamed)
    request = ask("300x400")
    with pytest.raises(ModelMeterError) as raised:
        run_documents(request)
    assert "Looked for vendor: model.sam_model" in str(raised.value)
    assert "transformers: model.vision_tower.sam_encoder" in str(raised.value)
    assert "Found " in str(raised.value) and "another.vision_tower" in str(raised.value)
    assert not (request.output / "one").exists()  # nothing was run


def test_shapes_that_do_not_match_the_configuration(ask: Make, change_model: Any) -> None:
    """A layer of the real model is wider: told before anything is run, with what was found and what was expected."""

    def widen(session: DeepSeekOCRSession) -> None:
        layer: Any = session.points.layers[2]
        layer.self_attn.q_proj = nn.Linear(256, 300, bias=False, dtype=torch.bfloat16)

    change_model(widen)
    request = ask("300x400")
    with pytest.raises(ModelMeterError, match=r"layers\.2 has [\d,]+ parameters, the configuration says [\d,]+"):
        run_documents(request)
    assert not (request.output / "one").exists()


def test_shapes_that_show_only_when_the_model_runs(ask: Make, change_model: Any) -> None:
    """Pictures with a fourth channel, which the model drops: hooks see it, and the model is left without them."""
    sessions: list[DeepSeekOCRSession] = []

    def narrow(session: DeepSeekOCRSession) -> None:
        sessions.append(session)
        sam: Any = session.points.sam
        encode = sam.forward
        sam.forward = lambda pixels, *args, **kwargs: encode(pixels[:, :3], *args, **kwargs)
        prepare = session.synthetic_inputs

        def four_channels(*args: Any, **kwargs: Any) -> Any:
            inputs = prepare(*args, **kwargs)
            page = torch.cat([inputs.images.page, inputs.images.page[:, :1]], 1)
            return attrs.evolve(inputs, images=attrs.evolve(inputs.images, page=page))

        session.synthetic_inputs = four_channels  # type: ignore[method-assign]

    change_model(narrow)
    request = ask("300x400")
    with pytest.raises(ModelMeterError, match=r"sam_model has an input of \[1, 4, .*marked incomplete"):
        run_documents(request)
    assert left(request.output / "one")[0]["state"] == "incomplete"
    assert not any(module._forward_hooks for module in sessions[0].model.modules())


def test_a_page_that_does_not_fit_the_memory(ask: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of tiny views fits 100 MB, the run of the model does; then there is less, then more."""
    free = iter([10**10, 10**5, 10**10])
    monkeypatch.setattr(memory, "free_bytes", lambda device: next(free))  # loading, first page, second page
    summary = run_documents(ask("300x400", "500x400"))
    (error,) = summary.errors
    assert error.source == "300x400" and "too little memory" in error.message
    assert [page.page.source for page in summary.pages] == ["500x400"]
    assert left(Path(summary.folder))[0]["state"] == "complete"


def test_which_page_of_a_document_could_not_be_run(ask: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [Image.new("RGB", (300, 400)) for _ in range(2)]
    pages[0].save(tmp_path / "two.tiff", save_all=True, append_images=pages[1:])
    free = iter([10**10, 10**10, 10**5])
    monkeypatch.setattr(memory, "free_bytes", lambda device: next(free))  # loading, first page, second page
    summary = run_documents(ask(tmp_path / "two.tiff"))
    (error,) = summary.errors
    assert error.source == str(tmp_path / "two.tiff") and error.message.startswith("page 2: ")
    assert [page.page.number for page in summary.pages] == [1]


def cpu_is_full() -> None:
    """What torch says where the host has no more memory."""
    torch.empty(2**60, dtype=torch.uint8)


def gpu_is_full() -> None:
    """What torch says of a GPU."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nSee documentation")


@pytest.mark.parametrize("full", [cpu_is_full, gpu_is_full])
def test_memory_that_ends_in_the_middle_of_a_page(
    ask: Make, monkeypatch: pytest.MonkeyPatch, full: Callable[[], None]
) -> None:
    """The page keeps what it had; the next one runs."""
    step, steps = Run.decode_step, iter(range(100))

    def run_out(run: Run) -> tuple[int, ...]:
        if next(steps) == 2:
            full()
        return step(run)

    monkeypatch.setattr(Run, "decode_step", run_out)
    summary = run_documents(ask("300x400", "500x400", max_new_tokens=5))
    (error,) = summary.errors
    assert error.source == "300x400"
    assert error.message.startswith("memory ran out (") and "smaller --mode" in error.message
    pages = left(Path(summary.folder))[1]["pages"]
    assert [(page["complete"], page["generated_tokens"]) for page in pages] == [(False, 3), (True, 5)]
    assert not [page["source"] for page in read_report(Path(summary.folder)) if page["source"] == "300x400"]


def test_memory_that_ends_between_two_prefills(ask: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks see the last prefill alone: this page's seconds would be those of calls that nobody counted."""
    prefill, prefills = Run._prefill, iter(range(100))

    def run_out(run: Run, *, measured: bool) -> tuple[int, ...]:
        if next(prefills) == 1:
            cpu_is_full()
        return prefill(run, measured=measured)

    monkeypatch.setattr(Run, "_prefill", run_out)
    summary = run_documents(ask("300x400", "500x400", repeats=2, predict_device="h200"))
    assert [page.result.repeats for page in summary.pages] == [1, 2]
    observed = read(Path(summary.folder), "report.json")["observed"]
    sam = observed["snapshots"]["vision/image_encoder_vit"]
    assert (sam["calls"], sam["measured_seconds"]) == (1, None)


def read_report(folder: Path) -> list[Any]:
    """The documents of the report: those of pages that were finished."""
    documents: list[Any] = read(folder, "report.json")["documents"]
    return documents


def test_without_plotly_it_is_said_before_anything_is_loaded(ask: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    request = ask("300x400", html=True)
    with pytest.raises(ModelMeterError, match=r"plotly.*--no-html"):
        run_documents(request)
    assert not request.output.exists()
