"""Proprioception as one prompt token: tool position, rotation and gripper opening. Ours; not in the released model."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from policies.spatialvla.ego3d import fourier_features


def tool_state(base_from_tool: ArrayLike, gripper_opening: ArrayLike) -> NDArray[np.float32]:
    """State vectors (..., 10) of poses (..., 4, 4) in the base frame and openings (...), 0 closed to 1 open.

    Position (3, m), the first two columns of the rotation (6; continuous, unlike angles), opening (1).
    """
    pose = np.asarray(base_from_tool, dtype=np.float64)
    columns = np.concatenate([pose[..., :3, 0], pose[..., :3, 1]], axis=-1)
    opening = np.asarray(gripper_opening, dtype=np.float64)[..., None]
    return np.concatenate([pose[..., :3, 3], columns, opening], axis=-1).astype(np.float32)


class StateEncoder(nn.Module):
    """Fourier features and one linear map from state (B, state_dim) to a token (B, dim)."""

    def __init__(self, state_dim: int, dim: int, n_freqs: int) -> None:
        super().__init__()
        self.n_freqs = n_freqs
        self.linear = nn.Linear(state_dim * (2 * n_freqs + 1), dim)

    def forward(self, state: Tensor) -> Tensor:
        """Embed states (B, state_dim)."""
        with torch.autocast(state.device.type, enabled=False), torch.no_grad():
            features = fourier_features(state.float(), self.n_freqs)
        return self.linear(features.to(self.linear.weight.dtype))
