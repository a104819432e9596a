"""Ego3D: what each image patch sees, as 3-D points, and their encoding.

Source: SpatialVLA (arXiv 2501.15830), Ego3D position encoding. Ours: invalid depth is left out of the means and holes
take the nearest valid cell; the points may be given in another frame than the camera's. Clouds for encoders come from
`representation.data.back_projection`, pixel by pixel and without holes filled; a test holds both to the same points.
"""

from __future__ import annotations

import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn


def fill_holes(cells: Tensor, valid: Tensor) -> Tensor:
    """Replace invalid cells (B, h, w) by the nearest valid cell of the same image.

    Raises:
        ValueError: an image without a single valid cell.
    """
    incomplete = (~valid).flatten(1).any(1).nonzero().flatten().tolist()
    if not incomplete:
        return cells
    cells = cells.clone()
    for i in incomplete:
        if not bool(valid[i].any()):
            raise ValueError(f"depth: expected at least one valid pixel, found none in image {i} of the batch")
        rows, columns = distance_transform_edt(~valid[i].cpu().numpy(), return_distances=False, return_indices=True)
        cells[i] = cells[i, torch.as_tensor(rows, device=cells.device), torch.as_tensor(columns, device=cells.device)]
    return cells


def backproject_patches(
    depth: Tensor, intrinsics: Tensor, patch: int = 14, reso: int = 2, valid: Tensor | None = None
) -> Tensor:
    """Camera-frame points of every patch.

    Args:
        depth: (B, H, W) metres along the optical axis.
        intrinsics: (3, 3) or (B, 3, 3) pixels of that image; the centre of the top-left pixel is (0.5, 0.5).
        patch: patch side in pixels.
        reso: cells per patch side; each cell gives one point, at the mean of its valid depths.
        valid: (B, H, W) bool; by default where depth is finite and positive.

    Returns:
        (B, N, 3 * reso^2) float32 metres, patches row by row, per patch cells row by row, per cell x right, y down,
        z forward.

    Raises:
        ValueError: shapes that do not fit, or an image without valid depth.
    """
    batch, height, width = depth.shape
    if height % patch or width % patch or patch % reso:
        raise ValueError(
            f"depth: expected sides that patches of {patch} (cells of {reso}) tile, found {height}x{width}"
        )
    depth = depth.float()
    if valid is None:
        valid = torch.isfinite(depth) & (depth > 0)
    cell = patch // reso
    weight = valid.float()
    total = nn.functional.avg_pool2d(torch.where(valid, depth, 0.0).unsqueeze(1), cell).squeeze(1)
    share = nn.functional.avg_pool2d(weight.unsqueeze(1), cell).squeeze(1)
    cells = fill_holes(total / share.clamp_min(1e-12), share > 0)  # (B, h, w)

    rows, columns = cells.shape[1:]
    intrinsics = intrinsics.to(device=depth.device, dtype=torch.float32).expand(batch, 3, 3)
    u = (torch.arange(columns, device=depth.device) + 0.5) * cell
    v = (torch.arange(rows, device=depth.device) + 0.5) * cell
    grid = torch.stack(torch.broadcast_tensors(u[None, :], v[:, None], torch.ones(())), 0)  # (3, h, w)
    rays = torch.linalg.inv(intrinsics) @ grid.to(depth.device).reshape(3, -1)  # (B, 3, h * w)
    points = (rays * cells.reshape(batch, 1, -1)).reshape(batch, 3, rows // reso, reso, columns // reso, reso)
    return points.permute(0, 2, 4, 3, 5, 1).reshape(batch, (rows // reso) * (columns // reso), 3 * reso**2)


def transform_points(points: Tensor, transform: Tensor) -> Tensor:
    """Apply (B, 4, 4) rigid transforms to points (B, N, 3 * k) that are stored side by side."""
    batch, count, width = points.shape
    flat = points.reshape(batch, -1, 3)
    moved = flat @ transform[:, :3, :3].transpose(1, 2) + transform[:, None, :3, 3]
    return moved.reshape(batch, count, width)


def fourier_features(values: Tensor, n_freqs: int) -> Tensor:
    """Per scalar [x, sin(2^k x) for each k, cos(2^k x) for each k], concatenated scalar by scalar; no factor pi."""
    scales = 2.0 ** torch.arange(n_freqs, device=values.device, dtype=values.dtype)
    scaled = values.unsqueeze(-1) * scales
    return torch.cat([values.unsqueeze(-1), scaled.sin(), scaled.cos()], dim=-1).flatten(-2)


class Ego3DPositionEncoder(nn.Module):
    """Encodes the points of a patch to a vector that is added to its image token.

    Args:
        in_dim: numbers per patch, 3 * reso^2.
        dim: width of the image tokens.
        n_freqs: octaves.
        center: (3,) m, the point that maps to 0.
        half_range: m, the distance that maps to 1.
        gain: Xavier gain of the two linear maps.
    """

    def __init__(
        self,
        in_dim: int = 12,
        dim: int = 1152,
        n_freqs: int = 8,
        center: tuple[float, float, float] = (0.0, 0.0, 2.0),
        half_range: float = 2.0,
        gain: float = 0.01,
    ) -> None:
        super().__init__()
        self.n_freqs, self.half_range, self.center = n_freqs, half_range, tuple(center)
        self.position_embedding_head = nn.Sequential(
            nn.Linear(in_dim * (2 * n_freqs + 1), dim), nn.LayerNorm(dim), nn.ReLU(), nn.Linear(dim, dim)
        )
        for layer in (self.position_embedding_head[0], self.position_embedding_head[3]):
            nn.init.xavier_uniform_(layer.weight, gain=gain)

    @torch.no_grad()
    def encode(self, points: Tensor) -> Tensor:
        """Fourier features (B, N, in_dim * (2 n_freqs + 1)) of points (B, N, in_dim) in metres."""
        center = torch.tensor(self.center, device=points.device).repeat(points.shape[-1] // 3)
        return fourier_features((points.float() - center) / self.half_range, self.n_freqs)

    def forward(self, points: Tensor) -> Tensor:
        """Embed points (B, N, in_dim) in metres to (B, N, dim)."""
        # The highest octave needs all of float32: under autocast the features would lose their low bits.
        with torch.autocast(points.device.type, enabled=False):
            features = self.encode(points)
        return self.position_embedding_head(features.to(self.position_embedding_head[0].weight.dtype))
