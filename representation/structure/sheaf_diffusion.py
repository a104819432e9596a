"""Neural sheaf diffusion: graph networks whose neighbours are related by learned linear maps, instead of being alike.

Every node has a stalk of d numbers (times h channels), and every end of an edge a map F of d x d into the edge's stalk.
Diffusion brings F_v x_v and F_u x_u of an edge's ends together, not x_v and x_u. With identity maps it is what graph
networks do, which makes neighbours equal; with learned ones neighbours of other kinds stay apart, in many layers too.

Source: Neural Sheaf Diffusion, Bodnar et al., NeurIPS 2022 (arXiv 2202.04579). Takes node features (n, F) and edges
(2, E), each in both directions and without loops; gives log-probabilities (n, C) of each node's classes. Graphs are
arrays; an object with `.x` and `.edge_index` does, see `SheafDiffusion.classify`.

What differs: a map is learned from what both ends are, whatever graph they are in, so that a network runs on any graph;
general maps are normalised by an eigendecomposition whose eigenvalues stay away from 0, and not clamped. The learner
that sees sums over the stalk (`sparse_learner`) sees those of both nodes one after the other; the published one mixes
their rows. The continuous variants, which want a solver of differential equations, are absent.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import load_weights, read_config, save_encoder

SYSTEM = "sheaf_diffusion"
Kind = Literal["diag", "orthogonal", "general"]
Method = Literal["cayley", "householder", "exp", "euler"]
_SPREAD = 1e-3  # of what keeps eigenvalues apart in training


@dataclass(frozen=True)
class SheafConfig:
    """Sizes of a network.

    Attributes:
        in_dim: numbers F of a node.
        classes: number C.
        d: numbers of a learned stalk.
        hidden: channels h.
        layers: of diffusion.
        kind: of the maps.
        method: by which numbers become orthogonal maps.
        low_pass: whether the stalk has one more number whose map is 1, as in ordinary graph networks.
        high_pass: likewise, with a map of 1 and of -1 at the ends of every edge.
        linear: whether the maps are learned once, from the first features.
        dropout: share of what layers see that is left out in training.
        sparse_learner: whether maps are learned from sums over the stalk (h numbers of a node), instead of all of it.
        edge_weights: whether orthogonal maps are also scaled, by a learned weight from 0 to 1 of each edge.
        second_linear: whether a second linear layer comes before diffusion.
    """

    in_dim: int
    classes: int
    d: int = 3
    hidden: int = 20
    layers: int = 4
    kind: Kind = "orthogonal"
    method: Method = "cayley"
    low_pass: bool = False
    high_pass: bool = False
    linear: bool = False
    dropout: float = 0.0
    sparse_learner: bool = False
    edge_weights: bool = False
    second_linear: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("diag", "orthogonal", "general"):
            raise ValueError(f"kind: expected diag, orthogonal or general, found {self.kind!r}")
        if min(self.in_dim, self.classes, self.d, self.hidden, self.layers) < 1:
            raise ValueError(f"in_dim, classes, d, hidden, layers: expected at least 1, found {asdict(self)}")
        if self.edge_weights and self.kind != "orthogonal":
            raise ValueError(f"edge_weights: expected orthogonal maps beside them, found {self.kind}")

    @property
    def stalk(self) -> int:
        """Numbers of a whole stalk."""
        return self.d + self.low_pass + self.high_pass


def reverse_edges(edge_index: Tensor, n: int) -> Tensor:
    """Place (E,) of the reverse of each edge (2, E).

    Raises:
        ValueError: loops, edges that come twice or in one direction only, or nodes that are not there.
    """
    if edge_index.ndim != 2 or len(edge_index) != 2:
        raise ValueError(f"edge_index: expected (2, E), found {tuple(edge_index.shape)}")
    if edge_index.numel() and not (int(edge_index.min()) >= 0 and int(edge_index.max()) < n):
        raise ValueError(f"edge_index: expected nodes from 0 to {n - 1}, found {edge_index.unique().tolist()[:10]}")
    source, target = edge_index
    keys, order = (source * n + target).sort()
    twins = target * n + source
    place = torch.searchsorted(keys, twins).clamp(max=max(len(keys) - 1, 0))
    if (source == target).any() or (keys[1:] == keys[:-1]).any() or not torch.equal(keys[place], twins):
        raise ValueError("edge_index: expected every edge once in each direction, no loops")
    return order[place]


def orthogonal_maps(params: Tensor, d: int, method: Method = "cayley") -> Tensor:
    """Orthogonal matrices (E, d, d).

    Args:
        params: (E, d (d - 1) / 2).
        d: side of the matrices.
        method: `cayley` and `exp` make rotations of a skew-symmetric matrix with these numbers below the diagonal;
            `householder` multiplies d reflections; `euler` takes them as angles, in units of 2π, for d of 2 or 3.
    """
    if params.shape[-1] != d * (d - 1) // 2:
        raise ValueError(f"params: expected {d * (d - 1) // 2} numbers for d = {d}, found {params.shape[-1]}")
    eye = torch.eye(d, dtype=params.dtype, device=params.device)
    if method == "euler":
        return _euler(params, d)
    row, column = torch.tril_indices(d, d, -1, device=params.device)
    lower = params.new_zeros(*params.shape[:-1], d, d)
    lower[..., row, column] = params
    if method == "householder":
        found = eye.expand_as(lower)
        for vector in (lower + eye).unbind(dim=-1):
            scaled = 2 * vector / vector.square().sum(dim=-1, keepdim=True)
            found = found - (found @ vector[..., None]) * scaled[..., None, :]
        return found
    skew = lower - lower.mT
    if method == "exp":
        return torch.linalg.matrix_exp(skew)
    if method != "cayley":
        raise ValueError(f"method: expected cayley, householder, exp or euler, found {method!r}")
    return torch.linalg.solve(eye - skew / 2, eye + skew / 2)


def _euler(params: Tensor, d: int) -> Tensor:
    if d not in (2, 3):
        raise ValueError(f"d: expected 2 or 3 for Euler angles, found {d}")
    found = torch.eye(d, dtype=params.dtype, device=params.device).expand(*params.shape[:-1], d, d)
    for angle, (i, j) in zip(params.unbind(dim=-1), ((0, 1), (0, 2), (1, 2)), strict=False):
        c, s = (2 * torch.pi * angle).cos(), (2 * torch.pi * angle).sin()
        turn = torch.eye(d, dtype=params.dtype, device=params.device).repeat(*params.shape[:-1], 1, 1)
        turn[..., i, i], turn[..., j, j], turn[..., i, j], turn[..., j, i] = c, c, -s, s
        found = found @ turn
    return found


@dataclass(frozen=True)
class Blocks:
    """A sheaf Laplacian by its blocks of d x d, or by the diagonals of these, which are all there is of them.

    Attributes:
        edge_index: (2, E).
        diagonal: (n, d, d) or (n, d), of the nodes.
        off: (E, d, d) or (E, d), of the edges: at rows of the first and columns of the second node.
    """

    edge_index: Tensor
    diagonal: Tensor
    off: Tensor

    def __matmul__(self, x: Tensor) -> Tensor:
        """Times stalks (n, d, h)."""
        rows, columns = self.edge_index
        if self.off.ndim == 2:
            return (self.diagonal[..., None] * x).index_add(0, rows, self.off[..., None] * x[columns])
        return (self.diagonal @ x).index_add(0, rows, self.off @ x[columns])

    def sparse(self) -> Tensor:
        """The matrix (n d, n d)."""
        n, d = self.diagonal.shape[:2]
        diagonal, off = (part.diag_embed() if part.ndim == 2 else part for part in (self.diagonal, self.off))
        rows = torch.cat([torch.arange(n), self.edge_index[0]])
        columns = torch.cat([torch.arange(n), self.edge_index[1]])
        inner = torch.arange(d)
        places = torch.stack(
            [
                (rows[:, None, None] * d + inner[:, None]).expand(-1, d, d).flatten(),
                (columns[:, None, None] * d + inner).expand(-1, d, d).flatten(),
            ]
        )
        return torch.sparse_coo_tensor(
            places, torch.cat([diagonal, off]).flatten(), (n * d, n * d), check_invariants=True
        ).coalesce()


def laplacian_blocks(
    maps: Tensor,
    edge_index: Tensor,
    n: int,
    normalise: Literal["sym"] | None = "sym",
    augmented: bool = True,
    spread: float = 0.0,
    orthogonal: bool = False,
) -> Blocks:
    """Blocks of L = δᵀδ, or of D^-½ L D^-½ with D its diagonal blocks, plus 1 if augmented.

    Args:
        maps: (E, d, d), or (E, d) for diagonal ones: of the first node of each edge into the edge.
        edge_index: (2, E), each in both directions.
        n: nodes.
        normalise: whether.
        augmented: whether 1 is added to D.
        spread: of random numbers that are added to D, so that its eigenvalues differ, as their gradients ask for.
        orthogonal: whether all maps are, but for factors: the blocks of D are then diagonal, and nothing is decomposed.
    """
    rows, columns = edge_index
    other = maps[reverse_edges(edge_index, n)]
    if maps.ndim == 2:
        diagonal = maps.new_zeros(n, maps.shape[1]).index_add(0, rows, maps.square())
        blocks = Blocks(edge_index, diagonal, -maps * other)
        if normalise is None:
            return blocks
        root = _inverse_root(diagonal + augmented)
        return Blocks(edge_index, root.square() * diagonal, root[rows] * blocks.off * root[columns])
    diagonal = maps.new_zeros(n, *maps.shape[1:]).index_add(0, rows, maps.mT @ maps)
    off = -maps.mT @ other
    if normalise is None:
        return Blocks(edge_index, diagonal, off)
    if orthogonal:
        scale = _inverse_root(diagonal.diagonal(dim1=1, dim2=2) + augmented)
        left, right = scale[..., None], scale[:, None]
        return Blocks(edge_index, left * diagonal * right, left[rows] * off * right[columns])
    eye = torch.eye(maps.shape[1], dtype=maps.dtype, device=maps.device)
    noise = spread * (2 * torch.rand(diagonal.shape[:2], dtype=maps.dtype, device=maps.device) - 1)
    values, vectors = torch.linalg.eigh(diagonal + augmented * eye + noise.diag_embed())
    root = vectors @ (_inverse_root(values)[..., None] * vectors.mT)
    return Blocks(edge_index, root @ diagonal @ root, root[rows] @ off @ root[columns])


def _inverse_root(values: Tensor) -> Tensor:
    """1 / sqrt, and 0 where a node has no edges."""
    there = values > 1e-8
    return torch.where(there, values.clamp(min=1e-8).rsqrt(), 0.0)


def sheaf_laplacian(
    maps: Tensor, edge_index: Tensor, n: int, normalise: Literal["sym"] | None = "sym", augmented: bool = True
) -> Tensor:
    """The sparse matrix (n d, n d) of `laplacian_blocks`."""
    return laplacian_blocks(maps, edge_index, n, normalise, augmented).sparse()


def coboundary(maps: Tensor, edge_index: Tensor, x: Tensor) -> Tensor:
    """F_v x_v - F_u x_u (E / 2, d, h) of stalks (n, d, h), once for each pair of nodes v < u."""
    maps = maps.diag_embed() if maps.ndim == 2 else maps
    ends = maps @ x[edge_index[0]]
    once = edge_index[0] < edge_index[1]
    return (ends - ends[reverse_edges(edge_index, len(x))])[once]


def dirichlet_energy(laplacian: Tensor, x: Tensor) -> Tensor:
    """xᵀ L x of numbers (n d, h), summed over channels; how far neighbours are from agreeing."""
    return (x * (laplacian @ x)).sum()


def heat_flow(laplacian: Tensor, x: Tensor, t: float) -> Tensor:
    """What x (n d, h) has become after a time: exp(-t L) x; L is made dense, for small graphs."""
    values, vectors = torch.linalg.eigh(laplacian.to_dense())
    return vectors @ ((-t * values).exp()[:, None] * (vectors.mT @ x))


class SheafLearner(nn.Module):
    """Maps of the first node of each edge, from the features of both: tanh of a linear map.

    Args:
        in_dim: features of a node.
        d: side of the maps.
        kind: of the maps.
        method: of orthogonal ones.
        weights: whether orthogonal maps are scaled by a weight of each edge, the same at both ends.
    """

    def __init__(self, in_dim: int, d: int, kind: Kind, method: Method = "cayley", weights: bool = False) -> None:
        super().__init__()
        self.d, self.kind, self.method = d, kind, method
        count = {"diag": d, "orthogonal": d * (d - 1) // 2, "general": d * d}[kind]
        self.linear = nn.Linear(2 * in_dim, count, bias=False)
        self.weight = nn.Linear(2 * in_dim, 1, bias=False) if weights else None

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Maps (E, d, d), or (E, d) if diagonal, of features (n, in_dim)."""
        ends = torch.cat([x[edge_index[0]], x[edge_index[1]]], dim=1)
        params = self.linear(ends).tanh()
        if self.kind == "diag":
            return params
        if self.kind == "general":
            return params.unflatten(1, (self.d, self.d))
        maps = orthogonal_maps(params, self.d, self.method)
        if self.weight is None:
            return maps
        own = self.weight(ends).sigmoid()
        return (own * own[reverse_edges(edge_index, len(x))])[..., None] * maps


