"""`FrameAveraging` around any network, and `DeepFrameAveraging` around each of its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from representation.equivariant.frame_averaging.point_frames import Group, PointFrames, pca_frames

Output = Literal["invariant", "vectors", "points"]
"""How what a network gives behaves under motions: not at all, turns, or moves as the points do."""

OUTPUTS = ("invariant", "vectors", "points")


class FrameAveraging(nn.Module):
    """The mean of a network over the frames of its cloud; the network is seen each time in a batch of B K.

    Args:
        backbone: callable of points (B, N, d), and vectors (B, ..., d) and scalars (B, ...) if they are given, in that
            order. It gives a tensor, or one for each of several outputs; points and vectors end in d.
        group: "O" with reflections, "SO" without.
        output: of what kind that is; a tuple for several.
        sample: frames that are drawn for each pass, which is right on average only; all if None.

    Raises:
        ValueError: an output of no known kind.
    """

    def __init__(
        self,
        backbone: Callable[..., Any],
        group: Group = "SO",
        output: Output | tuple[Output, ...] = "invariant",
        sample: int | None = None,
    ) -> None:
        super().__init__()
        for one in (output,) if isinstance(output, str) else output:
            if one not in OUTPUTS:
                raise ValueError(f"output: expected one of {', '.join(OUTPUTS)}, found {one!r}")
        self.backbone, self.group, self.output, self.sample = backbone, group, output, sample

    def forward(
        self,
        points: Tensor,
        vectors: Tensor | None = None,
        scalars: Tensor | None = None,
        weights: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Any:
        """What the network gives of the points, averaged.

        Args:
            points: (B, N, d).
            vectors: (B, ..., d), which turn with them.
            scalars: (B, ...), which do not.
            weights: (B, N) of the points in the choice of frames.
            generator: draws frames if some are sampled.
        """
        frames = pca_frames(points, weights, self.group)
        if self.sample is not None:
            frames = frames.sampled(self.sample, generator)
        given = [frames.to_local(points=points)]
        if vectors is not None:
            given.append(frames.to_local(vectors=vectors))
        if scalars is not None:
            given.append(repeated(scalars, frames))
        found = self.backbone(*(one.flatten(0, 1) for one in given))
        count = given[0].shape[:2]
        if isinstance(self.output, str):
            return _averaged(found.unflatten(0, count), frames, self.output)
        pairs = zip(found, self.output, strict=True)
        return tuple(_averaged(one.unflatten(0, count), frames, output) for one, output in pairs)


def _averaged(found: Tensor, frames: PointFrames, output: Output) -> Tensor:
    if output != "invariant":
        found = frames.to_world(**{output: found})
    return found.mean(dim=1)


def repeated(values: Tensor, frames: PointFrames) -> Tensor:
    """Values (B, ...) for each of the frames, (B, K, ...)."""
    return values[:, None].expand(-1, frames.rotations.shape[1], *values.shape[1:])


class DeepFrameAveraging(nn.Module):
    """Layers, each of which sees what the one before gave in new frames: those of its features, read as points.

    Args:
        layers: callables of features (B, N, C), and of context, to features (B, N, C'); C' of all, and C of all but the
            first, are multiples of d.
        group: "O" with reflections, "SO" without.
    """

    def __init__(self, layers: Sequence[nn.Module], group: Group = "O") -> None:
        super().__init__()
        self.layers, self.group = nn.ModuleList(layers), group

    def forward(self, points: Tensor, vectors: Tensor | None = None, context: Sequence[Tensor] = ()) -> Tensor:
        """Points (B, N, C' / d, d) by the last layer, which move with those that were given.

        Args:
            points: (B, N, d), which the first layer sees as d features.
            vectors: (B, N, V, d), which turn with them; further d V features of the first layer.
            context: values (B, ...) that no motion changes; given to each layer.

        Raises:
            ValueError: a layer gives another number of features.
        """
        frames = pca_frames(points, group=self.group)
        seen = frames.to_local(points=points)
        if vectors is not None:
            seen = torch.cat([seen, frames.to_local(vectors=vectors).flatten(3)], dim=3)
        known = [repeated(values, frames).flatten(0, 1) for values in context]
        world = points
        for number, layer in enumerate(self.layers):
            if number:
                frames = pca_frames(world.flatten(1, 2), group=self.group)
                seen = frames.to_local(points=world).flatten(3)
            found = layer(seen.flatten(0, 1), *known).unflatten(0, seen.shape[:2])
            if found.shape[-1] % points.shape[2]:
                raise ValueError(f"layers: expected features by {points.shape[2]}, found {found.shape[-1]}")
            world = frames.to_world(points=found.unflatten(3, (-1, points.shape[2]))).mean(dim=1)
        return world
