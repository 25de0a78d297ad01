"""One point of a sweep, asked of a model of its own with plain ints: what a sweep is held against."""

from typing import Any

import attrs

import modelmeter as mm
from modelmeter.core.cost import Cost, StageCost
from modelmeter.hardware.page_time import StageTime, time_stage

COSTS = (
    *("flops", "tensor_flops", "cuda_flops", "counted_flops", "weight_read_bytes", "activation_read_bytes"),
    *("activation_write_bytes", "kv_read_bytes", "kv_write_bytes", "activation_bytes", "kv_bytes", "io_bytes"),
    "arithmetic_intensity",
)
CONVENTIONS = [field.name for field in attrs.fields(mm.Conventions)]
VIEWS = ("mode", "max_tiles", "base_size", "tile_size")
USUAL_PROMPT = 10  # BOS and the words around the image (FACTS: the usual prompt)


def model_at(point: dict[str, Any]) -> mm.DeepseekOCRModel:
    """The model of a point: its conventions, precision and sizes, with nothing started."""
    given = {name: point[name] for name in CONVENTIONS if name in point}
    config, decoder = mm.DeepseekOCRConfig(), {}
    for name in ("num_key_value_heads", "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size"):
        if name in point:
            decoder[name] = point[name]
    if "num_hidden_layers" in point:  # the released kinds: one dense layer, then experts
        layers = point["num_hidden_layers"]
        decoder |= {"num_hidden_layers": layers, "mlp_layer_types": ("dense", *("sparse",) * (layers - 1))}
    config = attrs.evolve(config, decoder=attrs.evolve(config.decoder, **decoder))
    if "window_size" in point:
        config = attrs.evolve(config, sam=attrs.evolve(config.sam, window_size=point["window_size"]))
    precision = point.get("precision")
    if isinstance(precision, str):
        precision = mm.Precision(weights=precision)
    return mm.DeepseekOCRModel.from_config(config, precision=precision, **given)


def views_at(point: dict[str, Any]) -> mm.ViewPlan | None:
    """The views of a point; None: text alone."""
    options = {name: point[name] for name in VIEWS if name in point}
    if "grid" in point:
        w, h = map(int, point["grid"].split("x"))
        return mm.ViewPlan.from_grid((w, h), **options)
    if "page" in point:
        width, height = map(int, point["page"].split("x"))
        return mm.plan_views(width, height, **options)
    return None


def context_at(point: dict[str, Any], views: mm.ViewPlan | None) -> int:
    """Tokens of the prompt."""
    if "context_len" in point or "cache_len" in point:
        return point.get("context_len", point.get("cache_len"))
    return point.get("prompt_tokens", USUAL_PROMPT) + views.image_tokens


def started(stage: str, point: dict[str, Any]) -> mm.DeepseekOCRModel:
    """The model of a point with its stage started: for decode, and after a run's prefill, the first step."""
    model, views, batch = model_at(point), views_at(point), point.get("batch_size", 1)
    if stage != "decode":
        model.set_views(views)
    if stage == "vision":
        model.start_vision(batch)
        return model
    model.start_prefill(context_at(point, views), batch)
    if stage == "decode":
        model.start_decode()
    return model


def alone(stage: str, point: dict[str, Any]) -> dict[str, Any]:
    """Every cost and memory quantity of a point; several decode steps are really taken, one after the other."""
    model = started(stage, point)
    costs = [model.get_forward_cost()] if stage != "decode" or "decode_tokens" not in point else []
    if "decode_tokens" in point:
        model.start_decode()
        for _ in range(point["decode_tokens"]):
            costs.append(model.get_forward_cost())
            model.decode_one_token()
    return _numbers(costs, model.kv_cache_bytes())


def _numbers(costs: list[StageCost], kv_cache: int) -> dict[str, Any]:
    """Costs add; the largest peak counts; the cache is as it is in the end."""
    total = Cost.from_values([sum(values) for values in zip(*[one.cost.values() for one in costs], strict=True)])
    peak, weights = max(one.activations_bytes for one in costs), costs[0].weights_bytes
    return {
        **{name: getattr(total, name) for name in COSTS},
        "activation_peak_bytes": peak,
        "weights_bytes": weights,
        "kv_cache_bytes": kv_cache,
        "resident_bytes": weights + kv_cache + peak,
    }


def time_alone(stage: str, point: dict[str, Any]) -> StageTime:
    """The times of a point of one forward pass."""
    machine = mm.machine_of(point["device"], execution=point.get("execution", "eager"))
    return time_stage(started(stage, point), machine)
