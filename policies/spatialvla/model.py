"""`SpatialVLAModel`: SigLIP tower, Ego3D encoding, Gemma-2 decoder over image, instruction and action tokens.

Source: SpatialVLA (arXiv 2501.15830). Token order of a sequence: `<image>` x N, (`<state>`,) padding if any, `<bos>`,
instruction, newline; then the action tokens and `<eos>`. Positions count from 1 and skip padding, so where padding
behind the image lies does not matter.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import Gemma2Config, Gemma2ForCausalLM, SiglipVisionConfig, SiglipVisionModel

from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.decoder import prefix_mask, run_decoder
from policies.spatialvla.ego3d import Ego3DPositionEncoder, backproject_patches, transform_points
from policies.spatialvla.state_encoder import StateEncoder
from policies.spatialvla.zoe_depth import build_zoe, estimate_depth

IGNORED_LABEL = -100


class SpatialVLAOutput(NamedTuple):
    """What a forward pass gives.

    Attributes:
        logits: (B, K, V) of the last K positions.
        loss: mean cross-entropy over the labels, or None without labels.
    """

    logits: Tensor
    loss: Tensor | None


class Projector(nn.Module):
    """Linear map from image tokens to the decoder's width."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_dim) to (..., out_dim)."""
        return self.linear(x)


