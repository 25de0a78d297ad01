"""The decoder layer. Twins of the vendor's modeling_deepseekv2.py: norm, MLP, router, experts, layer."""

from typing import Any, Unpack

from modelmeter.core import ops
from modelmeter.core.dims import Dim, rounded, whole_above
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.kv_cache import PastKV
from modelmeter.core.layer import InputSize, Layer
from modelmeter.core.parameter import Parameter
from modelmeter.core.recorder import Recorder, current
from modelmeter.core.tensor import BOOL, FP32, INT32, INT64, Tensor
from modelmeter.models.deepseek_ocr.config import RELEASED, Conventions, DecoderConfig
from modelmeter.models.deepseek_ocr.llama import LlamaAttention, LlamaFlashAttention2, decoder_inputs
from modelmeter.nn.activation import SiLU
from modelmeter.nn.linear import Linear
from modelmeter.nn.moe import ExpertLinear, experts_hit, rows_of_one_expert
from modelmeter.nn.norm import RMSNorm
from modelmeter.nn.token import CachedLayer, TokenLayer


class DeepseekV2RMSNorm(RMSNorm):
    """[... hidden] -> [... hidden]."""


class DeepseekV2MLP(TokenLayer):
    """SwiGLU feed-forward, [... hidden] -> [... hidden]."""

    def __init__(self, hidden_size: int, intermediate_size: int, bias: bool = False, **size: Unpack[InputSize]) -> None:
        super().__init__(hidden_size, **size)
        self.gate_proj = Linear(hidden_size, intermediate_size, bias)
        self.up_proj = Linear(hidden_size, intermediate_size, bias)
        self.down_proj = Linear(intermediate_size, hidden_size, bias)
        self.act_fn = SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(ops.binary("mul", self.act_fn(self.gate_proj(x)), self.up_proj(x)))


class MoEGate(TokenLayer):
    """The router, in fp32: [r hidden] -> weights [r k] in fp32, expert indices [r k], and the logits [r E] or None."""

    def __init__(self, config: DecoderConfig, conventions: Conventions = RELEASED, **size: Unpack[InputSize]) -> None:
        super().__init__(config.hidden_size, **size)
        self.config = config
        self.gives_logits = conventions.implementation == "transformers"
        # transformers' router never reads norm_topk_prob
        self.normalises = conventions.implementation == "vendor" and config.norm_topk_prob
        self.weight = Parameter(config.n_routed_experts, config.hidden_size)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        config = self.config
        rows = _rows(x)
        x = x.view(rows, config.hidden_size)
        logits = ops.linear(ops.cast(x, FP32), ops.cast(self.weight.read(), FP32))
        scores = ops.softmax(logits)
        if config.topk_method == "group_limited_greedy":
            scores = self._mask_groups(scores)
        weights, indices = ops.topk(scores, config.num_experts_per_tok)
        if self.normalises and config.num_experts_per_tok > 1:
            total = ops.unary("add", ops.reduce("sum", weights, (rows, 1)))
            weights = ops.binary("div", weights, total)
        # transformers hands the logits on, and its mixture holds them to its end.
        return ops.unary("mul", weights), indices, logits if self.gives_logits else None

    def _mask_groups(self, scores: Tensor) -> Tensor:
        """Scores outside each token's best `topk_group` groups of experts are cleared."""
        config = self.config
        rows, experts = scores.shape
        best = ops.reduce("max", scores, (rows, config.n_group))
        _, chosen = ops.topk(best, config.topk_group)
        mask = ops.fill("zeros_like", (rows, config.n_group), FP32)
        mask = ops.move("scatter_", (chosen,), mask.shape, FP32, into=mask)
        return ops.binary("where", scores, ops.clone(mask, (rows, experts)))


