"""Every twin of the decoder beside its real module."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache, PreTrainedModel

from modelmeter import Conventions, Layer
from modelmeter.core.tensor import BF16, FP32, INT64
from modelmeter.models.deepseek_ocr import deepseek_v2, llama
from modelmeter.models.deepseek_ocr import head as head_of
from modelmeter.nn.embedding import Embedding
from support.harness import tensors
from support.reference import token_ids
from support.twin_cases import DECODER, Case, tensor

TOKENS = ((1, 1), (100, 1), (283, 4))
# Query tokens, batch, cached tokens: prefills, chunks onto a cache, decode steps.
STEPS = ((1, 1, 0), (100, 1, 0), (64, 4, 0), (28, 1, 100), (7, 3, 50), (1, 1, 913), (1, 4, 1024))


def real_decoder(model: PreTrainedModel) -> nn.Module:
    return model.model.language_model


def over_tokens(
    name: str, ours: Callable[[Conventions], Layer], real: Callable[[nn.Module], Any], width: int = 1280
) -> list[Case]:
    """Cases of a decoder layer over [b s width]."""
    return [
        Case(
            f"{name} {tokens} x{batch}",
            ours,
            lambda m: real(real_decoder(m)),
            lambda m, t=tokens, b=batch: m(tensor(b, t, width)),
            sizes=(tokens, batch),
            vision=False,
        )
        for tokens, batch in TOKENS
    ]


def step_arguments(queries: int, batch: int, past: int, layer_index: int) -> dict[str, Any]:
    """What the real model hands to a decoder layer and its attention."""
    cache = DynamicCache()
    if past:
        for index in range(layer_index + 1):
            cache.update(tensor(batch, 10, past, 128), tensor(batch, 10, past, 128), index)
    return {
        "hidden_states": tensor(batch, queries, 1280),
        "position_embeddings": (tensor(1, queries, 128), tensor(1, queries, 128)),
        "attention_mask": tensor(batch, 1, queries, past + queries),
        "past_key_values": cache,
    }


def rotary_product(queries: int) -> int:
    """The vendor's rotary table, in every layer: [64 1] by [1 q], once for the whole batch."""
    return 2 * 64 * 1 * queries


def over_steps(
    name: str, ours: Callable[[Conventions], Layer], real: Callable[[nn.Module], Any], index: int
) -> list[Case]:
    """Cases of a layer that attends to a cache."""
    return [
        Case(
            f"{name} {queries} x{batch} after {past}",
            ours,
            lambda m: real(m.model.language_model.layers[index]),
            lambda m, step=(queries, batch, past): m(**step_arguments(*step, index)),
            sizes=(queries, batch, past),
            vision=False,
            vendor_flops=rotary_product(queries),
        )
        for queries, batch, past in STEPS
    ]


def attention_of(c: Conventions) -> Layer:
    kind = llama.LlamaFlashAttention2 if c.attention == "flash" else llama.LlamaAttention
    return kind(DECODER, c)


