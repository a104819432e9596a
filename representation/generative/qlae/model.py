"""`QLAE`: encoder, quantiser and decoder, and the loss that trains them (section 3, equation 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.generative.qlae.networks import DenseDecoder, DenseEncoder, PictureEncoder, StyleDecoder
from representation.generative.qlae.quantizer import ScalarQuantizer, commitment_loss, quantization_loss
from representation.interface import Loss

Arch = Literal["image", "dense"]


class QLAE(nn.Module):
    """An autoencoder with quantised latents; with `n_values=0` a plain one, to compare with.

    Args:
        in_shape: (C, S, S) of pictures, or of anything with arch "dense"; values in [0, 1].
        n_latents: n; more than there are sources, as some stay unused.
        n_values: scalars of each latent; 0 leaves latents as they are.
        arch: networks, see `networks`.
        lambda_q: weight of the loss that moves the scalars.
        lambda_c: weight of the loss that moves the latents.
        width: channels of the widest maps, or units of dense layers.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        n_latents: int,
        n_values: int | Sequence[int] = 10,
        arch: Arch = "image",
        lambda_q: float = 0.01,
        lambda_c: float = 0.01,
        width: int = 32,
    ) -> None:
        super().__init__()
        self.in_shape, self.n_latents = tuple(in_shape), n_latents
        self.lambda_q, self.lambda_c = lambda_q, lambda_c
        self.encoder: nn.Module
        self.decoder: nn.Module
        if arch == "dense":
            self.encoder = DenseEncoder(in_shape, n_latents, width)
            self.decoder = DenseDecoder(in_shape, n_latents, width)
        else:
            channels, side = in_shape[0], in_shape[-1]
            self.encoder = PictureEncoder(channels, side, n_latents, width)
            self.decoder = StyleDecoder(channels, side, n_latents, width)
        self.quantizer = ScalarQuantizer(n_latents, n_values) if n_values else None

    def loss(self, x: Tensor) -> Loss:
        """Reconstruction (cross-entropy of each value, in nats) and, weighted, quantisation and commitment.

        Args:
            x: (B, *in_shape) in [0, 1].

        Raises:
            ValueError: another shape.
        """
        if x.shape[1:] != self.in_shape:
            raise ValueError(f"x: expected (B, {', '.join(map(str, self.in_shape))}), found {tuple(x.shape)}")
        z = self.encoder(x)
        if self.quantizer is None:
            reconstruction = F.binary_cross_entropy_with_logits(self.decoder(z), x)
            return Loss(reconstruction, {"reconstruction": reconstruction.detach()})
        straight, scalars, _ = self.quantizer(z)
        reconstruction = F.binary_cross_entropy_with_logits(self.decoder(straight), x)
        moved, committed = quantization_loss(z, scalars).mean(), commitment_loss(z, scalars).mean()
        total = reconstruction + self.lambda_q * moved + self.lambda_c * committed
        return Loss(total, {"reconstruction": reconstruction.detach(), "quantization": moved.detach()})

    def latents(self, x: Tensor) -> Tensor:
        """What the decoder takes (B, n) of x (B, *in_shape); scalars, where latents are quantised."""
        z = self.encoder(x)
        return z if self.quantizer is None else self.quantizer(z).straight

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Codes (B, n) int64 of x (B, *in_shape).

        Raises:
            ValueError: its latents are not quantised.
        """
        return self._quantizer()(self.encoder(x)).codes

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """What codes (B, n) stand for (B, *in_shape), in [0, 1].

        Raises:
            ValueError: codes that there are not, or latents that are not quantised.
        """
        return self.decoder(self._quantizer().embed(codes)).sigmoid()

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """What comes back (B, *in_shape), in [0, 1]."""
        return self.decoder(self.latents(x)).sigmoid()

    @torch.no_grad()
    def traverse(self, x: Tensor, j: int) -> Tensor:
        """What x (B, *in_shape) becomes with each value of latent j in turn: (B, values, *in_shape).

        Raises:
            ValueError: no such latent, or latents that are not quantised.
        """
        if not 0 <= j < self.n_latents:
            raise ValueError(f"j: expected a latent from 0 to {self.n_latents - 1}, found {j}")
        size = self._quantizer().sizes[j]
        codes = self.encode(x)[:, None].repeat(1, size, 1)
        codes[..., j] = torch.arange(size, device=x.device)
        return self.decode(codes.flatten(0, 1)).unflatten(0, (len(x), size))

    def param_groups(self, weight_decay: float = 0.1) -> list[dict[str, Any]]:
        """Parameters in two groups for AdamW: weights, of norms too, decay; biases and scalars do not."""
        kept, decayed = [], []
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                (kept if name.endswith("bias") or name.startswith("quantizer.") else decayed).append(parameter)
        return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]

    def _quantizer(self) -> ScalarQuantizer:
        if self.quantizer is None:
            raise ValueError("codes: expected quantised latents, found a model with n_values=0")
        return self.quantizer