class SheafDiffusion(nn.Module):
    """Classes of nodes by diffusion along a learned sheaf.

    Args:
        config: its sizes.

    Attributes:
        last_maps: (E, d, d) or (E, d) of the last layer of the last pass: how each node is seen from its edges.
    """

    def __init__(self, config: SheafConfig) -> None:
        super().__init__()
        self.config = config
        width, learned = config.stalk * config.hidden, 1 if config.linear else config.layers
        self.first, self.last = nn.Linear(config.in_dim, width), nn.Linear(width, config.classes)
        self.second = nn.Linear(width, width) if config.second_linear else None
        seen = config.hidden if config.sparse_learner else width
        maps = (config.d, config.kind, config.method, config.edge_weights)
        self.learners = nn.ModuleList(SheafLearner(seen, *maps) for _ in range(learned))
        self.left = nn.ParameterList(torch.eye(config.stalk) for _ in range(config.layers))
        self.right = nn.ParameterList(
            nn.init.orthogonal_(torch.empty(config.hidden, config.hidden)) for _ in range(config.layers)
        )
        self.step = nn.ParameterList(torch.zeros(config.stalk, 1) for _ in range(config.layers))
        self.last_maps: Tensor | None = None

    def embeddings(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Features (n, d h) of the nodes after all layers."""
        config, n = self.config, len(x)
        x = F.elu(self.first(self._dropped(x)))
        x = self._dropped(x)
        x = x if self.second is None else self.second(x)
        x = x.unflatten(1, (config.stalk, config.hidden))
        for layer in range(config.layers):
            if layer < len(self.learners):
                seen = self._dropped(x) if layer else x
                maps = self.learners[layer](seen.sum(dim=1) if config.sparse_learner else seen.flatten(1), edge_index)
                self.last_maps = maps.detach()
                spread = _SPREAD if self.training and config.kind == "general" else 0.0
                laplacian = laplacian_blocks(
                    self._with_fixed(maps, edge_index),
                    edge_index,
                    n,
                    spread=spread,
                    orthogonal=config.kind == "orthogonal",
                )
            y = self.left[layer] @ self._dropped(x) @ self.right[layer]
            x = (1 + self.step[layer].tanh()) * x - F.elu(laplacian @ y)
        return x.flatten(1)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Log-probabilities (n, C) of nodes with features (n, F)."""
        return self.last(self.embeddings(x, edge_index)).log_softmax(dim=1)

    def classify(self, graph: Any) -> Tensor:
        """Log-probabilities of the nodes of an object with `.x` and `.edge_index`, such as torch_geometric's."""
        return self(graph.x, graph.edge_index)

    def save(self, directory: Path) -> None:
        """Write what `load` reads."""
        save_encoder(self, SYSTEM, self.config, directory)

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.config.dropout, self.training)

    def _with_fixed(self, maps: Tensor, edge_index: Tensor) -> Tensor:
        """Maps with the numbers of the stalk that are not learned."""
        fixed = [maps.new_ones(len(maps))] if self.config.low_pass else []
        if self.config.high_pass:
            fixed.append(torch.where(edge_index[0] < edge_index[1], 1.0, -1.0).to(maps))
        if not fixed:
            return maps
        more = torch.stack(fixed, dim=1)
        if maps.ndim == 2:
            return torch.cat([maps, more], dim=1)
        return F.pad(maps, (0, len(fixed), 0, len(fixed))) + F.pad(more, (self.config.d, 0)).diag_embed()


