"""`MaskedTokenPredictor`: what the masked tokens may be, by those that are not; MAGE's transformer on tokens.

Names of weights are those of MAGE (arXiv 2211.09117), of which ADDP takes a trained one. Here no token is dropped in
training either: masked ones carry a mask id, as in use.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.pretraining.transformer_block import Block

EPS, STD, DROPOUT = 1e-6, 0.02, 0.1
FAKE_CLASS = 76  # number of the class that every picture is said to be of
HEAD_EPS = 1e-5


@torch.no_grad()
def init_transformer(module: nn.Module) -> None:
    """Draw weights as ADDP does: linear maps by Xavier, tables and tokens by N(0, 0.02); biases are 0."""
    for name, parameter in module.named_parameters():
        owner, _, leaf = name.rpartition(".")
        part = module.get_submodule(owner)
        if leaf == "bias":
            nn.init.zeros_(parameter)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(parameter)
        elif isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(parameter.view(len(parameter), -1))
        else:
            nn.init.normal_(parameter, std=STD)


class MLMHead(nn.Module):
    """Features to logits of a vocabulary, by products with the words' embeddings, which get no gradient from here."""

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.fc, self.ln = nn.Linear(width, width), nn.LayerNorm(width, HEAD_EPS)
        self.bias = nn.Parameter(torch.zeros(1, 1, vocabulary))

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """Logits (B, N, V) of features (B, N, width), with words (V, width)."""
        return self.ln(F.gelu(self.fc(x))) @ words.detach().T + self.bias


class TokenEmbedding(nn.Module):
    """Word and position, normalised."""

    def __init__(self, vocabulary: int, length: int, width: int, dropout: float) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width)
        self.position_embeddings = nn.Embedding(length, width)
        self.LayerNorm, self.dropout = nn.LayerNorm(width, EPS), nn.Dropout(dropout)

    def forward(self, words: Tensor) -> Tensor:
        """Words (B, N) to vectors (B, N, width)."""
        return self.dropout(self.LayerNorm(self.word_embeddings(words) + self.position_embeddings.weight))


class MaskedTokenPredictor(nn.Module):
    """Distributions over K codes at each of h x w places, by the codes at places that are not masked.

    Args:
        codebook: K.
        side: h = w of the grid.
        width: of the tokens.
        depth: blocks of the encoder.
        heads: of its attention.
        decoder_depth: blocks of the decoder.
        decoder_heads: of its attention.
        classes: words for classes of pictures, of which one is used; there for the released weights.
        dropout: in training.
    """

    def __init__(
        self,
        codebook: int = 1024,
        side: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        classes: int = 1000,
        dropout: float = DROPOUT,
    ) -> None:
        super().__init__()
        self.codes, self.side, self.width = codebook, side, width
        self.fake_class, self.mask_id = codebook + min(FAKE_CLASS, classes - 1), codebook + classes
        length, vocabulary = side * side + 1, codebook + classes + 1
        self.token_emb = TokenEmbedding(vocabulary, length, width, dropout)
        self.blocks = nn.ModuleList(Block(width, heads, eps=EPS, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, EPS)
        self.decoder_embed = nn.Linear(width, width)
        self.decoder_pos_embed_learned = nn.Parameter(torch.zeros(1, length, width))
        self.decoder_blocks = nn.ModuleList(
            Block(width, decoder_heads, eps=EPS, dropout=dropout) for _ in range(decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(width, EPS)
        self.mlm_layer = MLMHead(width, vocabulary)
        init_transformer(self)

    def features(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the encoder makes (B, L + 1, width), class token first, of codes (B, L), all known if mask is None.

        Raises:
            ValueError: another number of places.
        """
        if ids.ndim != 2 or ids.shape[1] != self.side**2 or (mask is not None and mask.shape != ids.shape):
            found = tuple(ids.shape), None if mask is None else tuple(mask.shape)
            raise ValueError(f"ids, mask: expected (B, {self.side**2}) each, found {found[0]} and {found[1]}")
        known = ids if mask is None else ids.masked_fill(mask, self.mask_id)
        x = self.token_emb(F.pad(known, (1, 0), value=self.fake_class))
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def logits(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits (B, L, V) of codes (B, L) of which some are masked (B, L) bool; the first K are those of the codes."""
        x = self.decoder_embed(self.features(ids, mask))
        hidden = F.pad(mask, (1, 0), value=False)[..., None]
        x = torch.where(hidden, x[:, :1], x) + self.decoder_pos_embed_learned
        for block in self.decoder_blocks:
            x = block(x)
        return self.mlm_layer(self.decoder_norm(x), self.token_emb.word_embeddings.weight)[:, 1:]

    def probs(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Distributions (B, K, h, w); arguments as of `logits`."""
        found = self.logits(ids, mask)[..., : self.codes].softmax(-1)
        return found.mT.unflatten(-1, (self.side, self.side))

    def loss(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Cross-entropy of the masked codes, nats; all words of the vocabulary compete."""
        return F.cross_entropy(self.logits(ids, mask)[mask], ids[mask])