class Experts(Layer):
    """The routed experts of one layer, all of them: [r hidden] -> [r hidden].

    The path is the vendor's list `experts` with its 64 modules summed: routing decides how they share the rows.
    """

    def __init__(self, config: DecoderConfig, conventions: Conventions = RELEASED) -> None:
        super().__init__()
        self.config = config
        self.conventions = conventions
        experts, hidden, width = config.n_routed_experts, config.hidden_size, config.moe_intermediate_size
        if conventions.implementation == "vendor":
            self.gate_proj = ExpertLinear(experts, hidden, width)
            self.up_proj = ExpertLinear(experts, hidden, width)
        else:
            self.gate_up_proj = ExpertLinear(experts, hidden, 2 * width)
        self.down_proj = ExpertLinear(experts, width, hidden)
        self.act_fn = SiLU()

    def forward(self, x: Tensor, weights: Tensor, indices: Tensor) -> Tensor:
        tokens = x.shape[0]
        hit = experts_hit(
            tokens, self.config.n_routed_experts, self.config.num_experts_per_tok, self.conventions.coverage
        )
        if self.conventions.implementation == "vendor":
            return self._vendor(x, weights, indices, hit)
        return self._transformers(x, weights, indices, hit)

    def _vendor(self, x: Tensor, weights: Tensor, indices: Tensor, hit: Dim) -> Tensor:
        """`moe_infer`: sort the tokens by expert, run each expert, put the rows back, weigh and add them."""
        tokens, hidden = x.shape
        top_k = self.config.num_experts_per_tok
        rows = tokens * top_k
        counts = ops.fill("new_zeros", (tokens, self.config.n_routed_experts), INT64)
        counts = ops.move("scatter_", (indices,), counts.shape, INT64, into=counts, write_bytes=indices.nbytes)
        per_expert = ops.reduce("sum", counts, (self.config.n_routed_experts,))
        order = ops.sort(indices.view(rows))[1]
        chosen = ops.gather(x, ops.unary("floor_divide", order), (rows, hidden))
        ops.move("_to_copy", (per_expert,), per_expert.shape, INT64)
        ops.sync()
        outputs = self._run(chosen, hit)
        outs = ops.cat((outputs,), outputs.shape)
        new_x = ops.empty(outs.shape, outs.dtype)
        new_x = ops.move("index_put_", (outs, order), outs.shape, outs.dtype, into=new_x)
        weighed = ops.cast(new_x.view(tokens, top_k, hidden), FP32)
        weighed = ops.binary("mul", weighed, weights.view(tokens, top_k, 1), into=weighed)
        total = ops.reduce("sum", weighed, (tokens, hidden))
        del weighed
        return ops.cast(total, x.dtype)

    def _transformers(self, x: Tensor, weights: Tensor, indices: Tensor, hit: Dim) -> Tensor:
        """For each expert: gather its tokens, run, weigh in fp32, add to the result."""
        if self.conventions.experts == "grouped":
            return self._grouped(x, weights, indices, hit)
        tokens, _ = x.shape
        top_k, experts = self.config.num_experts_per_tok, self.config.n_routed_experts
        rows = tokens * top_k
        final = ops.fill("zeros_like", x.shape, x.dtype)
        one_hot = ops.fill("zeros", (tokens, top_k, experts + 1), INT64)
        one_hot = ops.move("scatter_", (indices,), one_hot.shape, INT64, into=one_hot, write_bytes=indices.nbytes)
        reached = ops.unary("gt", ops.reduce("sum", one_hot, (experts + 1,)), dtype=BOOL)
        _hit = ops.move("nonzero", (reached,), (whole_above(hit), 1), INT64)
        recorder = current("Experts")
        ops.sync()
        with recorder.untracked(), recorder.repeated(hit):
            self._loop(final, x, weights, one_hot, rows, hit, rounds=1)
        with recorder.unpriced():  # what one expert's rows take, beside what is left of the expert before
            self._loop(final, x, weights, one_hot, rows_of_one_expert(rows, hit), hit, rounds=min(2, top_k))
        return final

    def _loop(
        self, final: Tensor, x: Tensor, weights: Tensor, one_hot: Tensor, rows: Dim, hit: Dim, *, rounds: int
    ) -> None:
        """The loop over experts, `rows` rows a round. Its locals last into the next round, as in the real one."""
        tokens, top_k, _ = one_hot.shape
        width = self.config.moe_intermediate_size
        # Each expert's tokens are looked for in its [k t] slice of the one-hot mask.
        slices = rounded(top_k * tokens * INT64.itemsize * hit)
        for _ in range(rounds):
            position = ops.move("nonzero", (one_hot,), (rows, 2), INT64, read_bytes=slices)
            ops.sync()
            state = ops.gather(x, position, (rows, x.shape[1]))
            gate = up = self.gate_up_proj(state, hit).narrow(rows, width)
            hidden = ops.binary("mul", self.act_fn(gate), up)
            hidden = self.down_proj(hidden, hit)
            hidden = ops.binary("mul", hidden, ops.gather(weights, position, (rows, 1)), dtype=FP32)
            ops.index_add(final, ops.cast(hidden, x.dtype))

    def _grouped(self, x: Tensor, weights: Tensor, indices: Tensor, hit: Dim) -> Tensor:
        """`grouped_mm_experts_forward`: rows sorted by expert, all in one product, put back, added by token in fp32."""
        tokens, hidden = x.shape
        rows, experts = tokens * self.config.num_experts_per_tok, self.config.n_routed_experts
        sorted_ids, order = ops.sort(indices.view(rows))
        chosen = ops.gather(x, ops.unary("floor_divide", order), (rows, hidden))
        picked = ops.gather(weights.view(rows), order, (rows,))
        histogram_input = ops.cast(sorted_ids, INT32)
        counts = ops.move("histc", (histogram_input,), (experts,), INT32)
        offsets = ops.move("cumsum", (counts,), (experts,), INT32)
        outs = self.down_proj(self._gated(chosen, hit, offsets), hit, offsets)
        weighted = ops.binary("mul", outs, picked.view(rows, 1), dtype=FP32)
        inverse = ops.empty((rows,), INT64)
        inverse = ops.move("index_put_", (order, ops.fill("arange", (rows,), INT64)), (rows,), INT64, into=inverse)
        weighted = ops.gather(weighted, inverse, (rows, hidden))
        total = ops.reduce("sum", weighted.view(tokens, self.config.num_experts_per_tok, hidden), (tokens, hidden))
        return ops.cast(total, x.dtype)

    def _gated(self, rows: Tensor, hit: Dim, offsets: Tensor) -> Tensor:
        """The first projection's two halves, one through the activation, multiplied."""
        gate = up = self.gate_up_proj(rows, hit, offsets).narrow(rows.shape[0], self.config.moe_intermediate_size)
        return ops.binary("mul", self.act_fn(gate), up)

    def _run(self, rows: Tensor, hit: Dim) -> Tensor:
        """SwiGLU of each row by its expert. A loop holds one expert's temporaries at a time, a grouped kernel all."""
        recorder = current("Experts")
        if self.conventions.experts == "grouped":
            return self._swiglu(rows, hit)
        out = recorder.take(rows.shape, rows.dtype, needs_grad=rows.needs_grad)
        with recorder.untracked(), recorder.repeated(hit):
            self._swiglu(rows, hit)
        with recorder.unpriced():
            self._swiglu(rows.narrow(rows_of_one_expert(rows.shape[0], hit), rows.shape[1]), hit)
        return out

    def _swiglu(self, rows: Tensor, hit: Dim) -> Tensor:
        gate, up = self.act_fn(self.gate_proj(rows, hit)), self.up_proj(rows, hit)
        return self.down_proj(ops.binary("mul", gate, up), hit)


