"""The adapters of subjects, the decoder that they share, and both together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.transfer.neural_cross_subject.prior import PriorConfig, PriorNetwork, TokenDiffusionPrior

SYSTEM = "neural_cross_subject"
SMALLEST_DEVIATION = 1e-3  # of a channel, in its unit; joints may rest


class ResidualBlock(nn.Module):
    """x + Dropout(GELU(LayerNorm(Linear(x)))), on (B, width)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width) to (B, width)."""
        return x + self.layers(x)


class SubjectAdapter(nn.Module):
    """Brings the signals of one subject into the common space.

    Args:
        in_dim: numbers v of a signal.
        hidden: width h of the common space.
        n_blocks: residual blocks; with more than one or two an adapter may solve the task alone.
        first_dropout: after the projection.
        dropout: of the blocks.
    """

    def __init__(
        self, in_dim: int, hidden: int = 4096, n_blocks: int = 1, first_dropout: float = 0.5, dropout: float = 0.15
    ) -> None:
        super().__init__()
        if in_dim < 1:
            raise ValueError(f"in_dim: expected at least 1, found {in_dim}")
        first = nn.Linear(in_dim, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Dropout(first_dropout)
        self.layers = nn.Sequential(*first, *(ResidualBlock(hidden, dropout) for _ in range(n_blocks)))
        self.register_buffer("mean", torch.zeros(in_dim))
        self.register_buffer("deviation", torch.ones(in_dim))

    def set_statistics(self, signals: Tensor) -> None:
        """Take mean and deviation of each channel from training signals (n, v).

        Raises:
            ValueError: fewer than two, another width, or numbers that are not finite.
        """
        if signals.ndim != 2 or len(signals) < 2 or signals.shape[1] != len(self.mean):
            raise ValueError(f"signals: expected (n, {len(self.mean)}) with n >= 2, found {tuple(signals.shape)}")
        if not torch.isfinite(signals).all():
            raise ValueError(f"signals: expected finite numbers, found {int((~signals.isfinite()).sum())} others")
        self.mean.copy_(signals.mean(dim=0))
        self.deviation.copy_(signals.std(dim=0).clamp(min=SMALLEST_DEVIATION))

    def forward(self, x: Tensor) -> Tensor:
        """(B, h) of signals (B, v) as they were recorded."""
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise ValueError(f"signal: expected (B, {len(self.mean)}), found {tuple(x.shape)}")
        return self.layers((x - self.mean) / self.deviation)


class TokenAttention(nn.Module):
    """x + Dropout(attention of tokens (B, N, token_dim) among themselves), with wider queries than tokens.

    Args:
        token_dim: of a token.
        inner: width of queries, keys and values, over all heads.
        heads: of the attention.
        dropout: of what is added; of the attention two thirds of it.
        reference_scale: whether scores are multiplied by the root of a head's width, as in the published code.
    """

    def __init__(
        self, token_dim: int, inner: int, heads: int = 8, dropout: float = 0.15, reference_scale: bool = False
    ) -> None:
        super().__init__()
        if inner % heads:
            raise ValueError(f"inner: expected a multiple of {heads} heads, found {inner}")
        self.norm, self.qkv = nn.LayerNorm(token_dim), nn.Linear(token_dim, 3 * inner)
        self.out, self.dropout, self.heads = nn.Linear(inner, token_dim), nn.Dropout(dropout), heads
        self.attention_dropout = dropout * 2 / 3
        width = inner // heads
        self.scale = width**0.5 if reference_scale else width**-0.5

    def forward(self, x: Tensor) -> Tensor:
        """Tokens to tokens."""
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropped = self.attention_dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, dropout_p=dropped, scale=self.scale)
        return x + self.dropout(self.out(seen.transpose(1, 2).flatten(2)))


class SharedDecoder(nn.Module):
    """Makes tokens (B, N, D) of what adapters give (B, h).

    Args:
        hidden: h.
        n_blocks: residual blocks before tokens are made.
        n_tokens: N.
        token_dim: width of the tokens that attend to each other.
        out_dim: D.
        heads: of the attention.
        dropout: of all parts.
        reference_scale: see `TokenAttention`.
    """

    def __init__(
        self,
        hidden: int = 4096,
        n_blocks: int = 4,
        n_tokens: int = 257,
        token_dim: int = 128,
        out_dim: int = 768,
        heads: int = 8,
        dropout: float = 0.15,
        reference_scale: bool = False,
    ) -> None:
        super().__init__()
        self.n_tokens = n_tokens
        self.blocks = nn.Sequential(*(ResidualBlock(hidden, dropout) for _ in range(n_blocks)))
        self.to_tokens = nn.Sequential(nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, n_tokens * token_dim))
        self.attention = TokenAttention(token_dim, out_dim, heads, dropout, reference_scale)
        wide = nn.Linear(token_dim, 2 * out_dim), nn.LayerNorm(2 * out_dim), nn.GELU(), nn.Dropout(dropout)
        self.last = nn.Sequential(nn.LayerNorm(token_dim), *wide, nn.Linear(2 * out_dim, out_dim))

    def features(self, x: Tensor) -> Tensor:
        """(B, h) after the residual blocks: the high-level feature of the low-level pipeline."""
        return self.blocks(x)

    def forward(self, x: Tensor) -> Tensor:
        """Backbone tokens (B, N, D) of (B, h)."""
        tokens = self.to_tokens(self.features(x)).unflatten(1, (self.n_tokens, -1))
        return self.last(self.attention(tokens))


def projector(dim: int, hidden: int) -> nn.Sequential:
    """The contrastive head, tokens (B, N, D) to tokens of the same width."""
    layers: list[nn.Module] = []
    for before, after in ((dim, hidden), (hidden, hidden), (hidden, dim)):
        layers += [nn.LayerNorm(before), nn.GELU(), nn.Linear(before, after)]
    return nn.Sequential(*layers)


class Readout(nn.Module):
    """Numbers (B, k) in their own unit of the mean of tokens (B, N, D); by name they mean the same for all subjects."""

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, count)
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("deviation", torch.ones(count))

    def set_statistics(self, values: Tensor) -> None:
        """Take mean and deviation of training values (n, k)."""
        self.mean.copy_(values.mean(dim=0))
        self.deviation.copy_(values.std(dim=0).clamp(min=SMALLEST_DEVIATION))

    def forward(self, tokens: Tensor) -> Tensor:
        """Numbers (B, k)."""
        return self.linear(tokens.mean(dim=1)) * self.deviation + self.mean

    def errors(self, tokens: Tensor, values: Tensor) -> Tensor:
        """Mean squared error (B,) of values (B, k), in units of their deviation."""
        return ((self(tokens) - values) / self.deviation).square().mean(dim=1)


@dataclass(frozen=True)
class CrossSubjectConfig:
    """Sizes; the defaults are those for fMRI and CLIP ViT-L/14.

    Attributes:
        hidden: width h of the common space.
        adapter_blocks: residual blocks of an adapter.
        n_blocks: of the decoder.
        n_tokens: N.
        token_dim: see `SharedDecoder`.
        out_dim: D.
        heads: see `SharedDecoder`.
        projector_dim: inner width of the contrastive head.
        first_dropout: see `SubjectAdapter`.
        dropout: of everything else.
        reference_scale: see `TokenAttention`.
        readouts: how many numbers are read out, by name.
        centred: whether targets are taken from their mean over the samples of joint training. Embeddings of pictures
            that differ little are nearly parallel, and no contrast would tell them apart.
        prior: of the diffusion of tokens; None for none.
    """

    hidden: int = 4096
    adapter_blocks: int = 1
    n_blocks: int = 4
    n_tokens: int = 257
    token_dim: int = 128
    out_dim: int = 768
    heads: int = 8
    projector_dim: int = 2048
    first_dropout: float = 0.5
    dropout: float = 0.15
    reference_scale: bool = False
    readouts: Mapping[str, int] = field(default_factory=dict)
    centred: bool = False
    prior: PriorConfig | None = None


class CrossSubjectModel(nn.Module):
    """Adapters of subjects under one decoder.

    Args:
        dims: width v of the signals of each subject, by name; may be empty at first.
        config: sizes.
        seed: of the weights.
    """

    def __init__(
        self, dims: Mapping[str, int], config: CrossSubjectConfig = CrossSubjectConfig(), seed: int = 0
    ) -> None:
        super().__init__()
        self.config, self.seed, self.dims = config, seed, {}
        self.adapters = nn.ModuleDict()
        self.register_buffer("centre", torch.zeros(config.n_tokens, config.out_dim))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.decoder = SharedDecoder(
                config.hidden, config.n_blocks, config.n_tokens, config.token_dim, config.out_dim, config.heads,
                config.dropout, config.reference_scale,
            )  # fmt: skip
            self.projector = projector(config.out_dim, config.projector_dim)
            self.readouts = nn.ModuleDict(
                {name: Readout(config.out_dim, count) for name, count in config.readouts.items()}
            )
            self.prior = None
            if config.prior is not None:
                net = PriorNetwork(config.n_tokens, config.out_dim, config.prior)
                self.prior = TokenDiffusionPrior(net, config.prior.timesteps, config.prior.drop)
        for name, dim in dims.items():
            self.add_subject(name, dim)

    def add_subject(self, name: str, dim: int) -> None:
        """Give a new subject an untrained adapter for signals of `dim` numbers; the others stay as they are.

        Raises:
            ValueError: the name is taken, empty or has a dot in it.
        """
        if not name or "." in name or name in self.adapters:
            raise ValueError(f"subject: expected a new name without dots, found {name!r} beside {list(self.adapters)}")
        device = self.projector[0].weight.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + 1 + len(self.adapters))
            config = self.config
            sizes = dim, config.hidden, config.adapter_blocks, config.first_dropout, config.dropout
            self.adapters[name] = SubjectAdapter(*sizes).to(device).train(self.training)
        self.dims[name] = dim

    def adapter(self, subject: str) -> SubjectAdapter:
        """The adapter of a subject.

        Raises:
            ValueError: there is none.
        """
        if subject not in self.adapters:
            raise ValueError(f"subject: expected one of {list(self.adapters)}, found {subject!r}")
        return self.adapters[subject]

    def targets(self, tokens: Tensor) -> Tensor:
        """What predictions are compared with, (B, N, D), of an encoder's tokens of that shape."""
        return tokens - self.centre

    def features(self, x: Tensor, subject: str) -> Tensor:
        """(B, h) that the low-level pipeline takes of signals (B, v)."""
        return self.decoder.features(self.adapter(subject)(x))

    def forward(self, x: Tensor, subject: str) -> tuple[Tensor, Tensor]:
        """Backbone tokens (B, N, D), which the prior and read-outs take, and projected ones, to retrieve by.

        Args:
            x: signals (B, v) of one subject.
            subject: its name.
        """
        backbone = self.decoder(self.adapter(subject)(x))
        return backbone, self.projector(backbone)

    def read(self, x: Tensor, subject: str, name: str) -> Tensor:
        """Numbers (B, k) of signals (B, v).

        Raises:
            ValueError: no such read-out.
        """
        if name not in self.readouts:
            raise ValueError(f"name: expected one of {list(self.readouts)}, found {name!r}")
        return self.readouts[name](self(x, subject)[0])

    def save(self, directory: Path) -> None:
        """Write weights, sizes and subjects."""
        save_encoder(self, SYSTEM, {**asdict(self.config), "dims": self.dims, "seed": self.seed}, directory)


def load(directory: Path) -> CrossSubjectModel:
    """Read what `CrossSubjectModel.save` wrote; in evaluation mode."""
    content: dict[str, Any] = dict(read_config(directory)["config"])
    dims, seed, prior = content.pop("dims"), content.pop("seed"), content.pop("prior")
    config = CrossSubjectConfig(**content, prior=None if prior is None else PriorConfig(**prior))
    model = CrossSubjectModel(dims, config, seed)
    load_weights(model, directory)
    return model.eval()
