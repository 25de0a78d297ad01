"""Mixture of experts: which experts are reached, and the pieces every implementation shares."""

from typing import Literal, TypeAlias

from modelmeter.core import ops
from modelmeter.core.dims import Dim, maximum, minimum, power, rounded, whole_above
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.layer import Layer
from modelmeter.core.parameter import Parameter
from modelmeter.core.tensor import Tensor

Coverage: TypeAlias = Literal["expected", "max", "min"] | float
"""How many experts of a layer some token reaches: a convention by name, or a measured number."""
COVERAGES = ("expected", "max", "min")


def check_coverage(coverage: Coverage, num_experts: int) -> Coverage:
    """Raise unless `coverage` is a known convention or a number of experts from 0 to `num_experts`."""
    if isinstance(coverage, str):
        known = coverage in COVERAGES
    else:
        known = type(coverage) in (int, float) and 0 <= coverage <= num_experts
    if not known:
        raise ModelMeterError(f"coverage {coverage!r}: choose {', '.join(COVERAGES)} or a number up to {num_experts}")
    return coverage


def experts_hit(tokens: Dim, num_experts: int, top_k: int, coverage: Coverage) -> Dim:
    """Experts reached by `tokens` tokens of `top_k` experts each.

    "expected": E * (1 - (1 - k/E)**T), the mean when each token picks uniformly and independently (neighbouring tokens
    choose more alike than that, so it over-estimates). "max": min(E, k*T). "min": k, all tokens alike. A measured
    number is kept between these two.
    """
    if coverage == "expected":
        return num_experts * (1 - power(num_experts - top_k, num_experts, tokens))
    if coverage == "max":
        return minimum(num_experts, top_k * tokens)
    if coverage == "min":
        return top_k
    return maximum(top_k, minimum(coverage, minimum(num_experts, top_k * tokens)))


class ExpertLinear(Layer):
    """All experts' copies of one projection. [r in] -> [r out]; each row goes through one expert.

    Where the weight's scheme says so the rows are quantised first, for this product alone.
    """

    def __init__(self, num_experts: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = Parameter(num_experts, out_features, in_features)

    def forward(self, x: Tensor, hit: Dim, offsets: Tensor | None = None) -> Tensor:
        # The one quantity that is not whole: rounded once an operator, half to even.
        read = rounded(self.weight.nbytes // self.weight.shape[0] * hit)
        scales, scheme = None, self.weight.scheme
        if scheme is not None and scheme.activations is not None:
            x, scales = ops.quantize(x, scheme.activations)
        return ops.grouped_linear(x, self.weight.read(), read, offsets, groups=hit, scales=scales)


def rows_of_one_expert(rows: Dim, hit: Dim) -> Dim:
    """The largest share of rows an expert gets when they are balanced; what a loop over experts holds at a time.

    A symbol's is not rounded up.
    """
    return whole_above(rows / maximum(hit, 1))
