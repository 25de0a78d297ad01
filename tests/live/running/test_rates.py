"""Rates of a stage in its measured time, by arithmetic; sums of stages."""

import pytest
from support.devices import made_up

from modelmeter import Cost
from modelmeter.hardware.page_time import Levels
from modelmeter.live.running.rates import StageRun, Work, in_turn

DEVICE = made_up()  # 100 TFLOP/s in bf16, 1 TB/s
WORK = Work(
    cost=Cost(tensor_flops=6 * 10**12, cuda_flops=2 * 10**12, weight_read_bytes=10**12, kv_read_bytes=3 * 10**12),
    needed_flops={"bf16": 5 * 10**12},
    used_bytes=2 * 10**11,
)


def test_rates_are_work_over_time() -> None:
    stage = StageRun(seconds=2.0, work=WORK, tokens=500, device=DEVICE, predicted=0.5)
    assert stage.tokens_per_second == 500 / 2
    assert stage.flops_per_second == (6e12 + 2e12) / 2
    assert stage.bytes_per_second == (1e12 + 3e12) / 2
    assert stage.mfu == pytest.approx(5e12 / (100e12 * 2))  # needed FLOPs over dense peak times time
    assert stage.mbu == pytest.approx(2e11 / (1e12 * 2))
    assert stage.ratio == 2.0 / 0.5


def test_a_pass_of_several_shares_their_work() -> None:
    """Eight steps together did the work: a step of 0.25 s did an eighth of it."""
    step = StageRun(seconds=0.25, work=WORK, tokens=16, passes=8, device=DEVICE)
    assert step.tokens_per_second == 16 / (8 * 0.25)
    assert step.flops_per_second == 8e12 / 8 / 0.25
    assert step.mfu == pytest.approx(5e12 / 8 / (100e12 * 0.25))


def test_without_a_device_there_is_no_share_of_it() -> None:
    stage = StageRun(seconds=2.0, work=WORK, tokens=500)
    assert (stage.mfu, stage.mbu, stage.ratio) == (None, None, None)


def test_stages_in_turn_add_up() -> None:
    levels = Levels(bound=0.1, roofline=0.5)
    one = StageRun(seconds=2.0, work=WORK, tokens=500, device=DEVICE, predicted=0.5, levels=levels)
    steps = StageRun(seconds=0.25, work=WORK, tokens=16, passes=8, device=DEVICE, predicted=0.125, levels=levels)
    both = in_turn([one, steps])
    assert (both.seconds, both.tokens, both.passes, both.spread) == (2.0 + 8 * 0.25, 516, 1, None)
    assert both.work.cost == WORK.cost * 2
    assert both.work.needed_flops == {"bf16": 10 * 10**12}
    assert both.work.used_bytes == 4 * 10**11
    assert both.predicted == 0.5 + 8 * 0.125
    assert both.levels == levels * 9
    assert both.mfu == pytest.approx(10e12 / (100e12 * 4))


def test_a_sum_is_predicted_only_where_all_of_it_is() -> None:
    known = StageRun(seconds=2.0, work=WORK, tokens=500, predicted=0.5)
    assert in_turn([known, StageRun(seconds=1.0, work=WORK, tokens=1)]).predicted is None


def test_a_part_of_a_stage_has_no_utilisation_the_whole_has() -> None:
    host = StageRun(seconds=1.0, work=Work(cost=Cost()), tokens=0, device=DEVICE, is_part=True)
    stage = StageRun(seconds=1.0, work=WORK, tokens=500, device=DEVICE)
    assert host.mfu is None and host.mbu is None
    assert in_turn([host, stage]).mfu == pytest.approx(5e12 / (100e12 * 2))
