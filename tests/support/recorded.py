"""What torch itself says of a run, to hold `record` against: FlopCounterMode, MemTracker, saved-tensor hooks."""

import collections
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers as hf
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils.flop_counter import FlopCounterMode

from modelmeter.core.trace import Trace
from modelmeter.live import FLOP_FORMULAS

SEED = 0


def outputs_with_gradient(value: Any) -> list[torch.Tensor]:
    """Written apart from the library's own: tensors in tuples, lists and dicts that require a gradient."""
    leaves = torch.utils._pytree.tree_leaves(dict(value) if isinstance(value, dict) else value)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.requires_grad]


def run(module: nn.Module, args: Any, kwargs: Any, *, backward: bool) -> Any:
    """What `record` runs, without it; gradients are left as None."""
    torch.manual_seed(SEED)
    with torch.set_grad_enabled(backward):
        out = module(*args, **kwargs)
        if backward:
            outputs = outputs_with_gradient(out)
            torch.autograd.backward(outputs, [torch.ones_like(x) for x in outputs])
    return out


def without_gradients(module: nn.Module) -> None:
    """Forget the gradients of a run."""
    module.zero_grad(set_to_none=True)


def torch_counts(
    module: nn.Module, *args: Any, backward: bool = False, **kwargs: Any
) -> tuple[dict[str, int], dict[str, int]]:
    """FLOPs by aten operator and by module path, of FlopCounterMode with our formulas for what it leaves at 0."""
    counter = FlopCounterMode(display=False, custom_mapping=FLOP_FORMULAS)
    with counter:
        run(module, args, kwargs, backward=backward)
    without_gradients(module)
    counts = counter.get_flop_counts()
    by_operator = {packet.__name__: n for packet, n in counts.get("Global", {}).items() if n}
    by_module = {
        path.partition(".")[2]: sum(flops.values())
        for path, flops in counts.items()
        if path != "Global" and sum(flops.values())
    }
    return by_operator, by_module


def recorded_counts(trace: Trace) -> dict[str, int]:
    """Counted FLOPs of a trace by aten operator, forward and backward."""
    counts: dict[str, int] = collections.Counter()
    for _, op in trace.operators():
        counts[op.name] += op.cost.counted_flops + op.backward.counted_flops
    return {name: flops for name, flops in counts.items() if flops}


