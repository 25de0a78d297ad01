"""One run from the options to the file."""

import re
from pathlib import Path

import attrs
import torch

from gpu_bench.bench import Bench, no_model
from gpu_bench.budget import Budget
from gpu_bench.document import Document
from gpu_bench.pages import LARGE
from gpu_bench.predict import Predictions
from gpu_bench.report import show
from gpu_bench.runner import Outcome, Section, run_section
from gpu_bench.sections import SECTIONS, WITHOUT_MODEL
from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.roofline import machine_of
from modelmeter.live.calibration.clock import keep_memory
from modelmeter.live.calibration.rates import catalogued, find_device, title_of
from modelmeter.live.session.load import first_layers
from modelmeter.models.deepseek_ocr.config import DeepseekOCRConfig


@attrs.frozen(kw_only=True)
class Asked:
    """The options; `started` is when Python did (`time.monotonic`), `results` where files go by default."""

    device: str
    budget: float
    layers: int | None
    quick: bool
    output: Path | None
    started: float
    results: Path


def run(asked: Asked, notes: list[str]) -> int:
    """Run all sections; the exit code. Raises `ModelMeterError` for options that cannot be, or a file that cannot."""
    if asked.budget <= 0:
        raise ModelMeterError(f"--budget {asked.budget:g}: give seconds, more than none")
    device = find_device(asked.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        keep_memory()  # as the calibration has it, which everything is compared with
    config = _config(asked)
    base = catalogued(device)
    name = re.sub(r"[^a-z0-9]+", "-", title_of(device).lower()).strip("-")
    kind = "gpu" if device.type == "cuda" else "cpu-tried"  # docs/accuracy.md shows the former
    path = asked.output or asked.results / f"{kind}-{name}.json"
    bench = Bench(
        device=device,
        config=config,
        budget=Budget(asked.budget, asked.started),
        predictions=Predictions(config, None if base is None else machine_of(base)),
        device_file=path.with_name(f"{path.stem}-device.toml"),
        quick=asked.quick,
        say=lambda line: print(line, flush=True),
    )
    arguments = {"device": asked.device, "layers": asked.layers, "quick": asked.quick}
    document = Document(path, bench, arguments)
    document.notes += notes
    document.save()  # a file that cannot be written is known before anything is measured
    return _run(bench, document)


def _config(asked: Asked) -> DeepseekOCRConfig:
    """The released model, or with --quick the small one of the tests, where transformers can build it at all."""
    config = DeepseekOCRConfig()
    if asked.quick and no_model() is None:
        from modelmeter.live.verification.real_run import SMALL

        config = SMALL
    return config if asked.layers is None else first_layers(config, asked.layers)


def _run(bench: Bench, document: Document) -> int:
    bench.budget.end_process()
    try:
        for section in _sections(bench):
            _section(section, bench, document)
        document.complete = True
    finally:
        found = document.save()
        bench.budget.keep_process()
    show(found)
    calibrated = bench.predictions.machine is not None and bench.predictions.machine.calibration is not None
    bench.say(f"written: {document.path.name}" + (f", {bench.device_file.name}" if calibrated else ""))
    failed = [outcome for outcome in document.outcomes if outcome.state == "failed"]
    return int(bool(failed) or not all(check["ok"] for check in found["checks"]))


def _sections(bench: Bench) -> list[Section]:
    found = [section for section in SECTIONS if not (bench.quick and section.name == LARGE)]
    return [*found, WITHOUT_MODEL] if no_model() else found


def _section(section: Section, bench: Bench, document: Document) -> None:
    outcome = Outcome(section=section)
    document.outcomes.append(outcome)
    bench.say(f"{section.title} ({bench.budget.used:.0f} s)")
    run_section(section, bench, outcome, document.save)
    if outcome.reason:
        bench.say(f"  {outcome.state}: {outcome.reason}")
    document.save()
