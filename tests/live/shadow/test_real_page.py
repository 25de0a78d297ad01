"""The proof on a real page, of a PDF: hooks of a session beside the static model, the FLOP counter and the cache."""

from pathlib import Path

import attrs
from torch.utils.flop_counter import FlopCounterMode

from modelmeter import DeepseekOCRModel
from modelmeter.live import FLOP_FORMULAS, DeepSeekOCRSession
from modelmeter.live.reference.hook_points import IMPLEMENTATIONS
from modelmeter.live.shadow.aggregate import aggregate
from modelmeter.live.verification.real_run import SMALL
from modelmeter.live.verification.verify import held_bytes

PAGE = Path(__file__).resolve().parents[3] / "examples" / "sample.pdf"
STEPS = 8
NAMES = IMPLEMENTATIONS["transformers"]


def test_a_page_of_a_pdf_in_gundam_mode() -> None:
    session = DeepSeekOCRSession.from_config(SMALL, attention="flash")
    inputs = session.prepare_inputs(PAGE, mode="gundam")
    assert inputs.views is not None and inputs.views.num_tiles > 1
    shadow = session.shadow(document="sample.pdf", page=1)
    with (
        FlopCounterMode(display=False, custom_mapping=FLOP_FORMULAS) as counter,
        session.start(inputs, shadow=shadow, warm_up=0, repeats=1) as run,
    ):
        run.prefill()
        for _ in range(STEPS):
            run.decode_step()
        held = held_bytes(run.cache)
        result = run.result()

    model = DeepseekOCRModel.from_config(SMALL, **attrs.asdict(session.conventions))
    model.set_views(inputs.views)
    model.start_prefill(inputs.context_len)
    static = model.simulate_run(decode_tokens=STEPS).total.cost
    sums = aggregate(shadow.stats)
    assert sums.whole == static
    assert counter.get_total_flops() == static.counted_flops

    counted = {name: sum(flops.values()) for name, flops in counter.get_flop_counts().items()}
    root = type(session.model).__name__
    real = {
        "model.sam_model": counted[f"{root}.{NAMES.sam}"],
        "model.vision_model": counted[f"{root}.{NAMES.clip}"],
        "model.projector": counted[f"{root}.{NAMES.projector}"],
        **{
            f"model.layers.{index}": counted[f"{root}.{NAMES.layers}.{index}"]
            for index in range(SMALL.decoder.num_hidden_layers)
        },
    }
    assert {path: total.cost.counted_flops for path, total in sums.by_layer.items()} == real

    cached = inputs.context_len + STEPS
    decoder = SMALL.decoder
    expected = 2 * decoder.num_hidden_layers * cached * decoder.num_key_value_heads * decoder.head_dim * 2  # k, v; bf16
    assert held == result.kv_cache_bytes == expected
    last = shadow.stats.decoder_steps[-decoder.num_hidden_layers :]
    assert sum(step.kv_cache_bytes for step in last) == expected
