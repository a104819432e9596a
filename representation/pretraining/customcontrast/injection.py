"""Subject codes in a UNet of diffusers: a second cross-attention beside the text's, with keys and values of its own.

Code k goes into cross-attention layer k, coarse layers first: the middle block, then the levels of the UNet from the
deepest to the finest. Only the new keys and values are trained.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

EARLY, REGION = 0.6, 0.3
"""Above which share of all timesteps a region is cut out, and at which share of the largest attention."""


class SubjectInjector(nn.Module):
    """Keys and values of subject codes for every cross-attention layer of a UNet; nothing else of it is trained.

    Args:
        unet: a `UNet2DConditionModel`.
        code_width: numbers d of a code; as wide as the UNet's texts if None.
        timesteps: T of the diffusion.
        seed: of keys and values, where the text's own are of another width and cannot be copied.

    Raises:
        ValueError: the UNet has no cross-attention.
    """

    def __init__(self, unet: Any, code_width: int | None = None, timesteps: int = 1000, seed: int = 0) -> None:
        super().__init__()
        self._held = (unet,)  # in a tuple it is no part of this module
        self.layers = cross_attention_layers(unet)
        if not self.layers:
            raise ValueError("unet: expected layers of cross-attention, found none")
        self.timesteps, self.scale = timesteps, 0.0
        self.step: Tensor | None = None
        self._codes: Tensor | None = None
        self._class_token: Tensor | None = None
        self._before: dict[str, Any] = {}
        self._hook: Any = None
        keys, values = [], []
        generator = torch.Generator().manual_seed(seed)
        for name in self.layers:
            attention = unet.get_submodule(name)
            for found, own in ((keys, attention.to_k), (values, attention.to_v)):
                layer = nn.Linear(code_width or own.in_features, own.out_features, bias=False)
                with torch.no_grad():
                    if layer.weight.shape == own.weight.shape:
                        layer.weight.copy_(own.weight)
                    else:
                        layer.weight.normal_(std=layer.in_features**-0.5, generator=generator)
                found.append(layer)
        self.keys, self.values = nn.ModuleList(keys), nn.ModuleList(values)

    @property
    def unet(self) -> Any:
        """What it is attached to."""
        return self._held[0]

    def attach(self, scale: float = 1.0) -> SubjectInjector:
        """Replace the processors of all cross-attention, and freeze the UNet.

        Args:
            scale: factor of what subjects add; 0 leaves the UNet's answers as they were.
        """
        self.detach()
        self.scale = scale
        self.unet.requires_grad_(False)
        self._before = dict(self.unet.attn_processors)
        places = {f"{name}.processor": number for number, name in enumerate(self.layers)}
        self.unet.set_attn_processor(
            {
                name: _Processor(self, places[name], processor) if name in places else processor
                for name, processor in self._before.items()
            }
        )
        self._hook = self.unet.register_forward_pre_hook(self._note_timestep, with_kwargs=True)
        return self

    def detach(self) -> None:
        """Give the UNet back its own processors."""
        if self._hook is not None:
            self.unet.set_attn_processor(self._before)
            self._hook.remove()
            self._hook = None

    def set_codes(self, codes: Tensor | None, class_token: Tensor | None = None) -> None:
        """Choose the subjects of the pictures that follow.

        Args:
            codes: (B, K, d), or (B, R, K, d) of R references each; None for none. Codes of 0 add nothing, as where a
                subject is dropped for guidance without a classifier.
            class_token: (B,) place of the class word in each text; subjects then stay where that is attended to.

        Raises:
            ValueError: another number of layers or another width, numbers that are not finite, or other rows.
        """
        if codes is not None:
            width = self.keys[0].in_features
            if codes.ndim not in (3, 4) or codes.shape[-2:] != (len(self.layers), width):
                raise ValueError(
                    f"codes: expected (B, {len(self.layers)}, {width}) or (B, R, {len(self.layers)}, {width}), "
                    f"found {tuple(codes.shape)}"
                )
            if not torch.isfinite(codes).all():
                raise ValueError("codes: expected finite numbers, found others")
            codes = codes[:, None] if codes.ndim == 3 else codes
        if class_token is not None and (codes is None or class_token.shape != codes.shape[:1]):
            raise ValueError(f"class_token: expected one for each row of codes, found {tuple(class_token.shape)}")
        self._codes, self._class_token = codes, class_token

    def added(self, number: int, attention: Any, hidden: Tensor, text: Tensor) -> Tensor | None:
        """What subjects add (B, Q, C) to a layer's answer, before its factor; None without subjects."""
        if self._codes is None or self.scale == 0:
            return None
        if len(self._codes) != len(hidden):
            raise ValueError(f"codes: expected {len(hidden)} rows as the pictures, found {len(self._codes)}")
        query, codes = attention.to_q(hidden), self._codes[:, :, number].to(hidden.dtype)
        parts = (query, self.keys[number](codes), self.values[number](codes))
        q, k, v = (part.unflatten(2, (attention.heads, -1)).transpose(1, 2) for part in parts)
        answer = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        if self._class_token is not None:
            heard = attention.norm_encoder_hidden_states(text) if attention.norm_cross else text
            key = attention.to_k(heard).unflatten(2, (attention.heads, -1)).transpose(1, 2)
            attended = (q @ key.mT * attention.scale).softmax(dim=-1).mean(dim=1)
            rows = torch.arange(len(attended), device=attended.device)
            answer = answer * self.region(attended[rows, :, self._class_token])[..., None]
        return F.linear(answer, attention.to_out[0].weight) / attention.rescale_output_factor

    def region(self, attended: Tensor) -> Tensor:
        """How much of a subject comes to each place (B, Q), by the attention (B, Q) that the class token gets there.

        Late it is the attention itself, by its maximum; early, where attention is vague, it is 1 above a threshold.
        """
        share = attended / attended.amax(dim=1, keepdim=True).clamp(min=1e-12)
        if self.step is None:
            return share
        early = (self.step.to(share.device).reshape(-1, 1) > EARLY * self.timesteps).expand(len(share), 1)
        return torch.where(early, (share >= REGION).to(share.dtype), share)

    def _note_timestep(self, _unet: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.step = torch.as_tensor(named["timestep"] if "timestep" in named else inputs[1]).detach()


class _Processor:
    """The processor of a layer, and what subjects add to it.

    What follows the attention is linear, so that the sum of both attentions is brought out in two parts.
    """

    def __init__(self, injector: SubjectInjector, number: int, text: Any) -> None:
        self._injector, self._number, self._text = injector, number, text

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, *args: Any, **named: Any
    ) -> Tensor:
        """Answers (B, Q, C) to queries (B, Q, C) about texts (B, T, D)."""
        if hidden_states.ndim != 3 or encoder_hidden_states is None:
            raise ValueError(
                f"cross-attention: expected (B, Q, C) and texts to look at, found {tuple(hidden_states.shape)}"
            )
        answer = self._text(attn, hidden_states, encoder_hidden_states, *args, **named)
        added = self._injector.added(self._number, attn, hidden_states, encoder_hidden_states)
        return answer if added is None else answer + self._injector.scale * added


