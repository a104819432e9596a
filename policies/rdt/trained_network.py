"""`TrainedRDT`: what an optimizer changes when an RDT policy is trained, and how it begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import SiglipVisionConfig

from policies.lora import LoraSettings, add_adapters
from policies.quantization import refuse_quantized
from policies.rdt.adapted_maps import TARGETS
from policies.rdt.checkpoint import load_model
from policies.rdt.config import NormStat, RDTConfig
from policies.rdt.encoder_directories import TEXT_ENCODER, has_own_encoders, load_tower
from policies.rdt.encoder_tower import EncoderTower
from policies.rdt.image_tower import SiglipTower
from policies.rdt.images import CAMERA_ROLES, FRAMES
from policies.rdt.network import Conditions, RDTModel, build_model
from policies.rdt.objective import Noise, Targets, diffusion_loss, predict, regression_loss
from policies.rdt.sampling import regress
from policies.rdt.training_options import RDTTraining
from policies.rdt.word_encoder import WordEncoder

CHUNK, IMAGE_SIZE = 32, 64
MAX_WORDS = 64
PIXEL_AXES = 5
SIZES = {
    "small": ({"hidden_size": 192, "depth": 8, "num_heads": 6}, {"hidden_size": 128, "num_hidden_layers": 3}),
    "tiny": ({"hidden_size": 32, "depth": 2, "num_heads": 2}, {"hidden_size": 16, "num_hidden_layers": 1}),
}
"""Sizes of network and image tower."""
MLP_RATIO, HEAD_WIDTH = 3, 16


class TrainedRDT(nn.Module):
    """A network, and its image tower and words where these are trained with it; its forward pass is the loss.

    Args:
        model: the network.
        options: see `RDTTraining`.
        tower: trained with it; None where batches bring the features of a frozen one.
        text: likewise; None where batches bring embeddings.
    """

    def __init__(
        self,
        model: RDTModel,
        options: RDTTraining,
        tower: SiglipTower | EncoderTower | None = None,
        text: WordEncoder | None = None,
    ) -> None:
        super().__init__()
        self.model, self.tower, self.text = model, tower, text
        self.objective, self.masked = options.objective, options.masked_loss
        if isinstance(tower, SiglipTower):
            tower.vision_model.set_attn_implementation("eager")  # its backward pass is faster on a CPU, see `attend`

    def conditions(self, batch: Mapping[str, Tensor]) -> Conditions:
        """Keys and values of a batch's `language` (B, L, width) and `images`.

        With words of its own `language` is their numbers (B, L, 1). `images` are pixels (B, n, 3, S, S), or features
        (B, n, tokens, width) of a frozen tower. A network with a history takes `history` and `history_present` too.
        """
        tokens = batch["language"] if self.text is None else self.text.table(batch["language"][..., 0])
        features = batch["images"]
        if self.tower is not None and features.ndim == PIXEL_AXES:
            features = self.tower(features.flatten(0, 1)).unflatten(0, features.shape[:2])
        language = self.model.encode_language(tokens, batch["language_mask"])
        images = self.model.encode_images(features.flatten(1, 2))
        if self.model.history is None:
            return Conditions(language, images)
        return Conditions(language, images, self.model.encode_history(batch["history"], batch["history_present"]))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Loss of a batch."""
        targets, conditions = targets_of(batch), self.conditions(batch)
        if self.objective == "regression":
            return regression_loss(self.model, targets, conditions, self.masked)
        return diffusion_loss(self.model, targets, conditions, noise_of(batch), self.masked)

    def predict(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Chunks (B, T, d) that the network makes of a batch, in the robot's slots alone."""
        targets, conditions = targets_of(batch), self.conditions(batch)
        if self.objective == "regression":
            actions = targets.actions
            chunks = regress(self.model, targets.state, actions.shape[1], targets.mask, targets.frequency, conditions)
        else:
            chunks = predict(self.model, targets, conditions, noise_of(batch))[0]
        return chunks * targets.slots[:, None]


def noise_of(batch: Mapping[str, Tensor]) -> Noise:
    """What was drawn for a batch."""
    return Noise(batch["noise"], batch["timesteps"], batch.get("delays"))


def targets_of(batch: Mapping[str, Tensor]) -> Targets:
    """What a batch's chunks are."""
    return Targets(batch["state"][:, 0], batch["actions"], batch["slots"], batch["mask"], batch["frequency"])


def fresh_network(size: str, options: RDTTraining, words: Sequence[str], seed: int) -> TrainedRDT:
    """A small network with an image tower and words of its own.

    Args:
        size: key of `SIZES`.
        options: see `RDTTraining`.
        words: vocabulary.
        seed: of the weights.
    """
    network, tower = SIZES[size]
    width = tower["hidden_size"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pictures = _tower(tower, options)
        text = WordEncoder(words, width)
    config = RDTConfig(
        **network,
        pred_horizon=options.chunk or CHUNK,
        lang_token_dim=width,
        img_token_dim=pictures.width,
        image_grid=(FRAMES if options.history else 1, len(CAMERA_ROLES), pictures.tokens_per_image),
        max_lang_cond_len=MAX_WORDS,
        clean_prefix=options.max_delay > 0,
        history_steps=options.history_steps or 0,
        history_mixer=options.history_mixer or "ponet",
    )
    return TrainedRDT(build_model(config, seed), options, pictures, text)


def _tower(size: Mapping[str, int], options: RDTTraining) -> SiglipTower | EncoderTower:
    """A pretrained encoder where the options name one, otherwise a small SigLIP with random weights."""
    image_size = options.image_size or IMAGE_SIZE
    if options.vision_encoder is not None:
        return EncoderTower.from_directory(options.vision_encoder, image_size).requires_grad_(not options.freeze)
    width = size["hidden_size"]
    config = SiglipVisionConfig(
        **size,
        intermediate_size=MLP_RATIO * width,
        num_attention_heads=width // HEAD_WIDTH,
        image_size=image_size,
        patch_size=options.patch_size,
    )
    return SiglipTower(config).requires_grad_(True)


def stored_network(directory: Path, norm_stat: NormStat, options: RDTTraining, lora: LoraSettings) -> TrainedRDT:
    """The network of a policy, in float32 as an optimizer's small steps vanish otherwise, with its own encoders.

    Args:
        directory: of the policy.
        norm_stat: see `RDTConfig`.
        options: see `RDTTraining`.
        lora: with a rank, adapters of the network are all that is trained.

    Raises:
        FileNotFoundError: a part is missing.
        ValueError: a part is damaged, or does not fit the options.
    """
    refuse_quantized(directory)
    model = _with_prefix(load_model(directory, norm_stat, "float32"), directory, options, lora)
    model = _with_history(model, directory, options, lora)
    tower, text = None, None
    if has_own_encoders(directory):
        tower = load_tower(directory, "float32")
        text = WordEncoder.from_directory(directory / TEXT_ENCODER)
        tower.requires_grad_(not lora.rank and not options.freeze)
        text.requires_grad_(not lora.rank)
    if lora.rank:
        add_adapters(model, lora, TARGETS)
    return TrainedRDT(model, options, tower, text).train()


def _with_prefix(model: RDTModel, directory: Path, options: RDTTraining, lora: LoraSettings) -> RDTModel:
    """The network with a mark of clean rows where the options ask for one; it begins at zero and so changes nothing."""
    has, wanted = model.config.clean_prefix, options.max_delay > 0
    if has == wanted:
        return model
    if has or lora.rank:
        raise ValueError(
            f"{directory}: --rdt.max-delay: expected {'> 0' if has else '0 with adapters'}, as the policy was trained "
            f"with{'' if has else 'out'} clean rows, found {options.max_delay}"
        )
    marked = RDTModel(replace(model.config, clean_prefix=True))
    marked.load_state_dict(model.state_dict() | {"model.clean_embed": marked.model.clean_embed.detach()})
    return marked


def _with_history(model: RDTModel, directory: Path, options: RDTTraining, lora: LoraSettings) -> RDTModel:
    """The network with a history where the options ask for one; its vector begins at zero and so changes nothing."""
    config, steps = model.config, options.history_steps
    mixer = options.history_mixer or config.history_mixer
    if steps is None or (steps, mixer) == (config.history_steps, config.history_mixer):
        return model
    if config.history_steps or lora.rank:
        expected = f"{config.history_steps}, {config.history_mixer}" if config.history_steps else "none with adapters"
        raise ValueError(f"{directory}: --rdt.history-steps: expected {expected}, found {steps}, {mixer}")
    remembering = build_model(replace(config, history_steps=steps, history_mixer=mixer), seed=0)
    remembering.load_state_dict(model.state_dict(), strict=False)
    return remembering