def tracked_peak(module: nn.Module, *args: Any, backward: bool = False, **kwargs: Any) -> int:
    """MemTracker's peak of all that is neither weight nor buffer; tensors in the arguments are there from the start."""
    tracker = MemTracker()
    tracker.track_external(module)
    inputs = [x for x in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    tracker.track_external(*inputs)
    storages = {x.untyped_storage()._cdata: x.untyped_storage() for x in (*module.parameters(), *module.buffers())}
    with tracker:
        run(module, args, kwargs, backward=backward)
    without_gradients(module)
    (peak,) = tracker.get_tracker_snapshot("peak").values()  # one device: peaks of several need not fall together
    return peak["Total"] - sum(storage.nbytes() for storage in storages.values())


@contextmanager
def quiet() -> Iterator[None]:
    """Libraries' own warnings are not what is tested."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


TEXT = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _ids(batch: int = 2, tokens: int = 6) -> torch.Tensor:
    return torch.randint(3, 50, (batch, tokens))


def llama(**more: Any) -> nn.Module:
    """Two layers, grouped-query attention."""
    return hf.LlamaForCausalLM(hf.LlamaConfig(**TEXT, num_key_value_heads=2, **more))


def mixtral(experts: str) -> nn.Module:
    """Four experts, two a token."""
    model = hf.MixtralForCausalLM(
        hf.MixtralConfig(**TEXT, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2)
    )
    model.config._experts_implementation = experts
    return model


def bert() -> nn.Module:
    """Two layers, with dropout."""
    return hf.BertModel(hf.BertConfig(**TEXT))


def vit() -> nn.Module:
    """Two layers on 2 x 2 patches, with a classifier."""
    return hf.ViTForImageClassification(
        hf.ViTConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4, image_size=8, patch_size=4
        )
    )


def t5() -> nn.Module:
    """Encoder and decoder, relative positions, a loss."""
    return hf.T5ForConditionalGeneration(
        hf.T5Config(vocab_size=50, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4, decoder_start_token_id=0)
    )


def resnet() -> nn.Module:
    """Two stages with batch norm."""
    return hf.ResNetForImageClassification(hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]))


def whisper() -> nn.Module:
    """One encoder and one decoder layer, 1d convolutions, cross attention."""
    sizes = {
        f"{part}_{what}": n
        for part in ("encoder", "decoder")
        for what, n in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 32))
    }
    return hf.WhisperModel(
        hf.WhisperConfig(
            vocab_size=50, d_model=16, max_source_positions=10, max_target_positions=10, num_mel_bins=8, pad_token_id=0,
            bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, **sizes,
        )
    )  # fmt: skip


def convnet(dims: int) -> nn.Module:
    """Plain, grouped and transposed convolutions with a batch norm."""
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1]
    back = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 1]
    return nn.Sequential(conv(4, 8, 3, padding=1), norm(8), nn.ReLU(), conv(8, 8, 3, groups=4), back(8, 4, 2, stride=2))


class Attention(nn.MultiheadAttention):
    """Self-attention of one tensor; without weights as an output it is fused."""

    def __init__(self, need_weights: bool) -> None:
        super().__init__(16, 2, batch_first=True)
        self.need_weights = need_weights

    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x, x, x, need_weights=self.need_weights)


def _tokens() -> torch.Tensor:
    return torch.randn(2, 5, 16)


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]]] = {
    "linear": (lambda: nn.Linear(16, 8), lambda: ((_tokens(),), {})),
    "conv1d": (lambda: convnet(1), lambda: ((torch.randn(2, 4, 7),), {})),
    "conv2d": (lambda: convnet(2), lambda: ((torch.randn(2, 4, 7, 7),), {})),
    "conv3d": (lambda: convnet(3), lambda: ((torch.randn(2, 4, 7, 7, 7),), {})),
    "encoder_layer": (lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), lambda: ((_tokens(),), {})),
    "attention": (lambda: Attention(need_weights=True), lambda: ((_tokens(),), {})),
    "attention_fused": (lambda: Attention(need_weights=False), lambda: ((_tokens(),), {})),
    "llama": (llama, lambda: ((_ids(),), {})),  # makes a cache: without one it looks at position ids
    "bert": (bert, lambda: ((_ids(),), {})),
    "vit": (vit, lambda: ((torch.randn(2, 3, 8, 8),), {})),
    "t5": (t5, lambda: ((_ids(),), {"labels": _ids(2, 4), "use_cache": False})),
    "resnet": (resnet, lambda: ((torch.randn(2, 3, 16, 16),), {})),
    "whisper": (whisper, lambda: ((torch.randn(2, 8, 20),), {"decoder_input_ids": _ids(2, 4)})),
    "mixtral_eager": (lambda: mixtral("eager"), lambda: ((_ids(),), {"use_cache": False})),
    "mixtral_batched": (lambda: mixtral("batched_mm"), lambda: ((_ids(),), {"use_cache": False})),
    "mixtral_grouped": (lambda: mixtral("grouped_mm"), lambda: ((_ids(),), {"use_cache": False})),
}
"""Name -> (how it is built, its arguments)."""

WITH_SDPA = ("llama", "bert", "vit", "whisper")
NEEDS_DATA = ("mixtral_eager", "mixtral_grouped", "mixtral_batched")
"""Routing reads numbers, or the kernel takes bf16 alone on meta."""


def built(name: str, device: str, attention: str = "sdpa") -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    """A model and its arguments on a device."""
    torch.manual_seed(SEED)
    make, arguments = MODELS[name]
    with quiet(), torch.device(device):
        module = make()
    if isinstance(module, hf.PreTrainedModel) and attention == "eager":
        module.set_attn_implementation("eager")
    args, kwargs = torch.utils._pytree.tree_map(
        lambda x: x.to(device) if isinstance(x, torch.Tensor) else x, arguments()
    )
    return module, args, kwargs
