"""Stand-in for tests, written for this project: the whole network under the names of the remote code."""

import torch
from torch import nn
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_deepseek_v2 import DeepseekV2Config
from .deepencoder import MlpProjector, build_clip_l, build_sam_vit_b
from .modeling_deepseekv2 import DeepseekV2ForCausalLM, DeepseekV2Model


class DeepseekOCRConfig(DeepseekV2Config):
    """The decoder's sizes at the top level; `vision_config` and `projector_config` stay plain dicts."""

    model_type = "DeepseekOCR"


class DeepseekOCRModel(DeepseekV2Model):
    """The decoder with the encoders in front: image tokens take their places among the embeddings.

    `images` is a list of (tiles [n 3 t t], page [1 3 s s]), one for each row of `input_ids`; all zeros means that there
    are none. `images_seq_mask` [b q] marks the places, `images_spatial_crop` [b 2] says the grid (columns, rows).
    """

    config_class = DeepseekOCRConfig

    def __init__(self, config: DeepseekOCRConfig) -> None:
        super().__init__(config)
        self.sam_model = build_sam_vit_b(config.vision_config)
        self.vision_model = build_clip_l(config.vision_config)
        self.projector = MlpProjector(config.projector_config)
        width = config.projector_config["n_embed"]
        self.image_newline = nn.Parameter(torch.randn(width) / width**0.5)
        self.view_seperator = nn.Parameter(torch.randn(width) / width**0.5)

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
        images=None,
        images_seq_mask=None,
        images_spatial_crop=None,
        return_dict=None,
    ):
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        # All is written out in this frame, not in helpers: what its names hold lives until the decoder is through.
        if (input_ids.shape[1] != 1 or self.training) and torch.sum(images[0][1]).item() != 0:
            newline, separator = self.image_newline[None, None, :], self.view_seperator[None, :]
            for idx, (image, crop_shape) in enumerate(zip(images, images_spatial_crop, strict=False)):
                patches, image_ori = image[0], image[1]
                with torch.no_grad():
                    has_tiles = torch.sum(patches).item() != 0
                    if has_tiles:
                        local_sam = self.sam_model(patches)
                        local_clip = self.vision_model(patches, local_sam)
                        tiles = torch.cat((local_clip[:, 1:], local_sam.flatten(2).permute(0, 2, 1)), dim=-1)
                        tiles = self.projector(tiles)
                    global_sam = self.sam_model(image_ori)
                    global_clip = self.vision_model(image_ori, global_sam)
                    page = torch.cat((global_clip[:, 1:], global_sam.flatten(2).permute(0, 2, 1)), dim=-1)
                    page = self.projector(page)
                    print("=====================")
                    print("BASE: ", page.shape)
                    print(*(("PATCHES: ", tiles.shape) if has_tiles else ("NO PATCHES",)))
                    print("=====================")

                    _, count, width = page.shape
                    side = int(count**0.5)
                    page = page.view(side, side, width)
                    page = torch.cat([page, newline.expand(side, 1, width)], dim=1).view(-1, width)
                    views = [page, separator]
                    if has_tiles:
                        side = int(tiles.shape[1] ** 0.5)
                        columns, rows = crop_shape[0], crop_shape[1]
                        tiles = tiles.view(rows, columns, side, side, width).permute(0, 2, 1, 3, 4)
                        tiles = tiles.reshape(rows * side, columns * side, width)
                        tiles = torch.cat([tiles, newline.expand(rows * side, 1, width)], dim=1).view(-1, width)
                        views = [tiles, *views]
                    page = torch.cat(views, dim=0)
                    image_tokens = torch.cat([page], dim=0)
                inputs_embeds[idx].masked_scatter_(images_seq_mask[idx].unsqueeze(-1).cuda(), image_tokens)
        return super().forward(
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=return_dict,
        )


class DeepseekOCRForCausalLM(DeepseekV2ForCausalLM):
    """The network with its head: logits [b q vocab] of every position, in fp32."""

    config_class = DeepseekOCRConfig

    def __init__(self, config: DeepseekOCRConfig) -> None:
        super(DeepseekV2ForCausalLM, self).__init__(config)
        self.model = DeepseekOCRModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

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
        images=None,
        images_seq_mask=None,
        images_spatial_crop=None,
        return_dict=None,
    ):
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            images=images,
            images_seq_mask=images_seq_mask,
            images_spatial_crop=images_spatial_crop,
            return_dict=True,
        )
        hidden_states = outputs[0]
        logits = self.lm_head(hidden_states)
        logits = logits.float()
        result = CausalLMOutputWithPast(None, logits, outputs.past_key_values, attentions=outputs.attentions)
        as_dict = self.config.use_return_dict if return_dict is None else return_dict
        return result if as_dict else result.to_tuple()

    def prepare_inputs_for_generation(
        self, input_ids, past_key_values=None, attention_mask=None, inputs_embeds=None, **kwargs
    ):
        """The tokens that the cache does not hold yet, their positions [b q], and the images, passed along."""
        if past_key_values is not None:
            is_cache = isinstance(past_key_values, Cache)
            cached = past_key_values.get_seq_length() if is_cache else past_key_values[0][0].shape[2]
            if attention_mask is not None and attention_mask.shape[1] > input_ids.shape[1]:
                input_ids = input_ids[:, -(attention_mask.shape[1] - cached) :]
            elif cached < input_ids.shape[1]:
                input_ids = input_ids[:, cached:]
        position_ids = kwargs.get("position_ids")
        if attention_mask is not None and position_ids is None:
            position_ids = attention_mask.long().cumsum(-1) - 1
            position_ids.masked_fill_(attention_mask == 0, 1)
            if past_key_values:
                position_ids = position_ids[:, -input_ids.shape[1] :]
        given = {"inputs_embeds": inputs_embeds} if inputs_embeds is not None and not past_key_values else {}
        passed_along = ("use_cache", "images", "images_seq_mask", "images_spatial_crop")
        return {
            **(given or {"input_ids": input_ids}),
            "position_ids": position_ids,
            "past_key_values": past_key_values,
            "attention_mask": attention_mask,
            **{name: kwargs.get(name) for name in passed_along},
        }
