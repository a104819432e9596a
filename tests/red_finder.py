"""`red_finder`: an encoder that finds red things, for tests of what uses one."""

from __future__ import annotations

import torch
from torch import nn

from representation.pretraining.segmentation import Config, SegmentationEncoder

SIZE = 96  # px, of the pictures that it takes


def red_finder() -> SegmentationEncoder:
    """An encoder whose weights were not learned: what has much red and little else is the red thing."""
    encoder = SegmentationEncoder(Config(resolution=SIZE, channels=(1, 1, 1), dilations=(1,), kinds=("other", "red")))
    convolutions = [part for part in encoder.features if isinstance(part, nn.Conv2d)]
    with torch.no_grad():
        for layer in (*convolutions, encoder.head):
            layer.weight.zero_()
            layer.bias.zero_()
            layer.weight[-1, :, layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] = 1.0
        convolutions[0].weight[0, :, 2, 2] = torch.tensor([0.5, -0.75, -0.75])
        convolutions[0].bias[0] = 1.0  # 2 + R - 1.5 G - 1.5 B
        encoder.head.weight[1] = 40.0
        encoder.head.bias[1] = -40 * 2.2
    return encoder.eval()
