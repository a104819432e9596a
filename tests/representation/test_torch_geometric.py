"""Data objects of torch_geometric are taken where the package is; the same without it, by objects of that shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from representation.equivariant.frame_averaging import FAGNN
from representation.equivariant.ponita import Ponita
from representation.structure.d_sla import GINConfig, GINEncoder, TypedGraph, of_graphs
from representation.structure.sheaf_diffusion import SheafConfig, SheafDiffusion
from representation.structure.spen import SPEN, SPENConfig

EDGES = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
NODES = 4
Make = Callable[[Sequence[dict[str, torch.Tensor]]], Any]


def plain(parts: Sequence[dict[str, torch.Tensor]]) -> SimpleNamespace:
    """Graphs side by side, as a batch of torch_geometric has them."""
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0] if name != "edge_index"}
    edges = [part["edge_index"] + NODES * number for number, part in enumerate(parts)]
    batch = torch.arange(len(parts)).repeat_interleave(NODES)
    return SimpleNamespace(**joined, edge_index=torch.cat(edges, dim=1), batch=batch)


def geometric(parts: Sequence[dict[str, torch.Tensor]]) -> Any:
    """A batch of torch_geometric."""
    data = pytest.importorskip("torch_geometric.data")
    return data.Batch.from_data_list([data.Data(**part) for part in parts])


@pytest.fixture(params=[plain, geometric])
def make(request) -> Make:
    return request.param


def drawn(**parts: tuple[int, ...]) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {name: torch.randn(shape, generator=generator) for name, shape in parts.items()} | {"edge_index": EDGES}
        for _ in range(2)
    ]


def test_a_single_graph_may_lack_what_batches_have():
    data = pytest.importorskip("torch_geometric.data")
    (one,) = of_graphs(data.Data(x=torch.tensor([[0], [1], [0], [0]]), edge_index=EDGES))
    assert one.pairs() == {(0, 1): 0, (1, 2): 0, (2, 3): 0}
    torch.manual_seed(0)
    model = FAGNN(width=6, depth=1)
    parts = {"pos": torch.randn(4, 3), "vel": torch.randn(4, 3), "charge": torch.ones(4, 1)}
    told = model(*(part[None] for part in parts.values()))[0]
    assert torch.equal(model.of_graph(data.Data(**parts)), told)


def test_d_sla_takes_them_apart(make):
    types = [torch.tensor([0, 1, 1, 1]), torch.tensor([1, 1, 0, 1])]
    kinds = torch.tensor([0, 0, 1, 1, 0, 0])
    graphs = [TypedGraph(one, EDGES, kinds) for one in types]
    data = make([{"x": one[:, None].float(), "edge_index": EDGES, "edge_attr": kinds[:, None]} for one in types])
    found = of_graphs(data)
    torch.manual_seed(0)
    encoder = GINEncoder(GINConfig(2, 2, 8, 2)).eval()
    assert [graph.pairs() for graph in found] == [graph.pairs() for graph in graphs]
    assert torch.equal(encoder(found), encoder(graphs))
    assert (encoder(found)[0] - encoder(found)[1]).abs().max() > 1e-4


def test_frame_averaging_tells_where_each_body_goes(make):
    torch.manual_seed(0)
    model = FAGNN(width=6, depth=2)
    parts = drawn(pos=(NODES, 3), vel=(NODES, 3), charge=(NODES,))
    inputs = (torch.stack([part[name] for part in parts]) for name in ("pos", "vel"))
    told = model(*inputs, torch.stack([part["charge"] for part in parts])[..., None])
    assert torch.equal(model.of_graph(make(parts)), told.flatten(0, 1))


def test_the_others_read_their_arrays(make):
    torch.manual_seed(0)
    spen, sheaf = SPEN(SPENConfig(3, 2, hidden=4)).eval(), SheafDiffusion(SheafConfig(3, 2, hidden=4, layers=1)).eval()
    ponita = Ponita(3, 0, 4, 1, 0, 1, num_ori=4).eval()
    data = make(drawn(x=(NODES, 3), pos=(NODES, 3), edge_attr=(EDGES.shape[1], 2)))
    assert torch.equal(spen.classify(data), spen(data.x, data.edge_index, data.edge_attr, data.batch))
    assert len(spen.classify(data)) == 2
    assert torch.equal(sheaf.classify(data), sheaf(data.x, data.edge_index))
    scalars = ponita(data.pos, data.x, None, data.edge_index, data.batch)[0]
    assert torch.equal(ponita.of_graph(data)[0], scalars)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": torch.full((NODES, 1), 0.5)}, "x: expected whole numbers"),
        ({"edge_attr": torch.full((6,), 0.5)}, "edge_attr: expected whole numbers"),
        ({"edge_index": EDGES[:, :5], "edge_attr": torch.zeros(5)}, "expected each edge once in both directions"),
        ({"edge_attr": torch.tensor([0, 1, 0, 0, 0, 0])}, "expected each edge once in both directions"),
        ({"edge_index": torch.zeros(2, 6, dtype=torch.long)}, "no loops"),
        ({"batch": torch.tensor([0, 0, 1, 1])}, "expected both nodes of each edge in the same graph"),
    ],
)
def test_graphs_that_d_sla_cannot_take_are_refused(change, words):
    whole = {"x": torch.zeros(NODES), "edge_index": EDGES, "edge_attr": torch.zeros(6), "batch": torch.zeros(NODES)}
    with pytest.raises(ValueError, match=words):
        of_graphs(SimpleNamespace(**whole | change))


@pytest.mark.parametrize("batch", [[0, 0, 0, 1], [0, 1, 0, 1]])
def test_clouds_of_several_sizes_or_mixed_ones_are_refused(batch):
    bodies = {"pos": torch.zeros(4, 3), "vel": torch.zeros(4, 3), "charge": torch.zeros(4)}
    with pytest.raises(ValueError, match="batch: expected clouds of one size"):
        FAGNN(width=6, depth=1).of_graph(SimpleNamespace(**bodies, batch=torch.tensor(batch)))