class DeepseekV2MoE(TokenLayer):
    """[b s hidden] -> [b s hidden]: routed experts and, beside them, the shared experts as one SwiGLU."""

    def __init__(self, config: DecoderConfig, conventions: Conventions = RELEASED, **size: Unpack[InputSize]) -> None:
        super().__init__(config.hidden_size, **size)
        self.experts = Experts(config, conventions)
        self.gate = MoEGate(config, conventions)
        self.shared_experts = None
        if config.n_shared_experts:
            shared_width = config.moe_intermediate_size * config.n_shared_experts
            self.shared_experts = DeepseekV2MLP(config.hidden_size, shared_width, config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        weights, indices, _logits = self.gate(x)
        y = self.experts(x.view(_rows(x), self.hidden_size), weights, indices).view(*x.shape)
        if self.shared_experts is not None:
            y = ops.binary("add", y, self.shared_experts(x))
        return y


class DeepseekV2DecoderLayer(CachedLayer):
    """[b q hidden] -> [b q hidden]: attention over the cache, then a dense MLP or a mixture of experts."""

    def __init__(
        self,
        config: DecoderConfig,
        layer_idx: int = 1,
        conventions: Conventions = RELEASED,
        **size: Unpack[InputSize],
    ) -> None:
        super().__init__(config.hidden_size, config.num_key_value_heads, config.head_dim, conventions.cache, **size)
        self.conventions = conventions
        attention = LlamaFlashAttention2 if conventions.attention == "flash" else LlamaAttention
        self.self_attn = attention(config, conventions)
        if not 0 <= layer_idx < config.num_hidden_layers:
            raise ModelMeterError(f"layer_idx {layer_idx} is not one of the {config.num_hidden_layers} layers")
        sparse = config.mlp_layer_types[layer_idx] == "sparse"
        self.mlp: Layer = (
            DeepseekV2MoE(config, conventions)
            if sparse
            else DeepseekV2MLP(config.hidden_size, config.intermediate_size, config.mlp_bias)
        )
        self.input_layernorm = DeepseekV2RMSNorm(config.hidden_size)
        self.post_attention_layernorm = DeepseekV2RMSNorm(config.hidden_size)

    def example_inputs(self, recorder: Recorder, *sizes: Dim) -> tuple[Any, ...]:
        queries, batch, past = sizes
        x = recorder.take((batch, queries, self.hidden_size), self.dtype)
        return x, *decoder_inputs(recorder, self, self.conventions, queries, batch, past)

    def forward(self, x: Tensor, positions: Any, mask: Tensor | None, past: PastKV | None) -> Tensor:
        residual = x
        x = self.input_layernorm(x)
        x, _weights = self.self_attn(x, positions, mask, past)
        x = ops.binary("add", residual, x)
        residual = x
        x = self.post_attention_layernorm(x)
        x = self.mlp(x)
        return ops.binary("add", residual, x)


def _rows(x: Tensor) -> Dim:
    """Tokens of [b s hidden]."""
    batch, queries, _ = x.shape
    return batch * queries