class SpatialVLAModel(nn.Module):
    """The network; weights are drawn from torch's generator, see `build_model` for a seeded one.

    Args:
        config: sizes and switches.
    """

    def __init__(self, config: SpatialVLAConfig) -> None:
        super().__init__()
        self.config = config
        vision_fields = {**config.vision_config, "image_size": config.image_size}
        vision = SiglipVisionConfig(**{k: v for k, v in vision_fields.items() if k != "model_type"})
        text = Gemma2Config(**{k: v for k, v in config.text_config.items() if k != "model_type"})
        text._attn_implementation = "eager"
        self.vision_tower = SiglipVisionModel(vision)
        self.multi_modal_projector = Projector(vision.hidden_size, text.hidden_size)
        self.language_model = Gemma2ForCausalLM(text)
        self.spatial_embed_tokens = nn.Embedding(config.spatial_token_num, text.hidden_size)
        nn.init.normal_(self.spatial_embed_tokens.weight, std=text.initializer_range)
        if config.use_ego3d:
            self.position_embedding_3d = Ego3DPositionEncoder(
                3 * config.ego3d_patch_reso**2,
                vision.hidden_size,
                config.n_freqs,
                config.point_center,
                config.point_half_range,
                config.ego3d_init_gain,
            )
        if config.use_ego3d and config.use_vision_zoe:
            self.vision_zoe_model = build_zoe(config.vision_zoe_config)
        if config.state_dim:
            self.state_encoder = StateEncoder(config.state_dim, text.hidden_size, config.n_freqs)
        self.embedding_scale = text.hidden_size**0.5
        self.final_cap = text.final_logit_softcapping
        self.checkpointing = False

    def enable_checkpointing(self) -> None:
        """Compute the layers of tower and decoder again in backward passes of training, to save memory."""
        self.checkpointing = True
        self.vision_tower.activation_checkpointing_enable({"use_reentrant": False})

    @torch.compiler.disable  # filling holes depends on the data
    def image_points(self, depth: Tensor, intrinsics: Tensor, frame_from_camera: Tensor | None = None) -> Tensor:
        """Points (B, N, 3 r^2) of the patches, metres, in the configured frame.

        Args:
            depth: (B, H, W) metres, not finite or <= 0 where unknown.
            intrinsics: (3, 3) or (B, 3, 3) pixels of the model image.
            frame_from_camera: (B, 4, 4); required with `point_frame="tool"`.
        """
        with torch.no_grad(), torch.autocast(depth.device.type, enabled=False):
            points = backproject_patches(depth, intrinsics, self.config.patch_size, self.config.ego3d_patch_reso)
            if self.config.point_frame == "camera":
                return points
            if frame_from_camera is None:
                raise ValueError(f"frame_from_camera: expected (B, 4, 4) with point_frame={self.config.point_frame!r}")
            return transform_points(points, frame_from_camera.to(points))

    def image_features(
        self,
        pixel_values: Tensor,
        intrinsics: Tensor | None = None,
        depth: Tensor | None = None,
        frame_from_camera: Tensor | None = None,
    ) -> Tensor:
        """Image tokens (B, N, D) at the decoder's width; see `forward` for the arguments."""
        dtype = self.vision_tower.embeddings.patch_embedding.weight.dtype
        tokens = self.vision_tower((pixel_values.to(dtype) - 0.5) / 0.5).last_hidden_state
        if self.config.use_ego3d:
            if depth is None and self.config.use_vision_zoe:
                depth = estimate_depth(self.vision_zoe_model, pixel_values)
            if depth is None or intrinsics is None:
                raise ValueError("depth and intrinsics: expected both with use_ego3d, found none")
            points = self.image_points(depth, intrinsics, frame_from_camera)
            tokens = tokens + self.position_embedding_3d(points)
        return self.multi_modal_projector(tokens)

    def embed_tokens(self, input_ids: Tensor) -> Tensor:
        """Scaled embeddings (B, L, D): action ids from the spatial table, others from the text table."""
        begin = self.config.action_token_begin_idx
        spatial = (input_ids - begin).clamp(0, self.config.spatial_token_num - 1)
        is_action = (input_ids >= begin) & (input_ids < begin + self.config.spatial_token_num)
        text = self.language_model.model.embed_tokens(input_ids.masked_fill(is_action, self.config.pad_token_id))
        actions = self.spatial_embed_tokens(spatial) * self.embedding_scale
        return torch.where(is_action.unsqueeze(-1), actions.to(text.dtype), text)

    def embed(
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        intrinsics: Tensor | None = None,
        depth: Tensor | None = None,
        frame_from_camera: Tensor | None = None,
        state: Tensor | None = None,
    ) -> Tensor:
        """Decoder inputs (B, L, D): scaled token embeddings with image (unscaled) and state rows put in."""
        count = self.config.image_tokens
        if not torch.compiler.is_compiling() and not bool(
            (input_ids[:, :count] == self.config.image_token_index).all()
        ):
            raise ValueError(f"input_ids: expected {count} ids {self.config.image_token_index} (<image>) first")
        text = self.embed_tokens(input_ids[:, count:])
        image = self.image_features(pixel_values, intrinsics, depth, frame_from_camera).to(text.dtype)
        if self.config.state_dim:
            if state is None:
                raise ValueError(f"state: expected (B, {self.config.state_dim}), found none")
            is_state = (input_ids[:, count:] == self.config.state_token_index).unsqueeze(-1)
            text = torch.where(is_state, self.state_encoder(state).to(text.dtype).unsqueeze(1), text)
        return torch.cat([image, text], dim=1)

    def train(self, mode: bool = True) -> SpatialVLAModel:
        """Set the mode of all but the depth network, which is never trained."""
        super().train(mode)
        if hasattr(self, "vision_zoe_model"):
            self.vision_zoe_model.eval()
        return self

    def logits(self, hidden: Tensor, rows: slice | None = None) -> Tensor:
        """Soft-capped logits (..., V) of hidden states, or only those of some rows of the vocabulary."""
        weight = self.language_model.lm_head.weight
        scores = nn.functional.linear(hidden, weight if rows is None else weight[rows])
        return scores if self.final_cap is None else self.final_cap * (scores / self.final_cap).tanh()

    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        intrinsics: Tensor | None = None,
        depth: Tensor | None = None,
        labels: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        frame_from_camera: Tensor | None = None,
        state: Tensor | None = None,
        logits_to_keep: int | None = None,
    ) -> SpatialVLAOutput:
        """Logits of the last positions and, with labels, the training loss.

        Args:
            input_ids: (B, L) in the order of the module's docstring; padding may lie anywhere behind the image.
            pixel_values: (B, 3, S, S) in [0, 1].
            intrinsics: (3, 3) or (B, 3, 3) pixels of the S x S image; with `use_ego3d`.
            depth: (B, S, S) metres, not finite or <= 0 where unknown; with `use_ego3d`, unless `use_vision_zoe`.
            labels: (B, K) ids at the last K positions, K <= L, -100 where there is none; the id at a position is
                predicted from the position before.
            attention_mask: (B, L), 0 where padded; default: no padding.
            token_type_ids: (B, L), 0 prompt, 1 suffix; default: suffix where there are labels, else all prompt.
            frame_from_camera: (B, 4, 4) into the frame of the points; with `point_frame="tool"`.
            state: (B, state_dim) from `tool_state`; with `state_dim`.
            logits_to_keep: number of last positions whose logits to compute, by default all; with labels those that
                they need.

        Returns:
            Logits and loss; the loss is the mean over all labels of the cross-entropy over the whole vocabulary.
        """
        mask = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        if labels is not None:
            logits_to_keep = min(labels.shape[1] + 1, input_ids.shape[1])
        if token_type_ids is not None:
            suffix = token_type_ids.bool()
        elif labels is not None:
            suffix = nn.functional.pad(labels != IGNORED_LABEL, (input_ids.shape[1] - labels.shape[1], 0))
        else:
            suffix = torch.zeros_like(mask)
        embeds = self.embed(input_ids, pixel_values, intrinsics, depth, frame_from_camera, state)
        prefix = ~suffix if self.config.prefix_attention == "bidirectional" else None
        bias = prefix_mask(mask, prefix, embeds.dtype)
        checkpointing = self.checkpointing and self.training
        decoder = self.language_model.model
        hidden = run_decoder(decoder, embeds, position_ids(mask), bias, logits_to_keep, checkpointing=checkpointing)
        logits = self.logits(hidden)
        if labels is None:
            return SpatialVLAOutput(logits, None)
        targets = labels[:, labels.shape[1] - logits.shape[1] + 1 :]
        loss = nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED_LABEL
        )
        return SpatialVLAOutput(logits, loss)

    @torch.no_grad()
    def synchronize_action_embeddings(self) -> None:
        """Copy the spatial table into the rows of the text table that it overrides, as checkpoints store it."""
        begin = self.config.action_token_begin_idx
        rows = self.language_model.model.embed_tokens.weight[begin : begin + self.config.spatial_token_num]
        rows.copy_(self.spatial_embed_tokens.weight)


def position_ids(attention_mask: Tensor) -> Tensor:
    """Positions (B, L) of tokens, from 1, not counting padding."""
    return attention_mask.long().cumsum(-1).clamp_min(1)


def build_model(config: SpatialVLAConfig, seed: int) -> SpatialVLAModel:
    """Build a fresh model whose weights depend on `seed` alone; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SpatialVLAModel(config)
