"""A small model with real tensors, run by its own `generate`: real routing, a real cache, and the twin step by step."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import attrs
import torch
from torch import nn

from modelmeter.core.dims import as_dim
from modelmeter.live.recording.record import record_call
from modelmeter.live.reference.adapter import Quantity
from modelmeter.live.reference.names import from_transformers
from modelmeter.live.reference.transformers5 import INLINE, SDPA_OR_EAGER, build, config_like, routers_of
from modelmeter.live.verification.compare import Check
from modelmeter.live.verification.verify import (
    Comparison,
    Point,
    Routing,
    Verification,
    compare,
    held_after,
    held_bytes,
)
from modelmeter.models.deepseek_ocr.config import (
    ClipConfig,
    Conventions,
    DecoderConfig,
    DeepseekOCRConfig,
    ProjectorConfig,
    SamConfig,
)
from modelmeter.models.deepseek_ocr.deepseek_v2 import DeepseekV2DecoderLayer
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.network import build_network
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.nn.attention import AttentionKind
from modelmeter.nn.moe import experts_hit

SMALL = DeepseekOCRConfig(
    sam=SamConfig(
        image_size=256,
        width=64,
        layers=4,
        heads=2,
        mlp_dim=128,
        out_channels=32,
        downsample_channels=(48, 64),
        global_attn_indexes=(1, 3),
    ),
    clip=ClipConfig(width=64, layers=2, heads=2, mlp_dim=128),
    projector=ProjectorConfig(input_dim=128, n_embed=256),
    decoder=DecoderConfig(
        hidden_size=256,
        intermediate_size=512,
        moe_intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        n_routed_experts=16,
        n_shared_experts=1,
        num_experts_per_tok=3,
        mlp_layer_types=("dense", "sparse", "sparse", "sparse"),
        vocab_size=512,
    ),
    name="a small DeepSeek-OCR",
)
"""Every kind of layer of the released model at sizes that a laptop runs in a second."""

VIEWS = ViewPlan.from_grid((2, 1), base_size=256, tile_size=128)
TEXT_TOKENS = 10


def verify_real(
    attention: AttentionKind = "eager", decode_steps: int = 4, batch: int = 1, config: DeepseekOCRConfig = SMALL
) -> Verification:
    """Vision, prefill and `decode_steps` decode steps of a model with random bf16 weights on the CPU, by `generate`.

    Before each forward pass of the real model the twin is asked for its cost; afterwards the two are compared, with the
    experts that were really reached, and the twin moves on by `decode_one_token()`.
    """
    steps, batch = as_dim(decode_steps, "decode_steps", least=0), as_dim(batch, "batch_size")
    conventions = Conventions(implementation="transformers", attention=attention, logits="last", position_ids="batch")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = build(config_like(config), attention=SDPA_OR_EAGER[attention])
        arguments = _inputs(model, config, batch)
    run = _Run(model, config, conventions, batch, arguments["input_ids"].shape[1])
    with run.watching(), torch.no_grad():
        model.generate(**arguments, max_new_tokens=steps + 1, min_new_tokens=steps + 1, do_sample=False, pad_token_id=0)
    name = f"{config.name}, real tensors on the CPU, by generate"
    return Verification(name, conventions, tuple(run.comparisons))


def _inputs(model: Any, config: DeepseekOCRConfig, batch: int) -> dict[str, Any]:
    """A page of image tokens and some text in each sequence, with pictures of noise."""
    token = config.decoder.vocab_size - 1
    model.config.image_token_id = token
    ids = torch.randint(0, token, (batch, VIEWS.image_tokens + TEXT_TOKENS))
    ids[:, : VIEWS.image_tokens] = token
    channels, tile = config.sam.in_channels, VIEWS.tile_size or 0
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": torch.randn(batch, channels, VIEWS.base_size, VIEWS.base_size, dtype=torch.bfloat16),
        "pixel_values_local": torch.randn(batch * VIEWS.num_tiles, channels, tile, tile, dtype=torch.bfloat16),
        "num_local_patches": [VIEWS.num_tiles] * batch,
        "patches_grid": [list(VIEWS.grid)] * batch,
    }


class _Run:
    """Stands between `generate` and the model: each pass is recorded and compared.

    `generate` encodes the pictures first, by `get_image_features`, and hands the result to the first forward pass.
    """

    def __init__(
        self, model: Any, config: DeepseekOCRConfig, conventions: Conventions, batch: int, context_len: int
    ) -> None:
        self.model, self.config, self.conventions = model, config, conventions
        self.comparisons: list[Comparison] = []
        self._batch, self._context_len = batch, context_len
        self._reached: list[int] = []
        self._decoded = 0
        self._twin = DeepseekOCRModel.from_config(config, **attrs.asdict(conventions))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While this runs, every pass of the model goes through here."""
        with ExitStack() as stack:
            for router in routers_of(self.model):
                stack.callback(router.register_forward_hook(self._routed).remove)
            base = self.model.model
            base.get_image_features = _watched(base.get_image_features, self._vision)
            stack.callback(delattr, base, "get_image_features")
            self.model.forward = _watched(self.model.forward, self._pass)
            stack.callback(delattr, self.model, "forward")
            yield

    def _vision(self, run: Callable[[], Any], inputs: Any) -> None:
        point = Point(stage="vision", batch=self._batch, views=VIEWS)
        self._twin.set_views(VIEWS)
        self._twin.start_vision(self._batch)
        analytic = self._twin.trace()
        real = record_call(self.model, run, inputs, rename=from_transformers, at=self.model.model)
        self.comparisons.append(
            compare(real, analytic, point, layer=self._twin.network, skip=_peaks_of(point), inline=INLINE)
        )
        self._twin.set_views(None)

    def _pass(self, run: Callable[[], Any], inputs: Any) -> None:
        """Prefill, then one token after another.

        The twin that decodes along is asked before the pass: for its FLOPs and for what will be cached. Bytes of
        weights depend on the experts reached: those are a second twin's, told of them afterwards.
        """
        point = self._next_point()
        before, cached = self._twin.cost(), held_after(self._twin, point)
        self._reached.clear()
        real = record_call(self.model, run, inputs, rename=from_transformers)
        held = held_bytes(inputs[1]["past_key_values"]), cached
        routed = self._twin_with(tuple(self._reached), point)
        found = compare(
            real, routed.trace(), point, layer=routed.network, held=held, skip=_peaks_of(point), inline=INLINE
        )
        flops = Check("counted_flops", found.total.check("counted_flops").measured, before.counted_flops)
        checks = [flops if check.quantity == "counted_flops" else check for check in found.total.checks]
        total = attrs.evolve(found.total, checks=tuple(checks))
        self.comparisons.append(attrs.evolve(found, total=total, routing=self._routing(point)))

    def _next_point(self) -> Point:
        """Moves the twin to the pass that comes, and says which one it is."""
        sizes: dict[str, Any] = {"batch": self._batch, "context_len": self._context_len}
        if self._twin.kv_cache is None:
            self._twin.start_prefill(self._context_len, self._batch)
            return Point(stage="prefill", **sizes)
        if self._twin.operation_mode == "prefill":
            self._twin.start_decode()
        else:
            self._twin.decode_one_token()
        self._decoded += 1
        return Point(stage="decode", step=self._decoded - 1, **sizes)

    def _routed(self, _router: nn.Module, _inputs: Any, output: Any) -> None:
        self._reached.append(len(set(output[-1].flatten().tolist())))

    def _twin_with(self, reached: tuple[int, ...], point: Point) -> DeepseekOCRModel:
        """The same pass of a twin each of whose layers reads the experts that were reached there."""
        network = build_network(self.config, self.conventions)
        found = iter(reached)
        network.model.layers = [
            DeepseekV2DecoderLayer(
                self.config.decoder,
                index,
                attrs.evolve(self.conventions, coverage=next(found)) if kind == "sparse" else self.conventions,
            )
            for index, kind in enumerate(self.config.decoder.mlp_layer_types)
        ]
        twin = DeepseekOCRModel(network, self.conventions, self.config)
        twin.start_prefill(point.context_len + point.step, self._batch)
        if point.stage == "decode":
            twin.start_decode()
        return twin

    def _routing(self, point: Point) -> Routing:
        decoder = self.config.decoder
        tokens = self._batch * (1 if point.stage == "decode" else point.context_len)
        expected = experts_hit(tokens, decoder.n_routed_experts, decoder.num_experts_per_tok, "expected")
        return Routing(tuple(self._reached), float(expected), decoder.n_routed_experts)


def _watched(original: Callable[..., Any], watch: Callable[[Callable[[], Any], Any], None]) -> Callable[..., Any]:
    """`original` run by `watch`, which is given the call and its arguments."""

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        results: list[Any] = []
        watch(lambda: results.append(original(*args, **kwargs)), (args, kwargs))
        return results[0]

    return call


def _peaks_of(point: Point) -> Callable[[str], tuple[Quantity, ...]]:
    """Where peaks are not compared: in layers, whose busiest expert nobody knows, and of a whole prefill.

    There `generate` still holds what it encoded, too.
    """
    return lambda path: ("peak_bytes",) if path or point.stage == "prefill" else ()
