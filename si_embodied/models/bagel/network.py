"""BAGEL's understanding branch as a network: SigLIP's encoder, a connector, and Qwen3's decoder from transformers.

An image's features and the markers before and after it are one block (`models.blocks`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from si_embodied.errors import extra
from si_embodied.models.bagel.config import BagelConfig
from si_embodied.models.blocks import attention, block_positions, image_blocks

with extra("models"):
    import torch
    from torch import nn
    from torch.nn import functional
    from transformers import PreTrainedModel, Qwen3Model
    from transformers.modeling_outputs import CausalLMOutputWithPast
    from transformers.models.siglip.modeling_siglip import SiglipEncoder

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """The features of images, under the name that transformers gives them."""

    pooler_output: Tensor  # (n, hidden)


class VisionTower(nn.Module):
    """SigLIP on a whole image of any size: patches find their position in a square table, and all see each other."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        inputs, positions = config.num_channels * config.patch_size**2, (config.image_size // config.patch_size) ** 2
        self.patch_embedding = nn.Linear(inputs, config.hidden_size)
        self.position_embedding = nn.Embedding(positions, config.hidden_size)
        self.encoder = SiglipEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, patches: Tensor, positions: Tensor) -> Tensor:
        """From one image's patches (n, patch² x channels) and positions (n,) to (n, width)."""
        embedded = self.patch_embedding(patches) + self.position_embedding(positions)
        seen: Tensor = self.post_layernorm(self.encoder(embedded[None]).last_hidden_state[0])
        return seen


class Connector(nn.Module):
    """From the vision tower's width to the language model's."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(inner, outer), nn.Linear(outer, outer)

    def forward(self, features: Tensor) -> Tensor:
        """From (n, inner) to (n, outer)."""
        return self.fc2(functional.gelu(self.fc1(features), approximate="tanh"))  # type: ignore[no-any-return]


class _Bagel(PreTrainedModel):  # type: ignore[misc]  # transformers' types are not read
    """What transformers asks about a model."""

    config_class = BagelConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ("Qwen3DecoderLayer", "SiglipEncoderLayer")


class BagelModel(_Bagel):
    """Everything but the output layer."""

    def __init__(self, config: BagelConfig) -> None:
        super().__init__(config)
        vision, text = config.vision_config, config.text_config
        self.vision_tower = VisionTower(vision)
        self.connector = Connector(vision.hidden_size, text.hidden_size)
        self.vit_pos_embed = nn.Embedding(self.vision_tower.position_embedding.num_embeddings, text.hidden_size)
        self.language_model = Qwen3Model(text)
        for layer in self.language_model.layers:  # with `attention_bias`, Qwen3 has one here too
            output = layer.self_attn.o_proj
            layer.self_attn.o_proj = nn.Linear(output.in_features, output.out_features, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The table of the tokens' embeddings."""
        return self.language_model.embed_tokens  # type: ignore[no-any-return]

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the table."""
        self.language_model.embed_tokens = value

    def get_image_features(self, pixel_values: Tensor, patch_positions: Tensor, **_: Any) -> ImageFeatures:
        """The features of one or more images, each with a patch at position 0: one per patch, in order."""
        later = (patch_positions == 0).nonzero().flatten().tolist()[1:]
        images = zip(pixel_values.tensor_split(later), patch_positions.tensor_split(later), strict=True)
        return ImageFeatures(torch.cat([self.see(patches, positions) for patches, positions in images]))

    def see(self, patches: Tensor, positions: Tensor) -> Tensor:
        """The features (n, hidden) of one image's patches (n, patch² x channels), which are at positions (n,)."""
        dtype = self.vit_pos_embed.weight.dtype
        features = self.connector(self.vision_tower(patches.to(dtype), positions))
        placed: Tensor = features + self.vit_pos_embed(positions)
        return placed


class BagelForConditionalGeneration(_Bagel):
    """The whole understanding branch. It has no `generate`: answers come from `models.decoding`."""

    def __init__(self, config: BagelConfig) -> None:
        super().__init__(config)
        self.model = BagelModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The table of the tokens' embeddings."""
        return self.model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        """The output layer."""
        return self.lm_head

    def prepare_inputs_for_generation(self, input_ids: Tensor, **arguments: Any) -> dict[str, Any]:
        """The arguments of a pass, which is over the whole sequence; peft asks for this method."""
        return {"input_ids": input_ids, **arguments}

    def forward(
        self,
        input_ids: Tensor,  # (B, T)
        pixel_values: Tensor | None = None,  # of all images, in order
        patch_positions: Tensor | None = None,
        attention_mask: Tensor | None = None,  # (B, T), 0 for padding, which is on the right
        position_ids: Tensor | None = None,  # (B, T), from 0 in each of a row's sequences; None: one sequence a row
        labels: Tensor | None = None,  # (B, T), -100 where there is no loss
        logits_to_keep: int | Tensor = 0,
        **_: Any,
    ) -> CausalLMOutputWithPast:
        """One pass over whole prompts, without a cache: for training and for comparing.

        Padding on the right changes nothing, because no token attends to a later one outside its block. Sequences that
        share a row do not see each other.
        """
        embeds = self.get_input_embeddings()(input_ids)
        is_image = input_ids == self.config.image_token_id
        if pixel_values is not None and patch_positions is not None:
            features = self.model.get_image_features(pixel_values, patch_positions).pooler_output
            embeds = embeds.masked_scatter(is_image[..., None], features.to(embeds.dtype))
        ends = [image_blocks(row) for row in is_image.cpu().numpy()]
        length = input_ids.shape[1]
        positions = torch.stack([torch.from_numpy(block_positions(each)) for each in ends])
        mask = torch.stack([torch.from_numpy(attention(each, 0, length)) for each in ends])
        if position_ids is not None:
            first = position_ids.cpu() == 0
            sequence = first.cumsum(dim=1)
            mask = mask & (sequence[:, :, None] == sequence[:, None])
            starts = positions.masked_fill(~first, 0).cummax(dim=1).values
            positions = positions - starts
        hidden = self.model.language_model(
            inputs_embeds=embeds,
            position_ids=positions.to(embeds.device),
            attention_mask=mask[:, None].to(embeds.device),
            use_cache=False,
        ).last_hidden_state
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(hidden[:, kept])
        rows = self.lm_head.out_features
        loss = None if labels is None else self.loss_function(logits=logits, labels=labels, vocab_size=rows)
        return CausalLMOutputWithPast(loss=loss, logits=logits)
