"""What is expected of a page: the stateful model asked step by step says the same."""

import pytest
from support.devices import made_up

from modelmeter import Conventions, Cost, DeepseekOCRModel, ViewPlan
from modelmeter.hardware.floor import floor_of
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.page_time import time_page, used_bytes
from modelmeter.live.running.twin import PageTwin
from modelmeter.live.verification.real_run import SMALL

VIEWS = ViewPlan.from_grid((2, 1), base_size=256, tile_size=128)
CONVENTIONS = Conventions(implementation="transformers", logits="last")
STEPS = 5


@pytest.mark.parametrize("batch", [1, 3])
def test_decode_steps_are_those_of_the_model_one_by_one(batch: int) -> None:
    expected = PageTwin(SMALL, CONVENTIONS).expected(VIEWS, 10, batch, STEPS)
    model = DeepseekOCRModel.from_config(SMALL, implementation="transformers", logits="last")
    model.set_views(VIEWS)
    model.start_prefill(VIEWS.image_tokens + 10, batch)
    prefill = model.trace()
    assert expected.works["prefill"].cost == prefill.total
    cost, layers, needed, used = Cost(), prefill.by_layer(2)["model.layers"], 0, 0
    model.start_decode()
    for _ in range(STEPS):
        trace = model.trace()
        cost, layers = cost + trace.total, layers + trace.by_layer(2)["model.layers"]
        needed += sum(floor_of(model).flops_by_dtype.values())
        used += used_bytes(model, trace)
        model.decode_one_token()
    assert expected.works["decode"].cost == cost
    assert sum(expected.works["decode"].needed_flops.values()) == needed
    assert expected.works["decode"].used_bytes == used
    assert expected.hooked["decoder layers"] == layers
    assert expected.kv_cache_bytes == model.kv_cache_bytes()


def test_vision_is_the_sum_of_its_modules_and_what_joins_them() -> None:
    expected = PageTwin(SMALL, CONVENTIONS).expected(VIEWS, 10, 1, 0)
    parts = sum((expected.works[part].cost for part in ("sam", "clip", "projector")), Cost())
    assert parts == expected.works["vision"].cost
    modules = ("sam_model", "vision_model", "projector")
    assert sum(expected.hooked[name].counted_flops for name in modules) == parts.counted_flops


def test_times_are_those_of_time_page() -> None:
    machine = Machine(device=made_up())
    expected = PageTwin(SMALL, CONVENTIONS, machine=machine).expected(VIEWS, 10, 1, STEPS)
    model = DeepseekOCRModel.from_config(SMALL, implementation="transformers", logits="last")
    time = time_page(model, VIEWS, machine, prompt_tokens=10, decode_tokens=STEPS)
    assert expected.levels("vision") == time.vision.seconds
    assert expected.levels("prefill") == time.prefill.seconds
    assert expected.levels("decode") == time.decode_total
    assert expected.part_seconds("sam") == time.prefill.parts["sam"].seconds


def test_without_steps_or_a_machine_nothing_is_predicted() -> None:
    assert PageTwin(SMALL, CONVENTIONS).expected(VIEWS, 10, 1, STEPS).levels("prefill") is None
    expected = PageTwin(SMALL, CONVENTIONS, machine=Machine(device=made_up())).expected(VIEWS, 10, 1, 0)
    assert expected.levels("decode") is None
    assert expected.works["decode"].cost == Cost()
