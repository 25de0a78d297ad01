"""Our trace beside what a counter saw in the real model: integers, equal or not."""

from collections.abc import Iterable

from modelmeter import Trace
from support.names import ONLY_THERE, expand, only_here, to_ours
from support.reference import Counted


def counted_by_operator(trace: Trace) -> dict[str, int]:
    """Counted FLOPs of each operator that has any."""
    return {name: total.cost.counted_flops for name, total in trace.by_op().items() if total.cost.counted_flops}


def expert_products(trace: Trace) -> int:
    """FLOPs of the routed experts' products.

    Ours are `mm`, one for each expert that runs, as in transformers' loop and in the vendor's code. The real model runs
    here as "batched_mm", which does the same products as `bmm`, one for each row (its loop cannot run on meta).
    """
    return sum(op.cost.counted_flops for path, op in trace.operators() if ".experts." in path and op.name == "mm")


def as_batched_mm(trace: Trace) -> dict[str, int]:
    """`counted_by_operator`, with the routed experts' `mm` as the `bmm` that "batched_mm" makes of them."""
    counts, moved = counted_by_operator(trace), expert_products(trace)
    if moved:
        counts["mm"] -= moved
        counts["bmm"] = counts.get("bmm", 0) + moved
    return counts


def as_decomposed_sdpa(counts: dict[str, int]) -> dict[str, int]:
    """Our one attention kernel as the `bmm` that scaled_dot_product_attention is taken apart into on meta."""
    flash = counts.pop("flash_attention", 0)
    return {**counts, "bmm": counts.get("bmm", 0) + flash} if flash else counts


def assert_same_operators(trace: Trace, counted: Counted) -> None:
    """The same FLOPs for each kind of operator, with the two differences named above."""
    assert as_decomposed_sdpa(as_batched_mm(trace)) == counted.by_operator


def assert_same_modules(trace: Trace, counted: Counted, *, methods: Iterable[str] = ()) -> None:
    """The same FLOPs for each module that the counter reports; none unmapped, none of ours with FLOPs missing there.

    `methods` are our paths that are a method there, not a module's call.
    """
    ours = {path: cost.counted_flops for path, cost in trace.by_layer().items()}
    met = set(methods)
    for path, flops in counted.by_module.items():
        if not flops:  # an MLP of width 0: the shared experts of a model without any
            continue
        paths = [name for mapped in to_ours(path) for name in expand(mapped, ours)]
        assert (path, flops) == (path, sum(ours[name] for name in paths if name in ours))
        if path not in ONLY_THERE:
            assert set(paths) <= set(ours)
            met.update(paths)
    for path, flops in ours.items():
        if flops and path not in met:
            stands_for = only_here(path)
            assert stands_for is not None, f"{path} has {flops} FLOPs and transformers has no such module"
            whole, parts = stands_for
            assert whole in met or met.issuperset(parts)
            assert ours[whole] == sum(ours[part] for part in parts)