class RotaryOfTransformers446(nn.Module):
    """The arithmetic of transformers 4.46's LlamaRotaryEmbedding.forward, the vendor's: a batched product in fp32."""

    def forward(self, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inv_freq = torch.empty(64, dtype=torch.float32, device="meta")
        inv_freq_expanded = inv_freq[None, :, None].float().expand(position_ids.shape[0], -1, 1)
        position_ids_expanded = position_ids[:, None, :].float()
        freqs = (inv_freq_expanded.float() @ position_ids_expanded.float()).transpose(1, 2)
        emb = torch.cat((freqs, freqs), dim=-1)
        return emb.cos().to(torch.bfloat16), emb.sin().to(torch.bfloat16)


def vendor_rotary(positions: int, queries: int) -> Case:
    return Case(
        f"rotary {queries} x{positions}",
        lambda _: llama.LlamaRotaryEmbedding(128),
        lambda _: RotaryOfTransformers446(),
        lambda m: m(token_ids(positions, queries)),
        inputs=lambda recorder, _: tensors((positions, queries), dtype=INT64)(recorder),
        vision=False,
    )


def rotary(queries: int) -> Case:
    return Case(
        f"rotary {queries}",
        lambda _: llama.RotaryEmbedding(128),
        lambda m: real_decoder(m).rotary_emb,
        lambda m: m(tensor(1, queries, 1280), token_ids(1, queries)),
        sizes=(queries, 1),
        vision=False,
    )


def experts(tokens: int) -> Case:
    """The routed experts alone; indices are whole numbers, routing does not change the FLOPs."""
    return Case(
        f"experts {tokens}",
        lambda c: deepseek_v2.Experts(DECODER, c),
        lambda m: real_decoder(m).layers[1].mlp.experts,
        lambda m: m(tensor(tokens, 1280), token_ids(tokens, 6), tensor(tokens, 6, dtype=torch.float32)),
        inputs=lambda recorder, _: (
            recorder.take((tokens, 1280), BF16),
            recorder.take((tokens, 6), FP32),
            recorder.take((tokens, 6), INT64),
        ),
        vision=False,
    )


def embedding(tokens: int, batch: int) -> Case:
    return Case(
        f"embedding {tokens} x{batch}",
        lambda _: Embedding(129280, 1280),
        lambda m: real_decoder(m).embed_tokens,
        lambda m: m(token_ids(batch, tokens)),
        sizes=(tokens, batch),
        vision=False,
    )


def head(tokens: int, batch: int) -> Case:
    return Case(
        f"head {tokens} x{batch}",
        lambda _: head_of.LMHead(1280, 129280),
        lambda m: m.lm_head,
        lambda m: m(tensor(batch, tokens, 1280)),
        sizes=(tokens, batch),
        vision=False,
    )


DECODER_CASES: dict[type[Layer], list[Case]] = {
    llama.LlamaRotaryEmbedding: [vendor_rotary(1, 1), vendor_rotary(1, 913), vendor_rotary(4, 283)],
    llama.RotaryEmbedding: [rotary(1), rotary(913)],
    llama.LlamaAttention: over_steps("attention", attention_of, lambda layer: layer.self_attn, 0),
    # With attention "flash" the same cases record this class (see attention_of); a few more of its own.
    llama.LlamaFlashAttention2: over_steps("attention", attention_of, lambda layer: layer.self_attn, 1)[-2:],
    deepseek_v2.DeepseekV2RMSNorm: over_tokens("norm", lambda _: deepseek_v2.DeepseekV2RMSNorm(1280), lambda m: m.norm),
    deepseek_v2.DeepseekV2MLP: [
        *over_tokens("dense", lambda _: deepseek_v2.DeepseekV2MLP(1280, 6848), lambda m: m.layers[0].mlp),
        *over_tokens(
            "shared", lambda _: deepseek_v2.DeepseekV2MLP(1280, 1792), lambda m: m.layers[1].mlp.shared_experts
        ),
    ],
    deepseek_v2.MoEGate: over_tokens("gate", lambda _: deepseek_v2.MoEGate(DECODER), lambda m: m.layers[1].mlp.gate),
    deepseek_v2.Experts: [experts(1), experts(100), experts(903)],
    deepseek_v2.DeepseekV2MoE: over_tokens(
        "moe", lambda c: deepseek_v2.DeepseekV2MoE(DECODER, c), lambda m: m.layers[1].mlp
    ),
    deepseek_v2.DeepseekV2DecoderLayer: [
        *over_steps("dense", lambda c: deepseek_v2.DeepseekV2DecoderLayer(DECODER, 0, c), lambda layer: layer, 0),
        *over_steps("moe", lambda c: deepseek_v2.DeepseekV2DecoderLayer(DECODER, 1, c), lambda layer: layer, 1),
    ],
    Embedding: [embedding(1, 1), embedding(913, 4)],
    head_of.LMHead: [head(1, 1), head(283, 4)],
}
