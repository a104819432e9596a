"""`FrozenEncoders`: the image tower and the texts of a policy whose encoders are not trained, as released ones.

The tower sees the pictures of each batch, as they are augmented and a feature takes a megabyte. Texts are few and stay
as they are, so their embeddings are made once, kept in files, and the encoder, which may be larger than the policy, is
let go.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from policies.rdt.embedding_files import EmbeddingCache
from policies.rdt.encoder_directories import EMBEDDINGS, TEXT_ENCODER, TOWER, load_text_encoder, load_tower
from policies.rdt.image_tower import ImageFeatures
from policies.rdt.images import background_image
from policies.rdt.language import T5TextEncoder


class FrozenEncoders:
    """What gives a network its image features and embeddings.

    Args:
        directory: of the policy; holds `image_tower/`, and `text_encoder/` or `embeddings/`.
        width: numbers of a language token.
        texts: all that training may draw.
        cache: directory of the embeddings that a text encoder gave.
        accelerator: the processes of the run; the main one encodes the texts.

    Attributes:
        embeddings: (L, width) of each text, on the CPU.

    Raises:
        FileNotFoundError: a part is missing.
        ValueError: a part is damaged, or `embeddings/` lacks a text.
    """

    def __init__(
        self, directory: Path, width: int, texts: Sequence[str], cache: Path, accelerator: Accelerator
    ) -> None:
        self._directory = directory
        self._accelerator = accelerator
        self.tower = load_tower(directory).to(accelerator.device)
        self._background = background_image(self.tower.image_size).to(accelerator.device)
        with accelerator.autocast():
            self._features = ImageFeatures(self.tower, accelerator.device)
        found = [self._embed(width, texts, cache) if accelerator.is_main_process else {}]
        if accelerator.num_processes > 1:
            broadcast_object_list(found)
        self.embeddings: dict[str, Tensor] = found[0]

    def _embed(self, width: int, texts: Sequence[str], cache: Path) -> dict[str, Tensor]:
        encoder = load_text_encoder(self._directory, width)
        embed: Callable[[str], Tensor] = encoder
        if isinstance(encoder, T5TextEncoder):
            if encoder.width != width:
                raise ValueError(f"{self._directory}: text encoder: expected width {width}, found {encoder.width}")
            embed = EmbeddingCache(cache, encoder.to(self._accelerator.device))
        try:
            return {text: embed(text) for text in texts}
        except ValueError as error:
            raise ValueError(
                f"{self._directory}: {error}; training needs the embedding of each of its texts, and of the empty one "
                "for instructions that it drops"
            ) from error

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        """Features (..., tokens, width) of pixels (..., 3, S, S); the background's cost nothing."""
        present = (pixels != self._background).flatten(-3).any(-1)
        with self._accelerator.autocast():
            return self._features.encode(pixels, present)

    def copy(self, directory: Path, present: Path) -> None:
        """Copy the files of the encoders, as they are, into a directory, but for those that are present already.

        Args:
            directory: to copy into.
            present: where earlier copies would be.
        """
        for name in (TOWER, TEXT_ENCODER, EMBEDDINGS):
            if (self._directory / name).is_dir() and not (present / name).is_dir():
                shutil.copytree(self._directory / name, directory / name)
