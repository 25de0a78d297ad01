"""`session.conventions` are exactly how the session runs: the twin's counted FLOPs equal every real pass's."""

from typing import Any

import attrs
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from modelmeter import DeepseekOCRModel, ViewPlan
from modelmeter.live import FLOP_FORMULAS
from modelmeter.live.session.session import DeepSeekOCRSession
from modelmeter.live.verification.real_run import SMALL

from .conftest import ONE_VIEW, TILED

STEPS = 3


def counted(call: Any) -> int:
    """FLOPs of a call with the mappings for kernels that torch counts as nothing."""
    with FlopCounterMode(display=False, custom_mapping=FLOP_FORMULAS) as counter:
        call()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("views", [None, ONE_VIEW, TILED], ids=["text", "page", "tiles"])
@pytest.mark.parametrize("attention", ["eager", "flash"])
def test_every_pass_counts_as_the_twin_says(
    attention: Any, views: ViewPlan | None, batch: int, quick: dict[str, Any]
) -> None:
    session = DeepSeekOCRSession.from_config(SMALL, attention=attention)
    inputs = session.synthetic_inputs(57, views=views, batch_size=batch)
    twin = DeepseekOCRModel.from_config(session.config, **attrs.asdict(session.conventions))
    twin.set_views(views)
    twin.start_prefill(57, batch)
    with session.start(inputs, **quick) as run:
        assert counted(run.prefill) == twin.cost().counted_flops > 0
        twin.start_decode()
        for _ in range(STEPS):
            assert counted(run.decode_step) == twin.cost().counted_flops > 0
            twin.decode_one_token()


@pytest.mark.parametrize("experts", ["batched_mm", "grouped_mm"])
def test_experts_as_one_product(experts: Any, quick: dict[str, Any]) -> None:
    session = DeepSeekOCRSession.from_config(SMALL, experts=experts, attention="flash")
    assert session.conventions.experts == "grouped"
    twin = DeepseekOCRModel.from_config(session.config, **attrs.asdict(session.conventions))
    twin.start_prefill(20, 2)
    with session.start(session.synthetic_inputs(20, batch_size=2), **quick) as run:
        assert counted(run.prefill) == twin.cost().counted_flops
        twin.start_decode()
        assert counted(run.decode_step) == twin.cost().counted_flops


def test_fewer_layers_and_float16(quick: dict[str, Any]) -> None:
    """Half of the layers are gone from both; the number format changes no FLOP and half as many bytes no cache."""
    session = DeepSeekOCRSession.from_config(SMALL, layers=2, dtype="float16")
    assert session.dtype is torch.float16
    twin = DeepseekOCRModel.from_config(
        session.config, precision=session.precision, **attrs.asdict(session.conventions)
    )
    twin.set_views(TILED)
    twin.start_prefill(40)
    with session.start(session.synthetic_inputs(40, views=TILED), **quick) as run:
        assert counted(run.prefill) == twin.cost().counted_flops
        result = run.result()
    assert result.kv_cache_bytes == twin.kv_cache_bytes() == 2 * 2 * 40 * 256 * 2  # k and v, layers, tokens, bytes
