"""Classes of nodes whose neighbours are mostly of other classes: sheaf diffusion, a GCN and a perceptron, in 8 layers.

200 nodes of 4 classes, which lie on a cycle: neighbours are of the class before or after. Features tell the class of a
node by themselves in part; the rest must come from its neighbours, without becoming like them. How alike all nodes have
become is measured in 2 to 16 layers.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.benchmarks.claims import BenchOptions, Claim
from representation.structure.sheaf_diffusion import Kind, SheafConfig, SheafDiffusion, heterophilic_graph

NODES, CLASSES, HOMOPHILY, DEGREE, FEATURES = 200, 4, 0.1, 8, 16
TRAINED, VALIDATED = 100, 40  # nodes; the rest is tested
LAYERS, D, HIDDEN, DROPOUT, EPOCHS, LR = 8, 3, 8, 0.3, 200, 0.02
DEPTHS = (2, 4, LAYERS, 16)
MEASURE_EVERY = 5


class GCN(nn.Module):
    """A graph convolutional network (Kipf and Welling, 2017): means over neighbours and the node itself.

    Args:
        features: numbers of a node.
        width: of all layers but the last.
        classes: of the last.
        layers: how many.
        alone: whether nodes see no neighbours, which makes it a perceptron.
    """

    def __init__(self, features: int, width: int, classes: int, layers: int, alone: bool = False) -> None:
        super().__init__()
        widths = [features, *[width] * layers]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.last, self.alone = nn.Linear(width, classes), alone

    def embeddings(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Features (n, width) after all layers."""
        rows, columns = edge_index
        scale = (1.0 + torch.bincount(rows, minlength=len(x))).rsqrt()[:, None]
        for layer in self.layers:
            x = layer(F.dropout(x, DROPOUT, self.training))
            if not self.alone:
                scaled = scale * x
                x = scale * scaled.index_add(0, rows, scaled[columns])
            x = F.relu(x)
        return x

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Log-probabilities (n, classes)."""
        return self.last(self.embeddings(x, edge_index)).log_softmax(dim=1)


def sheaf(kind: Kind, layers: int) -> SheafDiffusion:
    """A sheaf network of the size that is compared."""
    return SheafDiffusion(SheafConfig(FEATURES, CLASSES, D, HIDDEN, layers, kind, dropout=DROPOUT))


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "sheaf": lambda layers: sheaf("orthogonal", layers),
    "diagonal sheaf": lambda layers: sheaf("diag", layers),
    "GCN": lambda layers: GCN(FEATURES, D * HIDDEN, CLASSES, layers),
    "perceptron": lambda layers: GCN(FEATURES, D * HIDDEN, CLASSES, 2, alone=True),
}
"""What makes each network with so many layers, but for the perceptron, which has 2."""


def run(options: BenchOptions) -> list[Claim]:
    """Accuracy on nodes that were held out, and how alike all nodes became, by seed."""
    compared = dict.fromkeys(
        [(name, LAYERS) for name in NETWORKS] + [(name, depth) for depth in DEPTHS for name in ("sheaf", "GCN")]
    )
    found = [
        {(name, layers): trained(name, seed, options.steps(EPOCHS), layers) for name, layers in compared}
        for seed in range(options.seeds)
    ]
    accuracy = {name: tuple(one[name, LAYERS][0] for one in found) for name in NETWORKS}
    alike = {network: tuple(one[network][1] for one in found) for network in compared}
    task = f"nodes of heterophilic graphs told, {LAYERS} layers"
    claims = [
        Claim(f"{task}, O({D}) maps", "GCN", accuracy["sheaf"], accuracy["GCN"], 0.25),
        Claim(f"{task}, O({D}) maps", "perceptron", accuracy["sheaf"], accuracy["perceptron"], 0.05),
        Claim(f"{task}, diagonal maps", "GCN", accuracy["diagonal sheaf"], accuracy["GCN"], None),
    ]
    for depth in DEPTHS:
        text = f"mean cosine of two nodes after {depth} layers"
        ours = tuple(-value for value in alike["sheaf", depth])
        claims.append(Claim(f"{text}, negated", "asked: 0.8, negated", ours, (-0.8,) * options.seeds))
        risen = 0.0 if depth >= LAYERS else None  # a GCN has to come there, not to begin there
        claims.append(Claim(f"{text}: GCN", "asked", alike["GCN", depth], (0.95,) * options.seeds, risen))
    return claims


def trained(name: str, seed: int, epochs: int, layers: int) -> tuple[float, float]:
    """Test accuracy where that on validation nodes was highest, and mean cosine of embeddings at the end."""
    edge_index, labels = heterophilic_graph(NODES, CLASSES, HOMOPHILY, DEGREE, seed)
    generator = torch.Generator().manual_seed(1000 + seed)
    means = torch.randn(CLASSES, FEATURES, generator=generator)
    x = 0.5 * means[labels] + torch.randn(NODES, FEATURES, generator=generator)
    train, check, test = torch.randperm(NODES, generator=generator).split(
        (TRAINED, VALIDATED, NODES - TRAINED - VALIDATED)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = NETWORKS[name](layers)
        optimizer = torch.optim.Adam(model.parameters(), LR, weight_decay=5e-4)
        best = (-1.0, 0.0)
        for epoch in range(epochs):
            model.train()
            optimizer.zero_grad()
            F.nll_loss(model(x, edge_index)[train], labels[train]).backward()
            optimizer.step()
            if epoch % MEASURE_EVERY == MEASURE_EVERY - 1 or epoch == epochs - 1:
                model.eval()
                with torch.no_grad():
                    right = (model(x, edge_index).argmax(dim=1) == labels).float()
                best = max(best, (float(right[check].mean()), float(right[test].mean())), key=lambda pair: pair[0])
    with torch.no_grad():
        directions = F.normalize(model.eval().embeddings(x, edge_index), dim=1)
    cosines = directions @ directions.T
    return best[1], float((cosines.sum() - cosines.trace()) / (NODES * (NODES - 1)))
