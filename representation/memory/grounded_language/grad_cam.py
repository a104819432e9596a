"""Which pixels caused a symbol: Grad-CAM (Selvaraju et al., arXiv 1610.02391)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from representation.memory.grounded_language.sender import SymbolSender


def symbol_grad_cam(sender: SymbolSender, x: Tensor, position: int) -> Tensor:
    """Maps (B, H, W) in [0, 1] of what made a sender say the symbol that it says at a position.

    Args:
        sender: whose network that sees has `maps` and `head`, see `PictureNet`.
        x: pictures (B, C, H, W).
        position: of the symbol, from 0.

    Raises:
        ValueError: there is no such position.
    """
    if not 0 <= position < sender.max_len:
        raise ValueError(f"position: expected 0 to {sender.max_len - 1}, found {position}")
    with torch.enable_grad():
        maps = sender.vision.maps(x).detach().requires_grad_()
        message = sender.speak(sender.vision.head(maps))
        logits = message.logits[:, position].gather(1, message.ids[:, position, None])
        (gradient,) = torch.autograd.grad(logits.sum(), maps)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    found = F.relu((weights * maps.detach()).sum(dim=1, keepdim=True))
    found = F.interpolate(found, x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    largest = found.amax(dim=(1, 2), keepdim=True)
    return torch.where(largest > 0, found / largest.clamp(min=torch.finfo(found.dtype).tiny), 0.0)
