"""Encoders of sentences: CLIP's text tower with a vocabulary of its own, or a DistilBERT."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from representation.data.untrusted_files import read_json
from representation.pretraining.clip.config import Activation
from representation.pretraining.clip.encoder import CLIPEncoder
from representation.pretraining.clip.tokenizer import Tokenizer
from representation.pretraining.clip.transformer import Transformer
from representation.registry import load_encoder

if TYPE_CHECKING:
    from transformers import DistilBertModel, PreTrainedTokenizerBase

TOWER_FILE = "tower.json"
DISTILBERT_CONTEXT = 50


@dataclass(frozen=True)
class TowerSizes:
    """Sizes of a `TextTower`.

    Attributes:
        width: numbers of a vector.
        layers: number of blocks.
        heads: of each block.
        context: tokens of a sentence, both ends counted.
        activation: of the blocks.
    """

    width: int
    layers: int
    heads: int
    context: int
    activation: Activation = "gelu"


class TextTower(nn.Module):
    """CLIP's text transformer without its projection: a sentence is the token of its end.

    Args:
        tokenizer: splits sentences.
        sizes: of the network.
    """

    def __init__(self, tokenizer: Tokenizer, sizes: TowerSizes) -> None:
        super().__init__()
        self.tokenizer, self.sizes, self.width = tokenizer, sizes, sizes.width
        self.token_embedding = nn.Embedding(len(tokenizer), sizes.width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(sizes.context, sizes.width))
        self.transformer = Transformer(sizes.width, sizes.layers, sizes.heads, sizes.activation, None)
        self.ln_final = nn.LayerNorm(sizes.width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    @classmethod
    def from_clip(cls, encoder: CLIPEncoder) -> TextTower:
        """The text tower of a CLIP, weights and all."""
        model, c = encoder.model, encoder.model.config
        sizes = (c.transformer_width, c.transformer_layers, c.transformer_heads, c.context_length, c.activation)
        tower = cls(encoder.tokenizer, TowerSizes(*sizes))
        tower.load_state_dict({name: model.state_dict()[name] for name in tower.state_dict()})
        return tower

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Ids (N, L) of texts; what is too long is cut."""
        return self.tokenizer(texts, self.sizes.context, truncate=True)

    def forward(self, tokens: Tensor) -> Tensor:
        """Vectors (N, D) of ids (N, L)."""
        length = tokens.shape[1]
        x = self.token_embedding(tokens) + self.positional_embedding[:length]
        causal = torch.full((length, length), -torch.inf, device=x.device).triu(1)
        x = self.ln_final(self.transformer(x, causal))
        return x[torch.arange(len(x)), tokens.argmax(dim=1)]

    def save(self, directory: Path) -> None:
        """Write tokenizer and sizes; weights are kept with the whole model's."""
        self.tokenizer.save(directory)
        (directory / TOWER_FILE).write_text(json.dumps(asdict(self.sizes)) + "\n", encoding="utf-8")


class DistilBertTexts(nn.Module):
    """A DistilBERT: a sentence is the last hidden state of its first token.

    Args:
        model: the network.
        tokenizer: of transformers.
    """

    def __init__(self, model: DistilBertModel, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.model, self.tokenizer, self.width = model, tokenizer, model.config.dim

    @classmethod
    def from_folder(cls, folder: Path, pretrained: bool) -> DistilBertTexts:
        """Read a folder of transformers, with its weights or without; nothing is downloaded."""
        from transformers import AutoTokenizer, DistilBertConfig, DistilBertModel  # takes seconds, for few

        if pretrained:
            model = DistilBertModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        else:
            model = DistilBertModel(DistilBertConfig.from_pretrained(folder, local_files_only=True))
        return cls(model, AutoTokenizer.from_pretrained(folder, local_files_only=True))

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Ids (N, L) of texts, the longest of which sets L; what is too long is cut."""
        options = {"padding": True, "truncation": True, "max_length": DISTILBERT_CONTEXT, "return_tensors": "pt"}
        return self.tokenizer(list(texts), **options)["input_ids"]

    def forward(self, tokens: Tensor) -> Tensor:
        """Vectors (N, D) of ids (N, L)."""
        seen = tokens != self.tokenizer.pad_token_id
        return self.model(input_ids=tokens, attention_mask=seen.long()).last_hidden_state[:, 0]

    def save(self, directory: Path) -> None:
        """Write tokenizer and sizes; weights are kept with the whole model's."""
        self.model.config.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)


def open_texts(directory: Path) -> TextTower | DistilBertTexts:
    """A pretrained encoder of sentences: of a CLIP of ours, or a DistilBERT folder.

    Raises:
        ValueError: another encoder.
    """
    if (directory / "config.json").is_file():
        return DistilBertTexts.from_folder(directory, pretrained=True)
    encoder = load_encoder(directory)
    if not isinstance(encoder, CLIPEncoder):
        raise ValueError(f"{directory}: expected a CLIP or a DistilBERT, found {type(encoder).__name__}")
    return TextTower.from_clip(encoder)


def read_texts(directory: Path) -> TextTower | DistilBertTexts:
    """What `save` wrote, with weights yet to be loaded.

    Raises:
        ValueError: damaged; names the file.
    """
    if not (directory / TOWER_FILE).is_file():
        return DistilBertTexts.from_folder(directory, pretrained=False)
    try:
        sizes = TowerSizes(**read_json(directory, TOWER_FILE))
    except TypeError as error:
        raise ValueError(f"{directory / TOWER_FILE}: expected sizes of a text tower: {error}") from error
    return TextTower(Tokenizer.from_file(directory), sizes)
