"""Studies of how a page is run: pages at once, precision, devices."""

import attrs
import pytest

from modelmeter import DeepseekOCRModel, ModelMeterError, Precision, machine_of, plan_views
from modelmeter.hardware.page_time import time_page
from modelmeter.sweeps.studies import running
from modelmeter.sweeps.studies.running import Prompt

from .conftest import TOKEN

CONTEXT = 903 + 10  # an A4 page of 2 x 3 tiles, and the prompt


def test_pages_at_once(setup, agrees):
    datasets = running.batch(setup, [1, 5]).datasets
    assert list(datasets) == ["vision", "prefill", "decode"]
    assert datasets["prefill"]["context_len"] == CONTEXT
    assert datasets["decode"]["kv_cache_bytes"].sel(attention="flash").values.tolist() == [
        CONTEXT * TOKEN,
        5 * CONTEXT * TOKEN,
    ]
    model = DeepseekOCRModel.from_config()
    model.set_views(plan_views(1654, 2339))
    model.start_vision(5)
    agrees(datasets["vision"], model, batch_size=5, attention="eager")
    model.start_prefill(CONTEXT, 5)
    model.start_decode()
    agrees(datasets["decode"], model, batch_size=5, attention="eager")


def test_text_alone_has_no_vision(setup):
    datasets = running.batch(setup, [1, 2], prompt=Prompt(context_len=100)).datasets
    assert list(datasets) == ["prefill", "decode"]
    assert datasets["prefill"]["image_tokens_total"] == 0


def test_precision(setup, agrees):
    datasets = running.precision(setup, ["bf16", "int4"], [None, "int8"]).datasets
    names = ["bf16", "bf16, kv int8", "int4", "int4, kv int8"]
    assert datasets["decode"]["precision"].values.tolist() == names
    model = DeepseekOCRModel.from_config(precision=Precision(weights="int4", kv="int8"))
    model.start_prefill(CONTEXT)
    model.start_decode()
    agrees(datasets["decode"], model, precision="int4, kv int8", attention="eager")


def test_devices_time_what_costs_the_same(timed):
    datasets = running.device(timed).datasets
    assert datasets["prefill"]["flops"].dims == ("attention",)
    assert datasets["prefill"]["seconds"].dims == ("attention", "device")
    model = DeepseekOCRModel.from_config()
    for name in ("h200", "a100-40g"):
        alone = time_page(model, plan_views(1654, 2339), machine_of(name), decode_tokens=1)
        here = {stage: data["seconds"].sel(device=name, attention="eager") for stage, data in datasets.items()}
        assert float(here["prefill"]) == pytest.approx(alone.prefill.seconds.predicted, rel=1e-12)
        assert float(here["decode"]) == pytest.approx(alone.decode.seconds.predicted, rel=1e-12)


def test_the_usual_devices_and_executions(setup):
    study = running.device(attrs.evolve(setup, execution=["eager", "graph"]), prompt=Prompt(context_len=50))
    dataset = study.datasets["decode"]
    assert dataset["device"].values.tolist() == list(running.DEVICES)
    by_graph, eager = (dataset["seconds"].sel(execution=name) for name in ("graph", "eager"))
    assert bool((by_graph < eager).all())  # no host in between


def test_one_device_compares_nothing(setup):
    with pytest.raises(ModelMeterError, match="two or more"):
        running.device(attrs.evolve(setup, devices=("h200",)))
