"""Studies to write, and the folder of one."""

import attrs
import pytest
from support.schema import validator_of

from modelmeter import DeepseekOCRModel
from modelmeter.report.study import write_study
from modelmeter.sweeps.shapes import Shape
from modelmeter.sweeps.studies import decoder, grids, running
from modelmeter.sweeps.studies.custom import custom
from modelmeter.sweeps.studies.pages import pages
from modelmeter.sweeps.studies.setup import Setup

SHAPES = [Shape.of(1, 1), Shape.of(2, 3), Shape.of(5, 2)]
COMMAND = "modelmeter sweep decode -o here"


@pytest.fixture(scope="session")
def decode_study():
    """Three grids on two devices."""
    setup = Setup(model=DeepseekOCRModel.from_config(), devices=("h200", "a100-40g"))
    return grids.decode(setup, SHAPES, decode_steps=4)


@pytest.fixture(scope="session")
def studies(decode_study):
    """One of each kind, by name: fixed values, several dimensions, no dimension, one device, two executions."""
    model = DeepseekOCRModel.from_config()
    setup, eager = Setup(model=model), Setup(model=model, attention=("eager",), devices=("h200",))
    both = attrs.evolve(setup, devices=("h200", "l40s"), execution=["eager", "graph"])
    conventions = {"coverage": ["expected", 3], "elementwise": [True, False], "context_len": 5}
    few = {"quantities": ["seconds", "ttft_seconds"], "stage": "run"}
    return {
        "vision": grids.vision(setup, SHAPES),
        "modes": grids.vision_modes(setup),
        "prefill": grids.prefill(setup, SHAPES),
        "decode": decode_study,
        "seq-len": decoder.seq_len(setup, [16, 32], decode_steps=3, batch_size=2),
        "kv-heads": decoder.kv_heads(setup, [2, 10], context_lens=[8, 64]),
        "precision": running.precision(setup, ["bf16", "int4"]),
        "device": running.device(both),
        "pages": pages(eager, [(1654, 2339), (600, 600), (600, 700)]),
        "conventions": custom(eager, conventions, stage="prefill"),
        "one point": custom(eager, {"context_len": 100}, stage="decode"),
        "times alone": custom(eager, {"context_len": [9, 5], "decode_tokens": 2}, **few),
        "one stage beyond int64": decoder.seq_len(setup, [10**12], decode_steps=2),
        "beyond int64": custom(setup, {"context_len": [10**6, 10], "batch_size": 10**6}, stage="prefill"),
    }


@pytest.fixture(scope="session")
def folder(decode_study, tmp_path_factory):
    """The folder of the study `decode`, without plots."""
    place = tmp_path_factory.mktemp("studies") / "decode"
    write_study(decode_study, place, command=COMMAND, plots=False)
    return place


@pytest.fixture(scope="session")
def validator():
    """The schema of sweep.json."""
    return validator_of("sweep-1")