def heterophilic_graph(n: int, classes: int, homophily: float, degree: int, seed: int) -> tuple[Tensor, Tensor]:
    """A random graph whose classes lie on a cycle, where most neighbours are of the class before or after.

    Args:
        n: nodes.
        classes: C, at least 2.
        homophily: share of the edges within a class.
        degree: mean number of neighbours.
        seed: of everything.

    Returns:
        Edges (2, E) in both directions, and classes (n,).
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n)[torch.randperm(n, generator=generator)] % classes
    pairs: set[tuple[int, int]] = set()
    while len(pairs) < n * degree // 2:
        first = int(torch.randint(n, (), generator=generator))
        within = float(torch.rand((), generator=generator)) < homophily
        beside = 1 if float(torch.rand((), generator=generator)) < 0.5 else -1
        wanted = (int(labels[first]) + (0 if within else beside)) % classes
        candidates = torch.nonzero(labels == wanted)[:, 0]
        second = int(candidates[torch.randint(len(candidates), (), generator=generator)])
        if first != second:
            pairs.add((min(first, second), max(first, second)))
    once = torch.tensor(sorted(pairs)).T
    return torch.cat([once, once.flip(0)], dim=1), labels


def load(directory: Path) -> SheafDiffusion:
    """Read a network that was saved; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    try:
        model = SheafDiffusion(SheafConfig(**read_config(directory)["config"]))
    except TypeError as error:
        raise ValueError(f"{directory}: expected the configuration of a sheaf network: {error}") from error
    load_weights(model, directory)
    return model.eval()
