"""`ADDP`: tokens are noised in token space, seen as pixels, and told again as tokens (sections 3.1 to 3.3)."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.generative.addp.mask_schedule import MaskSchedule
from representation.generative.addp.predictor import MaskedTokenPredictor
from representation.generative.addp.tokenizer import VQTokenizer
from representation.generative.addp.transformers import DecoderConfig, EncoderConfig, PictureTransformer, TokenDecoder
from representation.interface import Loss

Steps = Literal["cosine", "linear"]


class Noised(NamedTuple):
    """A training sample.

    Attributes:
        images: (B, 3, R, R) in [0, 1], decoded from tokens of which the masked ones are guesses.
        ids: (B, L) true tokens.
        target: (B, K, h, w) distributions that the masked ones are to be told as.
    """

    images: Tensor
    ids: Tensor
    target: Tensor


class ADDP(nn.Module):
    """Encoder and decoder, trained with a tokenizer and a token predictor that stay as they are.

    Both of these are always in evaluation mode, also when the whole is trained; the reference trains with the
    predictor's dropout on.

    Args:
        encoder_cfg: sizes of the encoder.
        decoder_cfg: of the decoder.
        tokenizer: trained; of pictures of the encoder's grid.
        predictor: trained on its tokens. Anything with its `probs`, `codes`, `side` and `mask_id` does.
        schedule: of the masks.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    def __init__(
        self,
        encoder_cfg: EncoderConfig,
        decoder_cfg: DecoderConfig,
        tokenizer: VQTokenizer,
        predictor: MaskedTokenPredictor | Any,
        schedule: MaskSchedule | None = None,
    ) -> None:
        super().__init__()
        if (tokenizer.patch, tokenizer.codes, encoder_cfg.side) != (encoder_cfg.patch, predictor.codes, predictor.side):
            raise ValueError(
                f"tokenizer, predictor: expected patches of {encoder_cfg.patch} pixels, and as many codes on a grid of "
                f"{encoder_cfg.side}, found {tokenizer.patch} pixels, {tokenizer.codes} and {predictor.codes} codes on "
                f"a grid of {predictor.side}"
            )
        self.schedule, self.smoothing = schedule or MaskSchedule(), decoder_cfg.smoothing
        self.side, self.resolution = encoder_cfg.side, encoder_cfg.resolution
        self.encoder = PictureTransformer(encoder_cfg)
        self.decoder = TokenDecoder(decoder_cfg, encoder_cfg.width, encoder_cfg.side, predictor.mask_id + 1)
        self.tokenizer, self.predictor = tokenizer.requires_grad_(False), predictor.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> ADDP:
        """Train encoder and decoder, or not; the frozen parts stay in evaluation mode."""
        super().train(mode)
        self.tokenizer.eval()
        self.predictor.eval()
        return self

    def features(self, x: Tensor) -> Tensor:
        """Features (B, L + 1, D), class token first, of pictures (B, 3, R, R) in [0, 1]."""
        return self.encoder(x)

    def logits(self, images: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits (B, L, V) of tokens.

        Args:
            images: (B, 3, R, R) in [0, 1], decoded from tokens of which the masked ones are unreliable.
            ids: (B, L) tokens, of which the others count.
            mask: (B, L) bool.
        """
        return self.decoder(self.encoder(images), ids, mask)

    @torch.no_grad()
    def noised(self, x: Tensor, mask: Tensor, later: Tensor) -> Noised:
        """Replace masked tokens (B, L) bool of pictures (B, 3, R, R) by guesses made with a larger mask (B, L) bool."""
        ids, codes = self.tokenizer.encode(x)
        guess = self.tokenizer.mixed(self.predictor.probs(ids, later))
        return Noised(self._decoded(mask, guess, codes), ids, self.predictor.probs(ids, mask))

    def loss(self, x: Tensor, generator: torch.Generator) -> Loss:
        """The loss of pictures.

        Args:
            x: (B, 3, R, R) in [0, 1].
            generator: a CPU generator that draws the masks.
        """
        mask, later = self.schedule.sample(len(x), self.side**2, generator)
        return self.masked_loss(x, mask.to(x.device), later.to(x.device))

    def masked_loss(self, x: Tensor, mask: Tensor, later: Tensor) -> Loss:
        """Cross-entropy with the predictor's distributions at masked tokens; arguments as of `noised`."""
        sample = self.noised(x, mask, later)
        logits = self.logits(sample.images, sample.ids, mask)
        target = F.pad(sample.target.flatten(2).mT, (0, logits.shape[-1] - sample.target.shape[1]))
        total = F.cross_entropy(logits[mask], target[mask], label_smoothing=self.smoothing)
        with torch.no_grad():
            truth = F.cross_entropy(logits[mask], sample.ids[mask])
        return Loss(total, {"true_tokens": truth})

    @torch.no_grad()
    def sample(
        self,
        n: int,
        steps: int = 20,
        schedule: Steps = "cosine",
        temperature: float = 6.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """New pictures (n, 3, R, R) in [0, 1].

        Args:
            n: how many.
            steps: N; the paper's best pictures take as many as there are tokens, with the linear schedule.
            schedule: share of the tokens that stay masked after each step.
            temperature: of the noise by which the order of tokens varies; it falls to 0.
            generator: a CPU generator; seeded with 0 if None.

        Raises:
            ValueError: no step, or another schedule.
        """
        if steps < 1 or schedule not in ("cosine", "linear"):
            raise ValueError(f"steps, schedule: expected 1 or more, cosine or linear, found {steps} and {schedule!r}")
        generator = generator or torch.Generator().manual_seed(0)
        device, length = self.encoder.pos_embed.device, self.side**2
        ids = torch.zeros(n, length, dtype=torch.long, device=device)
        mask = torch.ones(n, length, dtype=torch.bool, device=device)
        images = torch.zeros(n, 3, self.resolution, self.resolution, device=device)
        for step in range(1, steps + 1):
            logits = self.logits(images, ids, mask)
            shares = logits[..., : self.tokenizer.codes].softmax(-1)
            drawn = torch.multinomial(shares.cpu().flatten(0, 1), 1, generator=generator).view(n, length).to(device)
            ids = torch.where(mask, drawn, ids)
            done = step / steps
            uniform = torch.rand(n, length, generator=generator).clamp(min=1e-20).to(device)
            sure = shares.gather(2, ids[..., None])[..., 0].log() - temperature * (1 - done) * (-uniform.log()).log()
            sure = sure.masked_fill(~mask, torch.inf)
            left = math.cos(math.pi / 2 * done) if schedule == "cosine" else 1 - done
            count = max(1, math.ceil(length * left - 1e-9))
            mask = sure.argsort(1).argsort(1) < count
            images = self._decoded(mask, self._told(logits), self.tokenizer.lookup(ids, (self.side, self.side)))
        return images

    @torch.no_grad()
    def surprise(self, x: Tensor, passes: int = 8, generator: torch.Generator | None = None) -> Tensor:
        """How far each patch (B, h, w) is from what is expected there, as a share of the range of values.

        Each pass parts the tokens into two random halves and tells each half from the other, as training does with
        its smallest mask: guesses take the place of the half, the decoded picture is seen, the decoder tells the half,
        and what it tells is decoded beside the tokens that were known. Pixels are compared, and not tokens: whatever is
        wrong changes the tokens about it as well, so that their probabilities do not tell where it is.

        Args:
            x: (B, 3, R, R) in [0, 1].
            passes: how often each patch is told.
            generator: a CPU generator; seeded with 0 if None.

        Returns:
            Root mean squares over pixels and passes, in [0, 1].

        Raises:
            ValueError: no pass.
        """
        if passes < 1:
            raise ValueError(f"passes: expected 1 or more, found {passes}")
        generator = generator or torch.Generator().manual_seed(0)
        ids, codes = self.tokenizer.encode(x)
        total = torch.zeros(len(x), 1, self.side, self.side, device=x.device)
        for _ in range(passes):
            # The same halves for every picture, so that none depends on its neighbours in the batch.
            half = torch.randperm(ids.shape[1], generator=generator) < ids.shape[1] // 2
            for mask in (half, ~half):
                masked = mask.to(x.device).expand_as(ids)
                guess = self.tokenizer.mixed(self.predictor.probs(ids, masked))
                seen = self._decoded(masked, guess, codes)
                found = self._decoded(masked, self._told(self.logits(seen, ids, masked)), codes)
                wrong = F.avg_pool2d((found - x).square().mean(dim=1, keepdim=True), self.tokenizer.patch)
                total += torch.where(self._grid(masked), wrong, 0.0)
        return (total[:, 0] / passes).sqrt()

    def _told(self, logits: Tensor) -> Tensor:
        """Mixtures of codes (B, C, h, w) by logits (B, L, V)."""
        shares = logits[..., : self.tokenizer.codes].softmax(-1)
        return self.tokenizer.mixed(shares.mT.unflatten(-1, (self.side, self.side)))

    def _decoded(self, mask: Tensor, unreliable: Tensor, codes: Tensor) -> Tensor:
        """Pictures of codes (B, C, h, w), and of unreliable ones at masked places (B, L)."""
        return self.tokenizer.decode(torch.where(self._grid(mask), unreliable, codes)).clamp(0, 1)

    def _grid(self, mask: Tensor) -> Tensor:
        return mask.view(-1, 1, self.side, self.side)
