"""Stand-in for tests, written for this project: the decoder under the names of the remote code."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_attn_mask_utils import _prepare_4d_causal_attention_mask
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.modeling_utils import PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaFlashAttention2

from .configuration_deepseek_v2 import DeepseekV2Config

ATTENTION_CLASSES = {"mha_eager": LlamaAttention, "mha_flash_attention_2": LlamaFlashAttention2}


class DeepseekV2RMSNorm(nn.Module):
    """[... hidden] -> [... hidden], in fp32."""

    def __init__(self, hidden_size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.variance_epsilon = eps

    def forward(self, hidden_states):
        input_dtype = hidden_states.dtype
        hidden_states = hidden_states.to(torch.float32)
        variance = hidden_states.pow(2).mean(-1, keepdim=True)
        hidden_states = hidden_states * torch.rsqrt(variance + self.variance_epsilon)
        return self.weight * hidden_states.to(input_dtype)


class DeepseekV2MLP(nn.Module):
    """SwiGLU, [... hidden] -> [... hidden]."""

    def __init__(self, config: DeepseekV2Config, intermediate_size: int | None = None) -> None:
        super().__init__()
        width = intermediate_size or config.intermediate_size
        self.gate_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.down_proj = nn.Linear(width, config.hidden_size, bias=False)
        self.act_fn = ACT2FN[config.hidden_act]

    def forward(self, x):
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class MoEGate(nn.Module):
    """The router, in fp32: [b s hidden] -> expert indices [b*s k], weights [b*s k], no auxiliary loss."""

    def __init__(self, config: DeepseekV2Config) -> None:
        super().__init__()
        self.config = config
        self.top_k = config.num_experts_per_tok
        self.weight = nn.Parameter(torch.empty((config.n_routed_experts, config.hidden_size)))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, hidden_states):
        config = self.config
        hidden_states = hidden_states.view(-1, hidden_states.shape[-1])
        logits = F.linear(hidden_states.type(torch.float32), self.weight.type(torch.float32), None)
        scores = logits.softmax(dim=-1, dtype=torch.float32)
        if config.topk_method == "group_limited_greedy":
            scores = self._limit_groups(scores)
        elif config.topk_method != "greedy":
            raise NotImplementedError(f"topk_method {config.topk_method!r}")
        topk_weight, topk_idx = torch.topk(scores, k=self.top_k, dim=-1, sorted=False)
        if self.top_k > 1 and config.norm_topk_prob:
            topk_weight = topk_weight / (topk_weight.sum(dim=-1, keepdim=True) + 1e-20) * config.routed_scaling_factor
        else:
            topk_weight = topk_weight * config.routed_scaling_factor
        return topk_idx, topk_weight, None

    def _limit_groups(self, scores):
        """[r e] -> [r e], cleared outside each row's best groups of experts."""
        config, (rows, experts) = self.config, scores.shape
        group_scores = scores.view(rows, config.n_group, -1).max(dim=-1).values
        group_idx = torch.topk(group_scores, k=config.topk_group, dim=-1, sorted=False)[1]
        group_mask = torch.zeros_like(group_scores)
        group_mask.scatter_(1, group_idx, 1)
        mask = group_mask.unsqueeze(-1).expand(rows, config.n_group, experts // config.n_group).reshape(rows, -1)
        return scores.masked_fill(~mask.bool(), 0.0)


class DeepseekV2MoE(nn.Module):
    """[b s hidden] -> [b s hidden]: routed experts and, beside them, the shared experts as one MLP. Inference only."""

    def __init__(self, config: DeepseekV2Config) -> None:
        super().__init__()
        self.config = config
        width = config.moe_intermediate_size
        self.experts = nn.ModuleList([DeepseekV2MLP(config, width) for _ in range(config.n_routed_experts)])
        self.gate = MoEGate(config)
        if config.n_shared_experts is not None:
            self.shared_experts = DeepseekV2MLP(config, width * config.n_shared_experts)

    def forward(self, hidden_states):
        if self.training:
            raise NotImplementedError("this stand-in has no training path: call model.eval() first")
        identity, orig_shape = hidden_states, hidden_states.shape
        topk_idx, topk_weight, _aux_loss = self.gate(hidden_states)
        hidden_states = hidden_states.view(-1, hidden_states.shape[-1])
        y = self.moe_infer(hidden_states, topk_idx, topk_weight).view(*orig_shape)
        if self.config.n_shared_experts is not None:
            y = y + self.shared_experts(identity)
        return y

    @torch.no_grad()
    def moe_infer(self, x, topk_ids, topk_weight):
        """[r hidden] -> [r hidden]: rows sorted by expert, each expert called on its own, rows put back and weighed."""
        cnts = topk_ids.new_zeros((topk_ids.shape[0], len(self.experts)))
        cnts.scatter_(1, topk_ids, 1)
        tokens_per_expert = cnts.sum(dim=0)
        idxs = topk_ids.view(-1).argsort()
        sorted_tokens = x[idxs // topk_ids.shape[1]]
        tokens_per_expert = tokens_per_expert.cpu().numpy()
        outputs, start_idx = [], 0
        for expert, num_tokens in zip(self.experts, tokens_per_expert, strict=True):
            if num_tokens == 0:
                continue
            end_idx = start_idx + num_tokens
            tokens_for_this_expert = sorted_tokens[start_idx:end_idx]
            expert_out = expert(tokens_for_this_expert)
            outputs.append(expert_out)
            start_idx = end_idx
        outs = torch.cat(outputs, dim=0) if outputs else sorted_tokens.new_empty(0)
        new_x = torch.empty_like(outs)
        new_x[idxs] = outs
        by_token = new_x.view(*topk_ids.shape, -1)
        return by_token.type(topk_weight.dtype).mul_(topk_weight.unsqueeze(dim=-1)).sum(dim=1).type(new_x.dtype)


class DeepseekV2DecoderLayer(nn.Module):
    """[b q hidden] -> ([b q hidden], attention weights if asked, cache if used)."""

    def __init__(self, config: DeepseekV2Config, layer_idx: int) -> None:
        super().__init__()
        if config.use_mla:
            raise NotImplementedError("this stand-in has no multi-head latent attention")
        self.self_attn = ATTENTION_CLASSES["mha_" + config._attn_implementation](config=config, layer_idx=layer_idx)
        is_sparse = (
            config.n_routed_experts is not None
            and layer_idx >= config.first_k_dense_replace
            and layer_idx % config.moe_layer_freq == 0
        )
        self.mlp = DeepseekV2MoE(config) if is_sparse else DeepseekV2MLP(config)
        self.input_layernorm = DeepseekV2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = DeepseekV2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self,
        hidden_states,
        attention_mask=None,
        position_ids=None,
        past_key_value=None,
        output_attentions=False,
        use_cache=False,
    ):
        residual = hidden_states
        hidden_states = self.input_layernorm(hidden_states)
        hidden_states, self_attn_weights, present_key_value = self.self_attn(
            hidden_states=hidden_states,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_value=past_key_value,
            output_attentions=output_attentions,
            use_cache=use_cache,
        )
        hidden_states = residual + hidden_states
        residual = hidden_states
        hidden_states = self.post_attention_layernorm(hidden_states)
        hidden_states = self.mlp(hidden_states)
        hidden_states = residual + hidden_states
        weights = (self_attn_weights,) if output_attentions else ()
        return (hidden_states, *weights, *((present_key_value,) if use_cache else ()))


class DeepseekV2PreTrainedModel(PreTrainedModel):
    """What transformers asks of a family: its attention classes (no sdpa: eager is the default) and initial weights."""

    config_class = DeepseekV2Config
    base_model_prefix = "model"
    _no_split_modules = ("DeepseekV2DecoderLayer",)
    _skip_keys_device_placement = "past_key_values"
    _supports_flash_attn_2 = True
    _supports_cache_class = True

    def _init_weights(self, module):
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.data.normal_(mean=0.0, std=self.config.initializer_range)
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.data.zero_()


class DeepseekV2Model(DeepseekV2PreTrainedModel):
    """Token ids [b q] or embeddings [b q hidden] -> hidden states [b q hidden] and the cache."""

    def __init__(self, config: DeepseekV2Config) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList([DeepseekV2DecoderLayer(config, i) for i in range(config.num_hidden_layers)])
        self._use_flash_attention_2 = config._attn_implementation == "flash_attention_2"
        self.norm = DeepseekV2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed_tokens

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        use_cache=None,
        output_attentions=None,
        output_hidden_states=None,
        return_dict=None,
    ):
        config = self.config
        output_attentions = config.output_attentions if output_attentions is None else output_attentions
        use_cache = config.use_cache if use_cache is None else use_cache
        return_dict = config.use_return_dict if return_dict is None else return_dict
        if (input_ids is None) == (inputs_embeds is None) or output_hidden_states:
            raise ValueError("give either input_ids or inputs_embeds; this stand-in keeps no hidden states")
        batch_size, seq_length = (input_ids if inputs_embeds is None else inputs_embeds).shape[:2]

        past_key_values_length, use_legacy_cache = 0, False
        if use_cache:
            use_legacy_cache = not isinstance(past_key_values, Cache)
            if use_legacy_cache:
                past_key_values = DynamicCache.from_legacy_cache(past_key_values)
            past_key_values_length = past_key_values.get_usable_length(seq_length)
        if position_ids is None:
            device = input_ids.device if input_ids is not None else inputs_embeds.device
            end = past_key_values_length + seq_length
            position_ids = torch.arange(past_key_values_length, end, dtype=torch.long, device=device).unsqueeze(0)
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        if self._use_flash_attention_2:
            attention_mask = attention_mask if (attention_mask is not None and 0 in attention_mask) else None
        else:
            attention_mask = _prepare_4d_causal_attention_mask(
                attention_mask, (batch_size, seq_length), inputs_embeds, past_key_values_length
            )

        hidden_states = inputs_embeds
        all_self_attns, next_decoder_cache = (), None
        for decoder_layer in self.layers:
            layer_outputs = decoder_layer(
                hidden_states,
                attention_mask=attention_mask,
                position_ids=position_ids,
                past_key_value=past_key_values,
                output_attentions=output_attentions,
                use_cache=use_cache,
            )
            hidden_states = layer_outputs[0]
            if use_cache:
                next_decoder_cache = layer_outputs[-1]
            if output_attentions:
                all_self_attns += (layer_outputs[1],)
        hidden_states = self.norm(hidden_states)
        outputs = BaseModelOutputWithPast(
            last_hidden_state=hidden_states,
            past_key_values=next_decoder_cache.to_legacy_cache() if use_legacy_cache else next_decoder_cache,
            attentions=all_self_attns or None,
        )
        return outputs if return_dict else outputs.to_tuple()


class DeepseekV2ForCausalLM(DeepseekV2PreTrainedModel):
    """The decoder with its head; what runs is the subclass's."""

    _tied_weights_keys = ("lm_head.weight",)

    def __init__(self, config: DeepseekV2Config) -> None:
        super().__init__(config)
        self.model = DeepseekV2Model(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()