def cross_attention_layers(unet: Any) -> tuple[str, ...]:
    """Names of a UNet's cross-attention layers, coarse ones first."""
    names = [name.removesuffix(".processor") for name in unet.attn_processors if name.endswith("attn2.processor")]
    levels = len(unet.config.block_out_channels)

    def level(name: str) -> int:
        found = re.match(r"(down|up)_blocks\.(\d+)", name)
        if found is None:
            return levels
        number = int(found[2])
        return number if found[1] == "down" else levels - 1 - number

    return tuple(sorted(names, key=level, reverse=True))  # a stable order: down before up


def inject(
    unet: Any, codes: Tensor, class_token: Tensor | None = None, scale: float = 1.0, timesteps: int = 1000
) -> SubjectInjector:
    """Let a UNet draw subjects: an attached injector with codes (B, K, d); see `SubjectInjector`."""
    injector = SubjectInjector(unet, codes.shape[-1], timesteps).attach(scale)
    injector.set_codes(codes, class_token)
    return injector


def epsilon_loss(
    unet: Any, targets: Tensor, texts: Tensor, alphas_cumprod: Tensor, generator: torch.Generator
) -> Tensor:
    """L_diff: mean squared error of the noise that a UNet with injected codes tells in noised targets.

    Args:
        unet: with an attached injector, whose codes are of other views than the targets.
        targets: (B, C, H, W) latents of the views that are to be drawn.
        texts: (B, T, D) states of the texts.
        alphas_cumprod: (T,) of the noise schedule.
        generator: CPU generator of timesteps and noise.
    """
    steps = torch.randint(len(alphas_cumprod), (len(targets),), generator=generator).to(targets.device)
    noise = torch.randn(targets.shape, generator=generator).to(targets)
    kept = alphas_cumprod.to(targets)[steps][:, None, None, None]
    noised = kept.sqrt() * targets + (1 - kept).sqrt() * noise
    return F.mse_loss(unet(noised, steps, encoder_hidden_states=texts).sample, noise)
